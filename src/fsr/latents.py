"""The latent cache: each training crop encoded once, in safetensors shards that are read memory-mapped.

Per crop it holds z_H (C, S/8, S/8) and z_L (C, S/8/scale, ...), the crop itself (3, S, S) as bytes, and the two decodes
the objective compares with: x_H_rec = D(z_H) (3, S, S) and x_L_rec = D(z_L) (3, S/scale, S/scale), in [0, 1], half
precision. Decoder features are computed from the latents by the head of whichever cut is asked for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from fsr.autoencoders import FrozenAutoencoder, weights_sha256
from fsr.autoencoders.frozen import DTYPES
from fsr.config import Latents
from fsr.datasets import manifest_files
from fsr.files import read_json, sha256_of, sha256_of_file, write_atomically, write_json
from fsr.images import read_image, shrink, to_bytes
from fsr.progress import progress_bar
from fsr.randomness import generator, integers

SPLITS = ("train", "validation")
CROP_BORDER = 16  # pixels on each side of a crop to leave out of measures: there its padding speaks


@dataclass(frozen=True)
class Crop:
    """A square of one image: file, top-left corner in pixels, and whether it is mirrored."""

    file: Path
    top: int
    left: int
    flip_horizontal: bool
    flip_vertical: bool


@dataclass(frozen=True)
class LatentBatch:
    """A batch of cached crops (B first); shapes and ranges as in the module's docstring. All but `crop` are float32."""

    z_H: Tensor
    z_L: Tensor
    crop: Tensor
    x_H_rec: Tensor
    x_L_rec: Tensor

    def to(self, device: str | torch.device) -> "LatentBatch":
        return LatentBatch(**{name: value.to(device, non_blocking=True) for name, value in vars(self).items()})


def plan_crops(files: list[Path], params: Latents, seed: int, split: str) -> list[Crop]:
    """The crops of a split, a function of the files, `params` and the seed alone.

    Each image is as likely as any other, whatever its size. Held-out crops come from a band at the end of its longer
    side that no training crop touches; images too short to spare a band serve training only.

    Raises:
        ValueError: an image is smaller than a crop, or no image can spare a band.
    """
    sizes = [_image_size(file) for file in files]
    for file, (width, height) in zip(files, sizes, strict=True):
        if min(width, height) < params.crop_size:
            raise ValueError(
                f"{file} ({width}x{height}) is smaller than latents.crop_size {params.crop_size}; remove it or "
                "lower that"
            )
    regions = [_region(width, height, params, split) for width, height in sizes]
    usable = [index for index, (left, _, right, _) in enumerate(regions) if right > left]
    if not usable:
        raise ValueError("no training image is large enough to hold out validation crops; lower latents.crop_size")
    size, crops = params.crop_size, []
    for index in range(params.crops if split == "train" else params.validation_crops):
        source = generator(seed, f"crop/{split}", index)
        image = usable[integers(len(usable), 1, source)[0]]
        left, top, right, bottom = regions[image]
        y, x = integers(bottom - top - size + 1, 1, source)[0], integers(right - left - size + 1, 1, source)[0]
        flips = integers(2, 2, source)
        crops.append(Crop(files[image], top + y, left + x, bool(flips[0]), bool(flips[1])))
    return crops


def _region(width: int, height: int, params: Latents, split: str) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) that the split may use of an image; empty where nothing can be held out."""
    longer = max(width, height)
    band = max(params.crop_size, round(params.validation_fraction * longer))
    if longer - band < params.crop_size:
        return (0, 0, width, height) if split == "train" else (0, 0, 0, 0)
    edge = longer - band
    if width >= height:
        return (0, 0, edge, height) if split == "train" else (edge, 0, width, height)
    return (0, 0, width, edge) if split == "train" else (0, edge, width, height)


def _image_size(file: Path) -> tuple[int, int]:
    """(width, height) after EXIF transposition, from the header alone."""
    with Image.open(file) as image:
        quarter_turned = image.getexif().get(0x0112, 1) >= 5  # orientations 5 to 8 swap the sides
        return image.size[::-1] if quarter_turned else image.size


def read_crops(crops: list[Crop], size: int) -> Tensor:
    """(N, 3, size, size) uint8; each image is read once."""
    result = torch.empty(len(crops), 3, size, size, dtype=torch.uint8)
    for file in dict.fromkeys(crop.file for crop in crops):
        image = to_bytes(read_image(file))[0]
        for index, crop in enumerate(crops):
            if crop.file == file:
                pixels = image[:, crop.top : crop.top + size, crop.left : crop.left + size]
                axes = [axis for axis, flip in ((2, crop.flip_horizontal), (1, crop.flip_vertical)) if flip]
                result[index] = pixels.flip(axes)
    return result


@torch.inference_mode()
def encode_crops(crops: Tensor, autoencoder: FrozenAutoencoder, scale: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """What the cache stores of (B, 3, S, S) uint8 crops, on the CPU."""
    x_H = crops.to(autoencoder.device).float() / 255
    z_H, z_L = autoencoder.encode(x_H), autoencoder.encode(shrink(x_H, scale))
    decoded = {"x_H_rec": autoencoder.decode(z_H), "x_L_rec": autoencoder.decode(z_L)}
    return {
        "z_H": z_H.to(dtype).cpu(),
        "z_L": z_L.to(dtype).cpu(),
        "crop": crops,
        **{name: value.half().cpu() for name, value in decoded.items()},
    }


def build_cache(
    params: Latents,
    dataset_manifests: list[Path],
    autoencoder: FrozenAutoencoder,
    manifest: Path,
    *,
    scale: int,
    seed: int,
    autocast: str,
) -> None:
    """Write the shards beside `manifest`, then the manifest. Whole shards of an interrupted run are taken over.

    Raises:
        ValueError: an image is too small, truncated or no image.
    """
    files = [file for item in dataset_manifests for file in manifest_files(item)]
    made_by = {
        "latents": params.model_dump(),
        "scale": scale,
        "seed": seed,
        "autocast": autocast,
        "autoencoder": weights_sha256(autoencoder),
        "datasets": {read_json(item)["name"]: read_json(item)["sha256"] for item in dataset_manifests},
    }
    plans = {split: plan_crops(files, params, seed, split) for split in SPLITS}
    total = sum(len(range(0, len(plan), params.shard_size)) for plan in plans.values())
    splits: dict[str, Any] = {}
    with progress_bar("latents", total) as advance:
        for split, plan in plans.items():
            shards = []
            for start in range(0, len(plan), params.shard_size):
                crops = plan[start : start + params.shard_size]
                path = manifest.parent / f"{split}-{start:06d}.safetensors"
                key = sha256_of(made_by, split, start, len(crops))
                if not _is_made_by(path, key):
                    _write_shard(path, crops, key, params, autoencoder, scale, autocast)
                shards.append({"file": path.name, "count": len(crops), "sha256": sha256_of_file(path)})
                advance(split)
            splits[split] = {"count": len(plan), "shards": shards}
    with safe_open(manifest.parent / splits["train"]["shards"][0]["file"], framework="pt") as shard:
        tensors = {
            name: {"shape": shard.get_slice(name).get_shape()[1:], "dtype": shard.get_slice(name).get_dtype()}
            for name in shard.keys()  # noqa: SIM118 - safe_open is not a mapping
        }
    write_json(manifest, {"made_by": made_by, "tensors": tensors, "splits": splits})


def _is_made_by(path: Path, key: str) -> bool:
    if not path.is_file():
        return False
    with safe_open(path, framework="pt") as shard:
        return (shard.metadata() or {}).get("key") == key


def _write_shard(
    path: Path,
    crops: list[Crop],
    key: str,
    params: Latents,
    autoencoder: FrozenAutoencoder,
    scale: int,
    autocast: str,
) -> None:
    pixels = read_crops(crops, params.crop_size)
    device = autoencoder.device.type
    with torch.autocast(device, DTYPES[autocast], enabled=autocast != "float32"):
        parts = [encode_crops(part, autoencoder, scale, DTYPES[params.dtype]) for part in pixels.split(params.batch)]
    tensors = {name: torch.cat([part[name] for part in parts]).contiguous() for name in parts[0]}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, {"key": key}))


class LatentCache:
    """One split of a cache, read through memory maps: a batch copies its own crops and nothing else.

    Raises:
        FileNotFoundError: the manifest or a shard it names is missing.
    """

    def __init__(self, manifest: Path | str, split: str = "train") -> None:
        self.manifest = Path(manifest)
        self.description = read_json(self.manifest)
        shards = self.description["splits"][split]["shards"]
        self._paths = [self.manifest.parent / shard["file"] for shard in shards]
        self._starts = [sum(shard["count"] for shard in shards[:i]) for i in range(len(shards) + 1)]
        for path in self._paths:
            if not path.is_file():
                raise FileNotFoundError(f"latent shard {path} is missing; delete {self.manifest} and run again")

    def __len__(self) -> int:
        return self._starts[-1]

    @cached_property
    def _shards(self) -> list[Any]:
        return [safe_open(path, framework="pt") for path in self._paths]

    def verify(self) -> None:
        """Compare every shard with the hash in the manifest.

        Raises:
            ValueError: a shard was damaged or exchanged.
        """
        for split in SPLITS:
            for shard in self.description["splits"][split]["shards"]:
                path = self.manifest.parent / shard["file"]
                if sha256_of_file(path) != shard["sha256"]:
                    raise ValueError(f"latent shard {path} does not match its manifest; delete both and run again")

    def batch(self, indices: list[int]) -> LatentBatch:
        """The crops at `indices`, in that order."""
        places = [
            next((s, i - start) for s, start in reversed(list(enumerate(self._starts[:-1]))) if i >= start)
            for i in indices
        ]

        def gather(name: str) -> Tensor:
            return torch.stack([self._shards[shard].get_slice(name)[row] for shard, row in places])

        return LatentBatch(
            crop=gather("crop"), **{name: gather(name).float() for name in ("z_H", "z_L", "x_H_rec", "x_L_rec")}
        )

    def batches(self, size: int, limit: int | None = None) -> Iterator[LatentBatch]:
        """Consecutive batches of at most `size`, over the first `limit` crops (all, where None)."""
        end = min(len(self), limit or len(self))
        for start in range(0, end, size):
            yield self.batch(list(range(start, min(start + size, end))))
