"""Which weights are at hand: packaged, trained, in a mirror, in torch hub's checkpoints or in the hub's cache."""

from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError, safe_open

from fsr.doctor.finding import Finding
from fsr.mirror import mirror_root

WEIGHTS, CONFIG = "diffusion_pytorch_model.safetensors", "config.json"
HUB = {  # name: repository, folder in it, its weights, whether its terms must be accepted
    "FLUX.1-dev's autoencoder": ("black-forest-labs/FLUX.1-dev", "vae/", WEIGHTS, True),
    "FLUX.1-schnell's autoencoder": ("black-forest-labs/FLUX.1-schnell", "vae/", WEIGHTS, False),
    "FLUX.2-dev's autoencoder": ("black-forest-labs/FLUX.2-dev", "vae/", WEIGHTS, True),
    "CLIP (cosines with prompts)": ("openai/clip-vit-base-patch32", "", "model.safetensors", False),
}


def examine_weights(mirror: str | None) -> Iterator[Finding]:
    """Autoencoders, the default field and the nets of metrics; nothing is loaded."""
    from fsr.autoencoders.loading import EMBEDDED
    from fsr.loading import DEFAULT_MODEL

    yield _folder("embedded autoencoder", EMBEDDED)
    yield _folder("default field", DEFAULT_MODEL)
    yield _taef2(mirror)
    yield from (_hub(name, *place) for name, place in HUB.items())
    yield from _metric_nets()


def _folder(name: str, folder: Path) -> Finding:
    """A folder of the package with a model of diffusers'."""
    file, remedy = folder / WEIGHTS, "install FSR again"
    if not file.is_file() or not (folder / CONFIG).is_file():
        return Finding("weights", name, "missing", f"not in {folder}", remedy, "use")
    try:
        with safe_open(file, "pt") as opened:
            opened.keys()
    except (SafetensorError, OSError) as error:
        return Finding("weights", name, "broken", f"{file}: {error}", remedy, "use")
    return Finding("weights", name, "ok", str(folder), needed="use")


def _taef2(mirror: str | None) -> Finding:
    import torch

    from fsr.autoencoders.loading import TAEF2_FILES, TAEF2_SOURCE

    hub = Path(torch.hub.get_dir(), "checkpoints")
    root = _mirror_or_none(mirror)
    for place in ([root / "vae/taef2"] if root else []) + [hub]:
        if all((place / name).is_file() for name in TAEF2_FILES):
            return Finding("weights", "TAEF2", "ok", str(place))
    remedy = f"fetched from {TAEF2_SOURCE} when first used; or set FSR_MIRROR to a mirror with vae/taef2"
    return Finding("weights", "TAEF2", "missing", "", remedy)


def _mirror_or_none(mirror: str | None) -> Path | None:
    """The mirror; None too where a wrong one is named, which is a finding of its own."""
    try:
        return mirror_root(mirror)
    except FileNotFoundError:
        return None


def _hub(name: str, repository: str, folder: str, weights: str, gated: bool) -> Finding:
    """Weights in the hub's cache."""
    found = [try_to_load_from_cache(repository, folder + file) for file in (CONFIG, weights)]
    if all(isinstance(file, str) for file in found):
        return Finding("weights", name, "ok", str(Path(found[-1]).parent))
    include = f" --include '{folder}*'" if folder else f" {CONFIG} {weights}"
    terms = "accept its terms on the hub, set HF_TOKEN, and: " if gated else ""
    remedy = f"{terms}hf download {repository}{include}"
    return Finding("weights", name, "missing", "not in the hub's cache", remedy)


def _metric_nets() -> Iterator[Finding]:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
    from torchvision.models.inception import Inception_V3_Weights

    from fsr.metrics.features import hub_file
    from fsr.metrics.perceptual import BACKBONES, ST_LPIPS_WEIGHTS

    yield Finding("weights", "ST-LPIPS", *_at(ST_LPIPS_WEIGHTS, "install stlpips-pytorch again"))
    inception = {"Inception (torch-fidelity)": URL_INCEPTION_V3}
    inception["Inception (torchvision)"] = Inception_V3_Weights.IMAGENET1K_V1.url
    backbones = {f"LPIPS ({name.removeprefix('lpips_')})": url for name, url in BACKBONES.items()}
    for name, url in (backbones | inception).items():
        file = hub_file(url)
        yield Finding("weights", name, *_at(file, f"fetch {url} into {file.parent}"))


def _at(file: Path, remedy: str) -> tuple[str, str, str]:
    """State, detail and remedy of a file."""
    return ("ok", str(file), "") if file.is_file() else ("missing", "", remedy)
