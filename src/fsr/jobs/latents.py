"""Files of latents, as pipelines of diffusers return them, rendered at the field's scale."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fsr.autoencoders import FrozenAutoencoder
from fsr.formats import Encoding, Picture
from fsr.jobs.planning import Job, check_folder
from fsr.jobs.records import Records
from fsr.jobs.run import SMALLER, Outcome, done, settings_of
from fsr.jobs.watching import Progress, unwatched, watched
from fsr.memory import memory_explained
from fsr.pipeline import ImagePipeline

PATCH = 2  # the side of the patches FLUX packs


def plan_latents(file: Path, folder: Path, packed: tuple[int, int] | None = None) -> list[Job]:
    """A job for each latent of a safetensors file: `folder`/<name>.png of (C, h, w), <name>-<index>.png of a batch.

    Args:
        packed: height and width in pixels of the images whose latents FLUX packed, (B, h w / 4, 4 C).

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no safetensors file, holds nothing, a tensor's name is no name of a file, or `folder` is
            named like an image.
        OSError: `folder` cannot be written.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no latents in {file}: it is missing; correct its name")
    try:
        with safe_open(file, "pt") as opened:
            shapes = {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{file} is not a safetensors file that is whole ({error}); save it again") from error
    if not shapes:
        raise ValueError(f"{file} holds no tensors; save latents into it")
    jobs = []
    for name, shape in sorted(shapes.items()):
        if name != Path(name).name or name.startswith("."):
            raise ValueError(f"{file} has a tensor {name!r}, which is no name of a file; rename it")
        count = shape[0] if len(shape) == 4 or (packed and len(shape) == 3) else None
        if count is None:
            jobs.append(Job(file, folder / f"{name}.png", name))
            continue
        digits = len(str(max(count - 1, 0)))
        jobs += [Job(file, folder / f"{name}-{index:0{digits}}.png", name, index) for index in range(count)]
    outputs = [job.output for job in jobs]
    if twice := {str(output) for output in outputs if outputs.count(output) > 1}:
        raise ValueError(f"{file} has tensors that would both be written to {', '.join(sorted(twice))}; rename one")
    check_folder(folder)
    return jobs


def decode_files(
    pipeline: ImagePipeline,
    jobs: Sequence[Job],
    folder: Path,
    *,
    raw: bool = False,
    packed: tuple[int, int] | None = None,
    overwrite: bool = False,
    progress: Progress = unwatched,
) -> Iterator[Outcome]:
    """Render latents one after the other; arguments and outcomes as `plan_latents` and `upscale_files` have them.

    Args:
        raw: latents are as the autoencoder itself has them, neither shifted nor scaled.
    """

    def make(job: Job) -> Picture:
        with memory_explained(f"latent {job.output.stem}", SMALLER), watched(pipeline.renderer, progress):
            z_L = read_latent(job, pipeline.autoencoder, packed)
            return Picture(pipeline.decode(pipeline.autoencoder.scaled(z_L) if raw else z_L))

    records = Records(folder, settings_of(pipeline) | {"raw": raw, "packed": packed and list(packed)})
    for job in jobs:
        yield done(job, make, records, Encoding("png"), overwrite, tensor=job.tensor, index=job.index)


def read_latent(job: Job, autoencoder: FrozenAutoencoder, packed: tuple[int, int] | None = None) -> Tensor:
    """(1, C, h, w) float32 of a job of `plan_latents`.

    Raises:
        ValueError: it has not the autoencoder's channels, or not the packed size; says what it is.
    """
    channels = autoencoder.latent_channels
    with safe_open(job.source, "pt") as opened:
        part = opened.get_slice(job.tensor)
        z = (part[:] if job.index is None else part[job.index : job.index + 1]).float()
    if packed and z.ndim == 3:
        z = unpacked(z, channels, *packed, autoencoder.factor)
    z = z[None] if z.ndim == 3 else z
    if z.ndim != 4 or z.shape[1] != channels or not z.numel():
        hint = "; for FLUX's packed latents give --packed HEIGHTxWIDTH" if z.shape[-1:] == (4 * channels,) else ""
        raise ValueError(
            f"tensor {job.tensor!r} is {tuple(part.get_shape())}, not latents of {channels} channels, ({channels}, h, "
            f"w) or (B, {channels}, h, w){hint}; take the autoencoder and the field they were made for"
        )
    return z


def unpacked(packed: Tensor, channels: int, height: int, width: int, factor: int) -> Tensor:
    """Latents (B, C, h, w) of (B, h w / 4, 4 C), for images of `height` x `width` pixels, as FluxPipeline unpacks them.

    Raises:
        ValueError: they do not belong to images of that size.
    """
    rows, columns = height // (factor * PATCH), width // (factor * PATCH)
    if packed.shape[1:] != (rows * columns, channels * PATCH**2):
        raise ValueError(
            f"packed latents of {height}x{width} pixels are (B, {rows * columns}, {channels * PATCH**2}), these are "
            f"{tuple(packed.shape)}; give --packed HEIGHTxWIDTH of their images"
        )
    patches = packed.transpose(1, 2).reshape(len(packed), -1, rows, columns)
    return F.pixel_shuffle(patches, PATCH)
