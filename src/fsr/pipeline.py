"""For those who use a trained field: images in, images larger by exactly its scale out."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers.utils import CONFIG_NAME
from PIL import Image
from torch import Tensor

from fsr.autoencoders import FrozenAutoencoder, load_autoencoder
from fsr.config import Vae
from fsr.files import check_writable, read_json
from fsr.flow.field import VectorField, load_field
from fsr.images import list_images, read_image, write_image
from fsr.memory import memory_explained
from fsr.upscalers import Fsr, Sample


@dataclass(frozen=True)
class ImagePipeline:
    """The reported method on whole images of any size, at one of the field's scales.

    Raises:
        ValueError: the field was not trained for `scale`.
    """

    autoencoder: FrozenAutoencoder
    field: VectorField
    scale: int

    def __post_init__(self) -> None:
        scales = list(self.field.config.scales)
        if self.scale not in scales:
            known = ", ".join(map(str, scales))
            raise ValueError(
                f"scale {self.scale} is not one this field was trained for; choose one of {known}, or give a field "
                "that was trained for it"
            )

    @property
    def multiple(self) -> int:
        """What the sides of an image must be multiples of for the autoencoder and the field's patches."""
        factor, patch = self.autoencoder.factor, self.field.config.patch
        side = self.scale * factor // self.autoencoder.decoder.cut(self.field.config.cut).stride
        return factor * (patch // math.gcd(patch, side))

    @torch.inference_mode()
    def __call__(self, x_L: Tensor) -> Tensor:
        """(1, 3, scale h, scale w), not clamped, of x_L (1, 3, h, w) in [0, 1].

        Where sides are not multiples of `multiple`, x_L is continued beyond its right and lower border by reflection,
        and what comes of that is cut off.
        """
        height, width = x_L.shape[-2:]
        sample = Sample(self.autoencoder, reflected(x_L, self.multiple).to(self.autoencoder.device), self.scale)
        return Fsr(self.field)(sample).image[..., : self.scale * height, : self.scale * width]


def reflected(images: Tensor, multiple: int) -> Tensor:
    """Images continued to the right and below by reflection, up to sides that are multiples of `multiple`.

    Sides may be shorter than what is added: the reflection is then reflected again.
    """
    below, right = (-side % multiple for side in images.shape[-2:])
    return torch.from_numpy(np.pad(images.numpy(force=True), ((0, 0), (0, 0), (0, below), (0, right)), "reflect"))


def load_pipeline(model: Path, vae: Vae, scale: int | None = None, device: str = "cpu") -> ImagePipeline:
    """The pipeline of the field saved in `model`, at its first scale where none is given.

    Raises:
        FileNotFoundError: no field or no autoencoder there.
        ValueError: `model` holds another network, the device cannot be used here, or the field was not trained for the
            scale or was trained for another autoencoder.
    """
    config, remedy = model / CONFIG_NAME, "give the folder `model` that the training of a field wrote"
    if not config.is_file():
        raise FileNotFoundError(f"no trained field in {model}: it holds no {CONFIG_NAME}; {remedy}")
    if (found := read_json(config).get("_class_name")) != VectorField.__name__:
        raise ValueError(f"{model} holds {found or 'no class of diffusers'}, not a {VectorField.__name__}; {remedy}")
    check_device(device)
    autoencoder = load_autoencoder(vae, device)
    field = load_field(model, autoencoder)
    return ImagePipeline(autoencoder, field, field.config.scales[0] if scale is None else scale)


def check_device(name: str) -> None:
    """Pass if tensors can be made on a device.

    Raises:
        ValueError: they cannot, or torch knows no such device.
    """
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {name!r} cannot be used here; use cpu, or a GPU that torch finds") from error


@dataclass(frozen=True)
class Job:
    """An image file and where its larger one goes."""

    source: Path
    output: Path


@dataclass(frozen=True)
class Outcome:
    """What came of a job: nothing to say, or the `reason` why there is no output."""

    job: Job
    reason: str = ""


def plan_jobs(inputs: Sequence[Path], folder: Path) -> list[Job]:
    """A job for each image, in the order given; `folder`/<name>.png is its output. Of a folder, every image in it.

    An image that is named twice is made once.

    Raises:
        FileNotFoundError: a folder holds no image.
        ValueError: two images would be written to one file, or one over an image that is to be read.
        OSError: `folder` cannot be written.
    """
    files = [file for path in inputs for file in (list_images(path) if path.is_dir() else [path])]
    sources = {file.resolve(): file for file in files}
    taken: dict[str, Path] = {}
    for source in sources.values():
        output = folder / f"{source.stem}.png"
        if output.name in taken:
            raise ValueError(
                f"{taken[output.name]} and {source} would both be written to {output}; rename one, or write them to "
                "different folders"
            )
        if output.resolve() in sources:
            raise ValueError(f"{output} is itself to be read and would be written over; choose another folder")
        taken[output.name] = source
    check_writable(folder)
    return [Job(source, folder / name) for name, source in taken.items()]


def upscale_files(pipeline: ImagePipeline, jobs: Sequence[Job]) -> Iterator[Outcome]:
    """Do jobs one after the other; one that cannot be done is an outcome with its reason, and stops no other."""
    for job in jobs:
        try:
            x_L = read_image(job.source)
            height, width = x_L.shape[-2:]
            with memory_explained(f"an image of {width}x{height} pixels", "make it smaller"):
                write_image(job.output, pipeline(x_L))
            yield Outcome(job)
        except (OSError, ValueError, MemoryError, Image.DecompressionBombError) as error:
            yield Outcome(job, str(error) or type(error).__name__)
