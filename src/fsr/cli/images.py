"""Commands for who uses a trained field."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fsr.cli.app import app
from fsr.config import Vae
from fsr.sections import validated

if TYPE_CHECKING:
    from fsr.jobs import Bar, Outcome
    from fsr.pipeline import ImagePipeline

Format = StrEnum("Format", ["keep", "png", "jpeg", "webp", "tiff"])
Precision = StrEnum("Precision", ["float32", "bfloat16", "float16"])

Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")]
Model = Annotated[Path | None, typer.Option(help="Folder of a trained field, or of what fsr publish wrote.")]
Scale = Annotated[int | None, typer.Option(help="Of those the field was trained for; its first.")]
VaePath = Annotated[str | None, typer.Option(help="Where its autoencoder is, if not where it says; or embedded.")]
VaeClass = Annotated[str, typer.Option(help="That autoencoder's class.")]
Tile = Annotated[str, typer.Option(help="Rows of pixels computed at once: auto, a number, or off for whole images.")]
Memory = Annotated[str | None, typer.Option(help="What it may take at its peak, such as 4GB.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what stands there and would be made otherwise.")]
Json = Annotated[bool, typer.Option("--json", help="A JSON object a line on stdout, for each output.")]
Device = Annotated[str, typer.Option(help="torch device")]
Dtype = Annotated[Precision, typer.Option(help="What it computes in.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; torch's choice.")]


@app.command()
def upscale(
    images: Annotated[
        list[Path],
        typer.Argument(readable=False, help="Images, folders of them, or quoted patterns such as 'a/**/*'."),
    ],
    output: Output,
    model: Model = None,
    scale: Scale = None,
    vae: VaePath = None,
    vae_class: VaeClass = "AutoencoderKL",
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="The mean over eight turned and mirrored views: truer, in 8x the time.")
    ] = False,
    tile: Tile = "auto",
    memory: Memory = None,
    format_: Annotated[Format, typer.Option("--format", help="Of the results; keep: as the input.")] = Format.keep,
    quality: Annotated[int | None, typer.Option(min=1, max=100, help="Of JPEG and lossy WebP; 95.")] = None,
    recursive: Annotated[bool, typer.Option("--recursive", help="Folders below folders too, kept as such.")] = False,
    overwrite: Overwrite = False,
    json_: Json = False,
    device: Device = "cpu",
    dtype: Dtype = Precision.float32,
    threads: Threads = None,
) -> None:
    """Enlarge images by exactly the scale, with all their files carry; what stands there already is skipped.

    Exit code 1 where some images failed, each named with its reason; 2 where nothing could be begun.
    """
    with _usage_errors():
        from fsr.formats import Encoding
        from fsr.jobs import Bar, plan_jobs, upscale_files

        jobs = plan_jobs(images, output, format_.value, recursive)
        pipeline = pipeline_of(model, vae, vae_class, scale, tile, memory, device, dtype.value, threads)
    encoding = Encoding(format_.value, quality)
    with Bar(f"upscale x{pipeline.scale}", len(jobs)) as bar:
        outcomes = upscale_files(pipeline, jobs, output, encoding, overwrite, bar.within, ensemble)
        failed = _told(outcomes, bar, tile if json_ else None)
    _end(failed, len(jobs), "images")


@app.command()
def decode(
    latents: Annotated[Path, typer.Argument(help="A safetensors file of latents, (C, h, w) or (B, C, h, w).")],
    output: Output,
    model: Model = None,
    scale: Scale = None,
    vae: VaePath = None,
    vae_class: VaeClass = "AutoencoderKL",
    raw: Annotated[bool, typer.Option("--raw", help="Not scaled: as the VAE itself has them.")] = False,
    packed: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH of images whose latents FLUX packed.")] = None,
    tile: Tile = "auto",
    memory: Memory = None,
    overwrite: Overwrite = False,
    json_: Json = False,
    device: Device = "cpu",
    dtype: Dtype = Precision.float32,
    threads: Threads = None,
) -> None:
    """Render latents at the scale, as PNG: those that diffusers' pipelines return for output_type="latent".

    Exit code 1 where some latents failed, each named with its reason; 2 where nothing could be begun.
    """
    with _usage_errors():
        from fsr.jobs import Bar, decode_files, plan_latents

        sides = None if packed is None else _sides(packed)
        jobs = plan_latents(latents, output, sides)
        pipeline = pipeline_of(model, vae, vae_class, scale, tile, memory, device, dtype.value, threads)
    options = {"raw": raw, "packed": sides, "overwrite": overwrite}
    with Bar(f"decode x{pipeline.scale}", len(jobs)) as bar:
        outcomes = decode_files(pipeline, jobs, output, **options, progress=bar.within)
        failed = _told(outcomes, bar, tile if json_ else None)
    _end(failed, len(jobs), "latents")


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Expected errors of what is given become one line on stderr and exit code 2."""
    try:
        yield
    except (OSError, ValueError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None


def pipeline_of(
    model: Path | None,
    vae: str | None,
    vae_class: str,
    scale: int | None,
    tile: str,
    memory: str | None,
    device: str,
    dtype: str,
    threads: int | None,
) -> "ImagePipeline":
    """The pipeline that a command's options ask for.

    Raises:
        ValueError, OSError: they contradict each other, or as `load_pipeline`.
    """
    from dataclasses import replace

    import torch

    from fsr.loading import DEFAULT_MODEL, load_pipeline
    from fsr.tiling import parse_memory, parse_tile

    tiling = parse_tile(tile)
    if memory is not None:
        if tiling.whole:
            raise ValueError("--memory cannot be kept with --tile off; leave one of them out")
        tiling = replace(tiling, memory=parse_memory(memory))
    if threads is not None:
        torch.set_num_threads(threads)
    place = {"class": vae_class, "path": vae, "subfolder": None, "revision": None, "dtype": "float32", "tile": None}
    given = None if vae is None else validated(Vae, place, "vae")
    return load_pipeline(model or DEFAULT_MODEL, given, scale, device, dtype, tiling)


def _sides(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise ValueError(f"--packed {text!r} is no size; give HEIGHTxWIDTH in pixels, such as 1024x1024")
    return int(height), int(width)


def _told(outcomes: Iterable["Outcome"], bar: "Bar", json_tile: str | None) -> list[str]:
    """Say what comes of each job, as JSON where a tile is given; the names of those that failed."""
    failed = []
    for outcome in outcomes:
        name = str(outcome.job.source) + (f" ({outcome.job.output.stem})" if outcome.job.tensor else "")
        if outcome.status == "failed":
            failed.append(name)
            bar.write(f"failed: {name}: {outcome.reason}", file=sys.stderr)
        if json_tile is not None:
            line = json.dumps(_as_json(outcome, json_tile))  # ASCII: a file's name may be no text
            say = bar.write if sys.stdout.isatty() else typer.echo  # the bar makes room only where it is in the way
            say(line, file=sys.stdout)
            sys.stdout.flush()
        bar.end(outcome.job.output.name)
    return failed


def _end(failed: list[str], count: int, things: str) -> None:
    """End with code 1 where some jobs failed."""
    if failed:
        typer.echo(f"error: {len(failed)} of {count} {things} failed: {', '.join(failed)}", err=True)
        raise typer.Exit(1)


def _as_json(outcome: "Outcome", tile: str) -> dict[str, object]:
    job = outcome.job
    return {
        "source": str(job.source),
        "output": str(job.output),
        "size": outcome.size and list(outcome.size),
        "seconds": round(outcome.seconds, 3),
        "tile": tile,
        "status": outcome.status,
        "reason": outcome.reason,
    }
