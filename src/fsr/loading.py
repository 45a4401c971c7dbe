"""Trained fields for use: the package's own, one that training left in a folder, or a published decoder."""

from pathlib import Path

import torch
from diffusers.utils import CONFIG_NAME

from fsr.autoencoders import FrozenAutoencoder, load_autoencoder
from fsr.config import Vae
from fsr.decoder import FSRDecoder
from fsr.files import read_json
from fsr.flow.field import VectorField, load_field
from fsr.pipeline import ImagePipeline
from fsr.precision import DTYPES
from fsr.sections import validated
from fsr.tiling import Tiling

DEFAULT_MODEL = Path(__file__).parent / "flow/embedded"
REMEDY = "give the folder `model` that the training of a field wrote, or one that fsr publish did"


def load_pipeline(
    model: Path = DEFAULT_MODEL,
    vae: Vae | None = None,
    scale: int | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    tiling: Tiling = Tiling(),  # noqa: B008 - frozen
) -> ImagePipeline:
    """The pipeline of the field saved in `model`, at its first scale where none is given.

    Args:
        vae: where the autoencoder it was trained for is, if not where a published decoder says; of a field alone, which
            does not say, if it is not the embedded one.
        dtype: what it computes in (float32, bfloat16, float16); the autoencoder's weights are cast to it.

    Raises:
        FileNotFoundError: no field or no autoencoder there.
        ValueError: `model` holds another network, the device or dtype cannot be used here, or the field was not trained
            for the scale or was trained for another autoencoder.
    """
    config = model / CONFIG_NAME
    if not config.is_file():
        raise FileNotFoundError(f"no trained field in {model}: it holds no {CONFIG_NAME}; {REMEDY}")
    found, known = read_json(config).get("_class_name"), (VectorField.__name__, FSRDecoder.__name__)
    if found not in known:
        raise ValueError(f"{model} holds {found or 'no class of diffusers'}, not a {' or '.join(known)}; {REMEDY}")
    check_device(device, dtype)
    load = _published if found == FSRDecoder.__name__ else _trained
    field, autoencoder = load(model, vae, device)
    autoencoder.to(DTYPES[dtype])
    return ImagePipeline(autoencoder, field, field.config.scales[0] if scale is None else scale, tiling)


def _published(model: Path, vae: Vae | None, device: str) -> tuple[VectorField, FrozenAutoencoder]:
    decoder = FSRDecoder.from_pretrained(model, use_safetensors=True)
    autoencoder = decoder.load_base(device) if vae is None else load_autoencoder(vae, device)
    decoder.attach(autoencoder.model)
    return decoder.field, autoencoder


def _trained(model: Path, vae: Vae | None, device: str) -> tuple[VectorField, FrozenAutoencoder]:
    place = {"class": "AutoencoderKL", "path": "embedded", "subfolder": None, "revision": None}
    autoencoder = load_autoencoder(vae or validated(Vae, place | {"dtype": "float32", "tile": None}, "vae"), device)
    return load_field(model, autoencoder), autoencoder


def check_device(name: str, dtype: str = "float32") -> None:
    """Pass if tensors can be made on a device, and convolved in `dtype`.

    Raises:
        ValueError: they cannot, or torch knows no such device.
    """
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {name!r} cannot be used here; use cpu, or a GPU that torch finds") from error
    try:
        image = torch.ones(1, 1, 8, 8, device=name, dtype=DTYPES[dtype])
        torch.nn.functional.conv2d(image, image[..., :3, :3])
    except (RuntimeError, NotImplementedError) as error:
        raise ValueError(f"device {name!r} does not compute in {dtype}; use float32") from error
