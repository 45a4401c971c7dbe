"""Where the frozen autoencoder comes from: the package, a local folder, the hub, or TAEF2's public files."""

from pathlib import Path

import torch
from diffusers import ModelMixin
from huggingface_hub import constants

from fsr.autoencoders.families import FAMILIES
from fsr.autoencoders.frozen import FrozenAutoencoder
from fsr.autoencoders.taef2 import DECODER_FILE, ENCODER_FILE, Taef2
from fsr.config import Vae
from fsr.downloads import download
from fsr.files import sha256_of_file
from fsr.mirror import mirror_root
from fsr.precision import DTYPES

EMBEDDED = Path(__file__).parent / "embedded"
TAEF2_SOURCE = "https://raw.githubusercontent.com/madebyollin/taesd/main"
TAEF2_FILES = {  # name: (bytes, SHA-256)
    ENCODER_FILE: (2704692, "10a4e1021e89d7551eaf161352da8dbd0b1aa83872ae28b150c1df1ce2f147b6"),
    DECODER_FILE: (2704756, "0a44a31e1ae59eb9dbf9359d24942fd3ef5928162c1800d97a28c61d51be0ab5"),
}


def load_autoencoder(vae: Vae, device: str, mirror: str | None = None) -> FrozenAutoencoder:
    """The frozen autoencoder the `vae` section names.

    `vae.path` is "embedded", a local folder, or a hub id (with HF_HUB_OFFLINE=1, one that the hub's cache holds); for
    TAEF2 also "public": `<mirror>/vae/taef2` where there is a mirror, else the files its authors publish.

    Raises:
        FileNotFoundError: nothing there, or the hub is out of reach; says what to do.
        ConnectionError: TAEF2's public files are out of reach.
        ValueError: it is of another class than `vae.class`, or its files are damaged.
    """
    model = _load_taef2(vae, mirror) if vae.family == "TAEF2" else _load_pretrained(vae)
    return FrozenAutoencoder(model.to(device, memory_format=torch.channels_last), vae.tile)


def _load_pretrained(vae: Vae) -> ModelMixin:
    """The model at `vae.path`, every weight of it as stored there; weights in pickle files are not loaded."""
    path, place = place_of(vae)
    check_class(vae, path, place)
    options = {"torch_dtype": DTYPES[vae.dtype], "output_loading_info": True}
    try:
        model, info = FAMILIES[vae.family].model.from_pretrained(path, **place, use_safetensors=True, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{_shown(vae)} has a config.json, but no diffusion_pytorch_model.safetensors that is whole and fits it "
            f"(pickle files are not loaded); fetch it again{_offline_remedy()}"
        ) from error
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ValueError(f"{_shown(vae)} lacks {len(missing)} weights ({missing[0]}, ...); fetch it again")
    return model


def place_of(vae: Vae) -> tuple[Path | str, dict[str, str | None]]:
    """What diffusers takes: of a local folder the subfolder itself, since it would prefer files beside it."""
    if vae.path == "embedded":
        return EMBEDDED, {}
    if Path(vae.path).is_dir():
        return Path(vae.path, vae.subfolder or "").absolute(), {}
    return vae.path, {"subfolder": vae.subfolder, "revision": vae.revision}


def check_class(vae: Vae, path: Path | str, place: dict[str, str | None]) -> None:
    """Pass if the configuration at `path` is of the class `vae` names.

    Raises:
        FileNotFoundError: nothing there, or the hub is out of reach; says what to do.
        ValueError: it is of another class.
    """
    model_class = FAMILIES[vae.family].model
    try:
        found = model_class.load_config(path, **place).get("_class_name", "no class of diffusers")
    except OSError as error:
        raise FileNotFoundError(
            f"no {vae.family} at {_shown(vae)}: give 'embedded', a local folder with config.json and safetensors, or "
            f"a hub id that you can reach and are allowed to read (HF_TOKEN){_offline_remedy()}"
        ) from error
    if found == model_class.__name__:
        return
    names = {family.model.__name__: name for name, family in FAMILIES.items()}
    remedy = f"set vae.class to {names[found]}" if found in names else f"give one of {', '.join(names.values())}"
    raise ValueError(f"{_shown(vae)} holds {found}, not {vae.family}; {remedy}")


def _shown(vae: Vae) -> str:
    return f"vae.path {vae.path!r}" + (f", subfolder {vae.subfolder!r}" if vae.subfolder else "")


def _offline_remedy() -> str:
    return ", or unset HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else ""


def _load_taef2(vae: Vae, mirror: str | None) -> Taef2:
    folder = _public_taef2(mirror) if vae.path == "public" else Path(vae.path, vae.subfolder or "")
    if (folder / ENCODER_FILE).is_file() or (folder / DECODER_FILE).is_file():
        return Taef2.from_public_files(folder, DTYPES[vae.dtype])
    return _load_pretrained(vae)


def _public_taef2(mirror: str | None) -> Path:
    """A folder with the two files as published, checked."""
    root = mirror_root(mirror)
    kept = root / "vae/taef2" if root else None
    if kept is not None and all((kept / name).is_file() for name in TAEF2_FILES):
        for name, (_, expected) in TAEF2_FILES.items():
            if sha256_of_file(kept / name) != expected:
                raise ValueError(f"{kept / name} is not the published file; fetch it again from {TAEF2_SOURCE}")
        return kept
    folder = Path(torch.hub.get_dir(), "checkpoints")
    for name, (size, expected) in TAEF2_FILES.items():
        download(f"{TAEF2_SOURCE}/{name}", folder / name, sha256=expected, size=size)
    return folder
