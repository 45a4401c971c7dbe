"""Commands for who uses a trained field."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fsr.cli.app import app
from fsr.config import Vae
from fsr.sections import validated


@app.command()
def upscale(
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results, <name>.png each.")],
    model: Annotated[Path, typer.Option(help="Folder of a trained field.")] = Path("results/embedded/train/model"),
    scale: Annotated[int | None, typer.Option(help="Of those the field was trained for; its first.")] = None,
    vae: Annotated[str, typer.Option(help="The autoencoder it was trained for: 'embedded', a folder.")] = "embedded",
    vae_class: Annotated[str, typer.Option(help="That autoencoder's class.")] = "AutoencoderKL",
    device: Annotated[str, typer.Option(help="torch device")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; torch's choice.")] = None,
) -> None:
    """Enlarge images by exactly the scale; those that cannot be done are named, and the exit code is then 1."""
    import torch
    from tqdm import tqdm

    from fsr.pipeline import load_pipeline, plan_jobs, upscale_files
    from fsr.progress import progress_bar

    jobs = plan_jobs(images, output)
    place = {"class": vae_class, "path": vae, "subfolder": None, "revision": None, "dtype": "float32", "tile": None}
    if threads is not None:
        torch.set_num_threads(threads)
    pipeline, failed = load_pipeline(model, validated(Vae, place, "vae"), scale, device), []
    with progress_bar(f"upscale x{pipeline.scale}", len(jobs)) as advance:
        for outcome in upscale_files(pipeline, jobs):
            if outcome.reason:
                failed.append(str(outcome.job.source))
                tqdm.write(f"failed: {failed[-1]}: {outcome.reason}", file=sys.stderr)
            advance(outcome.job.source.name)
    if failed:
        typer.echo(f"error: {len(failed)} of {len(jobs)} images failed: {', '.join(failed)}", err=True)
        raise typer.Exit(1)
