"""Features of a row's images for distances between distributions, and of the reference sets they are compared with."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from fsr.checkpoint import save_tensors
from fsr.config import Params
from fsr.datasets import manifest_files
from fsr.files import read_json
from fsr.images import quantise, read_image
from fsr.metrics.clip import load_clip
from fsr.metrics.features import FeatureNet, load_feature_net, patches
from fsr.progress import progress_bar

CLIP = "clip"


class Extractor:
    """Takes images row by row; holds nothing where distributions are not asked for.

    Features are asked for by data.reference and benchmark.distribution.features, cosines with prompts by
    benchmark.distribution.clip; an image has a prompt where prompts/<image>.txt lies beside it.

    Raises:
        FileNotFoundError: no such CLIP.
    """

    def __init__(self, params: Params, device: str) -> None:
        self.settings, self.seed = params.benchmark.distribution, params.seed
        self.nets = loaded_nets(params, device) if params.data.reference else []
        self.clip = load_clip(self.settings.clip, device) if self.settings.clip else None
        self.rows: dict[str, dict[str, list[Tensor]]] = defaultdict(lambda: defaultdict(list))
        self.small = False

    def add(self, row: str, file: Path, image: Tensor) -> None:
        """Take what `row` made (1, 3, H, W) of the image in `file`."""
        for net in self.nets:
            for kind, part in self._parts(file.stem, image).items():
                self.rows[row][f"{net.name}.{kind}"].append(net(part).cpu())
        prompt = file.parent / "prompts" / f"{file.stem}.txt"
        if self.clip is not None and prompt.is_file():
            cosine = self.clip(image, prompt.read_text(encoding="utf-8").strip())
            self.rows[row][CLIP].append(torch.tensor([[cosine]], dtype=torch.float64))

    def _parts(self, name: str, image: Tensor) -> dict[str, Tensor]:
        size = self.settings.patch_size
        self.small |= min(image.shape[-2:]) < size
        if self.small:
            return {"images": image}
        return {"images": image, "patches": patches(image, self.settings.patches, size, self.seed, name)}

    def write(self, folder: Path) -> None:
        """Write <row>.safetensors for every row: <net>.images (N, D), <net>.patches (N patches, D), clip (N, 1).

        Where an image is smaller than a patch, there are no patches of any: a part of a set would be another set.
        """
        for row, found in self.rows.items():
            kept = {name: parts for name, parts in found.items() if not (self.small and name.endswith(".patches"))}
            tensors = {name: torch.cat(parts) for name, parts in kept.items()}
            save_tensors(folder / f"{row}.safetensors", tensors, {})


def join_features(shards: Sequence[Path], folder: Path) -> None:
    """Write the features of a set, of folders that `Extractor.write` filled with those of its parts, in their order.

    Where one part has no patches, the set has none, as `Extractor.write` has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in dict.fromkeys(file.name for shard in shards for file in sorted(shard.glob("*.safetensors"))):
        parts = [load_file(shard / name) for shard in shards if (shard / name).is_file()]
        names = dict.fromkeys(chain.from_iterable(parts))
        found = {key: [part[key] for part in parts if key in part] for key in names}
        kept = [key for key, each in found.items() if not key.endswith(".patches") or len(each) == len(parts)]
        save_tensors(folder / name, {key: torch.cat(found[key]) for key in kept}, {})


def loaded_nets(params: Params, device: str) -> list[FeatureNet]:
    """Those of benchmark.distribution.features whose weights are at hand."""
    found = (load_feature_net(name, device).network for name in params.benchmark.distribution.features)
    return [net for net in found if net is not None]


@torch.inference_mode()
def reference_features(params: Params, dataset_manifest: Path, output: Path) -> None:
    """Write the features of a reference set, as `Extractor.write` does; none where the set is not available."""
    settings = params.benchmark.distribution.model_copy(update={"clip": None})
    own = params.model_copy(update={"benchmark": params.benchmark.model_copy(update={"distribution": settings})})
    extractor = Extractor(own, params.runtime.device)
    files = manifest_files(dataset_manifest) if read_json(dataset_manifest).get("available", True) else []
    with progress_bar(f"features {output.stem}", len(files)) as advance:
        for file in files:
            extractor.add(output.stem, file, quantise(read_image(file).to(params.runtime.device)))
            advance(file.name)
    if not extractor.rows:
        save_tensors(output, {}, {})
    extractor.write(output.parent)
