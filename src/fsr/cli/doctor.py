"""The command that says what is at hand."""

from pathlib import Path
from typing import Annotated

import typer

from fsr.cli.app import app


@app.command()
def doctor(
    params: Annotated[Path, typer.Option(help="The study's parameters.")] = Path("params.yaml"),
    registry: Annotated[Path, typer.Option(help="The registry of datasets.")] = Path("data/datasets.csv"),
    mirror: Annotated[str | None, typer.Option(help="Root of a local mirror; FSR_MIRROR where not given.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="All of it as JSON.")] = False,
) -> None:
    """Say what is at hand - devices, packages, weights, image sets - and how to get the rest; nothing is fetched.

    Exit code 1 where enlarging images lacks something, or the study that is here (params.yaml) does.
    """
    import json

    from rich import print as show

    from fsr.doctor import as_json, examine, healthy, shown

    findings = examine(params, registry, mirror)
    if json_:
        typer.echo(json.dumps(as_json(findings), indent=2, ensure_ascii=False))
    else:
        show(shown(findings))
    if not healthy(findings):
        raise typer.Exit(1)
