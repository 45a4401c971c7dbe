"""Commands of the study."""

from pathlib import Path
from typing import Annotated

import typer

from fsr.cli.app import app
from fsr.cli.parameters import merge, merged_params
from fsr.config import Params, schema_text
from fsr.files import write_atomically, write_text
from fsr.sections import read_yaml, validated

Mirror = Annotated[str | None, typer.Option(help="Root of a local mirror; FSR_MIRROR where not given.")]


@app.command()
def check(params: Annotated[list[Path], typer.Argument(help="params.yaml, then experiments merged over it.")]) -> None:
    """Check parameter files and name every wrong key."""
    merged_params(params)
    typer.echo(f"{' + '.join(map(str, params))}: good")


@app.command()
def preset(
    experiment: Annotated[Path, typer.Argument(help="What the experiment changes: experiments/*.yaml.")],
    params: Annotated[Path, typer.Option(help="The file to change.")] = Path("params.yaml"),
) -> None:
    """Merge an experiment into params.yaml, comments kept, so that `dvc repro` runs it (git checkout undoes it)."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 4096
    yaml.representer.add_representer(type(None), lambda out, _: out.represent_scalar("tag:yaml.org,2002:null", "null"))
    values = yaml.load(params.read_text(encoding="utf-8"))
    merge(values, yaml.load(experiment.read_text(encoding="utf-8")) or {})
    validated(Params, values, f"{params} + {experiment}")
    write_atomically(params, lambda temporary: yaml.dump(values, temporary))


@app.command()
def plan(
    params: Annotated[list[Path], typer.Argument(help="params.yaml, then experiments merged over it.")],
    cut: Annotated[list[str] | None, typer.Option(help="A cut, once or more; every one of probe.cuts.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="A change: train.field.hidden=64.")] = None,
    memory: Annotated[float | None, typer.Option(min=0, help="GiB there are; says what to change for less.")] = None,
    tflops: Annotated[
        float | None, typer.Option(min=0.001, help="What the device keeps up, per second: adds seconds and hours.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="JSON, memory in bytes.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="The table as Markdown.")] = False,
) -> None:
    """Predict memory and FLOPs of a training step at each cut, from the autoencoder's config.json; nothing is run."""
    import json

    from rich import print as show

    from fsr.plan import as_json, changed, parse_setting, plan_cuts, plans_markdown, shown_plans

    values = changed(merged_params(params), dict(map(parse_setting, setting or [])))
    limit = None if memory is None else round(memory * 2**30)
    speed = None if tflops is None else tflops * 1e12
    planned = plan_cuts(values, cut or values.probe.cuts, limit)
    if json_:
        typer.echo(json.dumps(as_json(planned), indent=2))
    elif markdown:
        typer.echo(plans_markdown(values, planned, limit, speed), nl=False)
    else:
        show(shown_plans(values, planned, limit, speed))


@app.command()
def schema(output: Annotated[Path, typer.Argument(help="File to write.")]) -> None:
    """Write the JSON schema of params.yaml, for editors."""
    write_text(output, schema_text())


@app.command("train-autoencoder")
def train_autoencoder(
    config: Annotated[Path, typer.Argument(help="experiments/embedded_autoencoder.yaml, or your own.")],
    output: Annotated[Path, typer.Argument(help="Folder for config.json and the weights.")],
    registry: Annotated[Path, typer.Option(help="The registry of datasets.")] = Path("data/datasets.csv"),
    mirror: Mirror = None,
    work: Annotated[Path, typer.Option(help="Where checkpoints are kept, to go on from.")] = Path(".cache/autoencoder"),
    device: Annotated[str, typer.Option(help="torch device")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads")] = 2,
) -> None:
    """Train a small autoencoder; run again after an interruption and it goes on."""
    from fsr.autoencoders.recipe import AutoencoderTraining
    from fsr.autoencoders.training import export_autoencoder
    from fsr.autoencoders.training import train_autoencoder as train
    from fsr.datasets import lookup, read_registry
    from fsr.sources import checked_files

    params = read_yaml(AutoencoderTraining, config)
    sets = [lookup(read_registry(registry), name) for name in params.data]
    files = [file for item in sets for file in checked_files(item, mirror)]
    export_autoencoder(train(params, files, work, device=device, threads=threads), output)


@app.command("autoencoder-card")
def autoencoder_card(
    config: Annotated[Path, typer.Argument(help="The configuration it was trained with.")],
    folder: Annotated[Path, typer.Argument(help="Folder with its config.json and weights.")],
    sets: Annotated[list[str], typer.Option("--set", help="Sets to measure the reconstruction on.")],
    registry: Annotated[Path, typer.Option(help="The registry of datasets.")] = Path("data/datasets.csv"),
    mirror: Mirror = None,
) -> None:
    """Measure what an autoencoder reconstructs and write its model card."""
    from fsr.autoencoders import load_autoencoder
    from fsr.autoencoders.card import measure_reconstruction, write_card
    from fsr.autoencoders.recipe import AutoencoderTraining
    from fsr.config import Vae
    from fsr.datasets import lookup, read_registry
    from fsr.sources import checked_files

    vae = Vae(family="AutoencoderKL", path=str(folder), subfolder=None, revision=None, dtype="float32", tile=None)
    autoencoder, known = load_autoencoder(vae, "cpu"), read_registry(registry)
    measured = [measure_reconstruction(autoencoder, name, checked_files(lookup(known, name), mirror)) for name in sets]
    write_card(folder, read_yaml(AutoencoderTraining, config), autoencoder, measured)


@app.command()
def info(
    file: Annotated[Path, typer.Argument(help="A result, a folder of them, or a provenance.json.")],
    params: Annotated[bool, typer.Option("--params", help="The parameters too, as YAML.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="All of it as JSON.")] = False,
) -> None:
    """Say what a result is and where it comes from: code, parameters, packages, autoencoder, device, seed."""
    import json

    from rich import print as show

    from fsr.info import as_json, describe, params_text, shown

    description = describe(file)
    if json_:
        typer.echo(json.dumps(as_json(description), indent=2, ensure_ascii=False))
    else:
        show(shown(description))
        if params:
            typer.echo(params_text(description), nl=False)


@app.command("readme")
def readme(
    file: Annotated[Path, typer.Argument(help="Markdown file with <!-- fsr:NAME --> markers.")],
    name: Annotated[str, typer.Argument(help="The marker's name.")],
    table: Annotated[Path, typer.Argument(help="Generated Markdown to put there.")],
) -> None:
    """Put a generated table into a Markdown file."""
    from fsr.report.readme import replace_block

    write_text(file, replace_block(file.read_text(encoding="utf-8"), name, table.read_text(encoding="utf-8")))
