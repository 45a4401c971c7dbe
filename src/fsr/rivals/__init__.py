"""Methods of others: their networks, and what they are trained with under the same conditions as fsr."""

from pathlib import Path

from fsr.autoencoders import FrozenAutoencoder, weights_sha256
from fsr.files import read_json
from fsr.rivals.lsrna import LsrnaNetwork, build_lsrna, load_lsrna
from fsr.rivals.lua import LuaNetwork, build_lua, load_lua

__all__ = [
    "LsrnaNetwork",
    "LuaNetwork",
    "build_lsrna",
    "build_lua",
    "load_lsrna",
    "load_lua",
    "load_rival",
]

NETWORKS = {network.__name__: network for network in (LuaNetwork, LsrnaNetwork)}


def load_rival(folder: Path | str, autoencoder: FrozenAutoencoder) -> LuaNetwork | LsrnaNetwork:
    """A network that was trained here, in eval mode, on the autoencoder's device.

    Raises:
        FileNotFoundError: no network in `folder`.
        ValueError: it is no network of this package, or was trained for other frozen weights.
    """
    missing = f"no trained network in {folder}; it must hold config.json and safetensors"
    if not Path(folder, "config.json").is_file():
        raise FileNotFoundError(missing)
    kind = read_json(Path(folder, "config.json")).get("_class_name")
    if kind not in NETWORKS:
        raise ValueError(f"{folder} holds a {kind}; it must be one of {', '.join(NETWORKS)}")
    try:
        network = NETWORKS[kind].from_pretrained(folder, use_safetensors=True)
    except OSError as error:
        raise FileNotFoundError(missing) from error
    if network.config.autoencoder != weights_sha256(autoencoder):
        raise ValueError(f"the network in {folder} was trained for another autoencoder; load that one, or train again")
    return network.to(autoencoder.device).eval()
