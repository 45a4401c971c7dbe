"""Commands that give a trained field to others: to the hub, and to other runtimes."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from fsr.cli.app import app


@app.command()
def publish(
    results: Annotated[Path, typer.Argument(help="results/<experiment> of a study.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder to write.")] = None,
    repo: Annotated[str | None, typer.Option(help="Repository of the hub to write, owner/name (HF_TOKEN).")] = None,
    private: Annotated[bool, typer.Option("--private", help="A repository that is made is private.")] = False,
    base_vae: Annotated[str | None, typer.Option(help="Hub id of its VAE, where the study had it in a folder.")] = None,
    base_subfolder: Annotated[str | None, typer.Option(help="The VAE's folder there.")] = None,
) -> None:
    """Write a study's field as a drop-in decoder for diffusers, with a model card of what the study measured."""
    from fsr.decoder import FSRDecoder

    if (output is None) == (repo is None):
        raise ValueError("publish to one place: give -o FOLDER or --repo OWNER/NAME")
    if base_subfolder is not None and base_vae is None:
        raise ValueError("--base-subfolder is a folder of --base-vae; give that too")
    base = {} if base_vae is None else {"path": base_vae, "subfolder": base_subfolder, "revision": None}
    decoder = FSRDecoder.from_study(results, **base)
    if repo is not None:
        typer.echo(decoder.push_to_hub(repo, private=private or None))
    else:
        decoder.save_pretrained(output)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="What fsr publish wrote, a hub id, or results/<experiment>.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the graphs and manifest.json.")],
    format_: Annotated[Literal["onnx", "torch"], typer.Option("--format", help="ONNX, or torch.export.")] = "onnx",
    scale: Annotated[int | None, typer.Option(help="Of those the field was trained for; its first.")] = None,
) -> None:
    """Write the field and the decoder's tail as graphs for other runtimes, checked against this one."""
    from fsr.decoder import FSRDecoder
    from fsr.export import check_packages, export_networks
    from fsr.files import check_writable

    check_packages(format_)
    check_writable(output)
    study = Path(model, "train").is_dir()
    decoder = FSRDecoder.from_study(model) if study else FSRDecoder.from_pretrained(model, use_safetensors=True)
    about = {key: decoder.config[key] for key in ("autoencoder", "base_vae", "fingerprint")}
    wanted = decoder.scale if scale is None else scale
    manifest = export_networks(decoder.field, decoder.load_base(), output, format_, wanted, about)
    for part in ("field", "tail"):
        for check in manifest[part]["checks"]:
            height, width = check["size"]
            apart, largest = check["max_abs_difference"], check["max_abs_value"]
            typer.echo(
                f"{manifest[part]['file']}, {width}x{height}: off by at most {apart:.1e}, of values up to {largest:.1e}"
            )
