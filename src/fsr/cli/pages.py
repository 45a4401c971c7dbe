"""Commands that show pictures in a browser."""

from pathlib import Path
from typing import Annotated

import typer

from fsr.cli.app import app
from fsr.cli.images import Device, Dtype, Memory, Model, Precision, Threads, Tile, VaeClass, VaePath, pipeline_of


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="An image, or a folder of them.")],
    second: Annotated[Path, typer.Argument(help="Another, of the same size or an integer multiple; paired by name.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path("compare.html"),
    names: Annotated[str | None, typer.Option(help="What to call the two: 'bicubic,FSR'; their files' names.")] = None,
    enlarge: Annotated[str, typer.Option(help="How a smaller picture is shown: bicubic, nearest.")] = "bicubic",
) -> None:
    """Write two images, or two folders of them, as one page with a before/after slider and zoom."""
    from fsr.compare import default_names, find_pairs, left_out, write_comparison
    from fsr.progress import progress_bar

    labels = default_names(first, second) if names is None else tuple(name.strip() for name in names.split(","))
    if len(labels) != 2 or not all(labels):
        raise ValueError(f"--names {names!r} does not name two sides; give two names with a comma between them")
    found = find_pairs(first, second)
    for line in left_out(found, labels):
        typer.echo(line, err=True)
    with progress_bar("compare", len(found.pairs)) as advance:
        beside = write_comparison(found, output, labels, enlarge, advance)
    where = "holds all its pictures" if beside is None else f"its pictures are in {beside}; keep both together"
    typer.echo(f"{output}: {where}")


@app.command()
def demo(
    model: Model = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")] = 8765,
    max_megapixels: Annotated[float, typer.Option(min=0.01, max=100, help="Largest picture taken.")] = 4.0,
    vae: VaePath = None,
    vae_class: VaeClass = "AutoencoderKL",
    tile: Tile = "auto",
    memory: Memory = None,
    device: Device = "cpu",
    dtype: Dtype = Precision.float32,
    threads: Threads = None,
) -> None:
    """Enlarge pictures in the browser, on this machine alone; Ctrl-C ends it."""
    from fsr.demo.server import serve
    from fsr.demo.workbench import Workbench

    pipeline = pipeline_of(model, vae, vae_class, None, tile, memory, device, dtype.value, threads)
    serve(Workbench(pipeline, round(max_megapixels * 1e6)), port, lambda url: typer.echo(f"open {url}, end by Ctrl-C"))
