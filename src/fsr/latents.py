"""The latent cache: each training crop encoded once, in safetensors files that are read memory-mapped.

Per crop of side S it holds z_H (C, S/8, S/8), the crop itself (3, S, S) as bytes and x_H_rec = D(z_H) (3, S, S); for
each scale s, under the names z_L_x{s} and x_L_rec_x{s}, also z_L (C, S/8/s, S/8/s) and x_L_rec = D(z_L) (3, S/s, S/s).
The decodes are in [0, 1], half precision. Decoder features are computed from the latents by the head of any cut.

The files may be made by several independent jobs (shards): which job makes a file changes nothing in it.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from fsr.autoencoders import FrozenAutoencoder, weights_sha256
from fsr.checkpoint import save_tensors
from fsr.config import Params
from fsr.crops import Crop, plan_splits, read_crops
from fsr.datasets import manifest_files
from fsr.files import read_json, sha256_of, sha256_of_file, write_json
from fsr.images import RESAMPLINGS, Resampling
from fsr.precision import DTYPES, autocast, autocast_dtype
from fsr.progress import progress_bar

SPLITS = ("train", "validation")
CROP_BORDER = 16  # pixels on each side of a crop to leave out of measures: there its padding speaks


@dataclass(frozen=True)
class Sources:
    """Manifests of the sets the crops come from; without validation sets, a band of each training image is held out."""

    train: list[Path]
    validation: list[Path]


@dataclass(frozen=True)
class CropFile:
    """One file of the cache: the crops of a split from `start` on, and the hash of everything that defines it."""

    split: str
    start: int
    crops: list[Crop]
    key: str

    @property
    def name(self) -> str:
        return f"{self.split}-{self.start:06d}.safetensors"


@torch.inference_mode()
def encode_crops(
    crops: Tensor, autoencoder: FrozenAutoencoder, resampling: Resampling, scales: list[int], dtype: torch.dtype
) -> dict[str, Tensor]:
    """What the cache stores of (B, 3, S, S) uint8 crops, on the CPU; a scale's tensors do not depend on the others."""
    x_H = crops.to(autoencoder.device).float() / 255
    images = {("z_H", "x_H_rec"): x_H}
    images |= {(f"z_L_x{scale}", f"x_L_rec_x{scale}"): resampling.low_resolution(x_H, scale) for scale in scales}
    stored = {"crop": crops}
    for (latent, decode), image in images.items():
        z = autoencoder.encode(image)
        stored |= {latent: z.to(dtype).cpu(), decode: autoencoder.decode(z).half().cpu()}
    return stored


def made_by(params: Params, sources: Sources, autoencoder: FrozenAutoencoder) -> dict[str, Any]:
    """Everything that defines the cache's content, and nothing else."""
    manifests = [read_json(item) for item in (*sources.train, *sources.validation)]
    return {
        "latents": params.latents.model_dump(exclude={"shards"}),
        "scales": params.scales,
        "seed": params.seed,
        "autocast": autocast_dtype(params.runtime),
        "tile": params.vae.tile,
        "autoencoder": weights_sha256(autoencoder),
        "datasets": {manifest["name"]: sha256_of(manifest["files"]) for manifest in manifests},
        "validation": [read_json(item)["name"] for item in sources.validation],
    }


def plan_files(params: Params, sources: Sources, definition: dict[str, Any]) -> list[CropFile]:
    """The cache's files in the order shards take turns at.

    Raises:
        ValueError: an image is too small, or no image can spare a band.
    """
    train, validation = (
        [file for item in manifests for file in manifest_files(item)]
        for manifests in (sources.train, sources.validation)
    )
    files = []
    for split, plan in plan_splits(train, validation, params.latents, params.seed).items():
        for start in range(0, len(plan), params.latents.file_crops):
            crops = plan[start : start + params.latents.file_crops]
            files.append(CropFile(split, start, crops, sha256_of(definition, split, start, len(crops))))
    return files


def encode_shard(params: Params, sources: Sources, autoencoder: FrozenAutoencoder, shard: int, note: Path) -> None:
    """Write every `latents.shards`-th file of the cache, from the `shard`-th on; then `note`, which lists them.

    The files go to the folder above the note's. Whole files of an interrupted run are taken over. While a file is
    encoded, the next one's images are read.

    Raises:
        ValueError: an image is too small, truncated or no image.
    """
    folder = note.parents[1]
    definition = made_by(params, sources, autoencoder)
    files = plan_files(params, sources, definition)[shard :: params.latents.shards]
    missing = [file for file in files if not _is_made_by(folder / file.name, file.key)]
    size = params.latents.crop_size
    what = f"latents {shard + 1}/{params.latents.shards}"
    with progress_bar(what, len(files), len(files) - len(missing)) as advance, ThreadPoolExecutor(1) as reader:
        coming = [reader.submit(read_crops, file.crops, size) for file in missing[:1]]
        for index, file in enumerate(missing):
            pixels = coming.pop().result()
            coming += [reader.submit(read_crops, following.crops, size) for following in missing[index + 1 : index + 2]]
            _write_file(folder / file.name, file.key, pixels, params, autoencoder)
            advance(file.name)
    entries = [
        {"split": file.split, "file": file.name, "count": len(file.crops), "sha256": sha256_of_file(folder / file.name)}
        for file in files
    ]
    write_json(note, {"made_by": definition, "files": entries})


def join_shards(notes: list[Path], manifest: Path) -> None:
    """Write the cache's manifest from the notes of all shards.

    Raises:
        ValueError: the notes are of different caches.
    """
    parts = [read_json(note) for note in notes]
    definition = parts[0]["made_by"]
    if any(part["made_by"] != definition for part in parts):
        raise ValueError(f"the shards in {notes[0].parent} are of different caches; delete them and run again")
    entries = sorted((entry for part in parts for entry in part["files"]), key=lambda entry: entry["file"])
    splits: dict[str, Any] = {}
    for split in SPLITS:
        own = [{key: entry[key] for key in ("file", "count", "sha256")} for entry in entries if entry["split"] == split]
        splits[split] = {"count": sum(entry["count"] for entry in own), "files": own}
    with safe_open(manifest.parent / splits["train"]["files"][0]["file"], framework="pt") as first:
        tensors = {
            name: {"shape": first.get_slice(name).get_shape()[1:], "dtype": first.get_slice(name).get_dtype()}
            for name in first.keys()  # noqa: SIM118 - safe_open is not a mapping
        }
    write_json(manifest, {"made_by": definition, "tensors": tensors, "splits": splits})


def _is_made_by(path: Path, key: str) -> bool:
    if not path.is_file():
        return False
    with safe_open(path, framework="pt") as file:
        return (file.metadata() or {}).get("key") == key


def _write_file(path: Path, key: str, pixels: Tensor, params: Params, autoencoder: FrozenAutoencoder) -> None:
    latents, resampling = params.latents, RESAMPLINGS[params.latents.protocol]
    with autocast(params.runtime.device, autocast_dtype(params.runtime)):
        parts = [
            encode_crops(part, autoencoder, resampling, params.scales, DTYPES[latents.dtype])
            for part in pixels.split(latents.batch)
        ]
    tensors = {name: torch.cat([part[name] for part in parts]).contiguous() for name in parts[0]}
    save_tensors(path, tensors, {"key": key})


@dataclass(frozen=True)
class LatentBatch:
    """Cached crops (B first) at one scale; shapes and ranges as the module's docstring has them, float32 but `crop`."""

    z_H: Tensor
    z_L: Tensor
    crop: Tensor
    x_H_rec: Tensor
    x_L_rec: Tensor
    scale: int

    def to(self, device: str | torch.device) -> "LatentBatch":
        """The batch on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "LatentBatch":
        """The batch in page-locked memory, which torch's DataLoader asks for where there is an accelerator."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "LatentBatch":
        tensors = {name: change(value) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **tensors)


class LatentCache:
    """One split of a cache, read through memory maps: a batch copies its own crops and nothing else.

    Raises:
        FileNotFoundError: the manifest or a file it names is missing.
    """

    def __init__(self, manifest: Path | str, split: str = "train") -> None:
        self.manifest = Path(manifest)
        self.description = read_json(self.manifest)
        files = self.description["splits"][split]["files"]
        self._paths = [self.manifest.parent / file["file"] for file in files]
        self._starts = [sum(file["count"] for file in files[:i]) for i in range(len(files) + 1)]
        for path in self._paths:
            if not path.is_file():
                raise FileNotFoundError(f"latent file {path} is missing; delete {self.manifest} and run again")

    def __len__(self) -> int:
        return self._starts[-1]

    @cached_property
    def _files(self) -> list[Any]:
        """Memory maps, read only: a forked process may go on using them."""
        return [safe_open(path, framework="pt") for path in self._paths]

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs to open the files itself."""
        return {name: value for name, value in vars(self).items() if name != "_files"}

    def verify(self) -> None:
        """Compare every file with the hash in the manifest.

        Raises:
            ValueError: a file was damaged or exchanged.
        """
        for split in SPLITS:
            for file in self.description["splits"][split]["files"]:
                path = self.manifest.parent / file["file"]
                if sha256_of_file(path) != file["sha256"]:
                    raise ValueError(f"latent file {path} does not match its manifest; delete both and run again")

    def batch(self, indices: list[int], scale: int) -> LatentBatch:
        """The crops at `indices`, in that order, with their low resolution at `scale`.

        Raises:
            ValueError: the cache was not made for that scale.
        """
        scales = self.description["made_by"]["scales"]
        if scale not in scales:
            listed = ", ".join(map(str, scales))
            raise ValueError(f"scale {scale} is not in the cache {self.manifest}, which has {listed}; add it to scales")
        places = [
            next((f, i - start) for f, start in reversed(list(enumerate(self._starts[:-1]))) if i >= start)
            for i in indices
        ]

        def gather(name: str) -> Tensor:
            return torch.stack([self._files[file].get_slice(name)[row] for file, row in places])

        stored = {"z_H": "z_H", "z_L": f"z_L_x{scale}", "x_H_rec": "x_H_rec", "x_L_rec": f"x_L_rec_x{scale}"}
        tensors = {name: gather(key).float() for name, key in stored.items()}
        return LatentBatch(crop=gather("crop"), scale=scale, **tensors)

    def batches(self, size: int, scale: int, limit: int | None = None) -> Iterator[LatentBatch]:
        """Consecutive batches of at most `size` at `scale`, over the first `limit` crops (all, where None)."""
        end = min(len(self), limit or len(self))
        for start in range(0, end, size):
            yield self.batch(list(range(start, min(start + size, end))), scale)
