"""Reading published weights: state dicts in files of torch.save or safetensors, under the names of others."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

DERIVED = ("attn_mask", "relative_position_index")  # SwinIR's buffers, which follow from sizes and hold nothing learned


def read_checkpoint(path: Path | str) -> Mapping[str, object]:
    """What a file holds by name: tensors, or mappings of them.

    Files of torch.save are read as tensors and plain values only: no code in them is run.

    Raises:
        FileNotFoundError: nothing at `path`.
        ValueError: it cannot be read so, or holds no names.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights {path} are missing; put the file there, or correct its path")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, SafetensorError, RuntimeError, ValueError, TypeError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as tensors; fetch it again, or convert it to safetensors") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, not tensors by name; give a state dict")
    return content


def read_tensors(path: Path | str, *places: tuple[str, ...]) -> dict[str, Tensor]:
    """The state dict in a checkpoint: at the first of `places` (nested keys) there is, or the file itself.

    Raises:
        FileNotFoundError: nothing at `path`.
        ValueError: it cannot be read, or holds no state dict.
    """
    content = read_checkpoint(path)
    found = next((inner for place in places if (inner := _at(content, place)) is not None), content)
    if not isinstance(found, Mapping) or not found or not all(isinstance(item, Tensor) for item in found.values()):
        nested = ", ".join("/".join(place) for place in places)
        raise ValueError(f"{path} holds no state dict, neither at {nested} nor by itself; give the published file")
    return dict(found)


def _at(content: object, place: tuple[str, ...]) -> object | None:
    for key in place:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def renamed(state: Mapping[str, Tensor], prefixes: Mapping[str, str]) -> dict[str, Tensor]:
    """The learned tensors of `state`, the first of `prefixes` that fits a name replaced in it."""
    learned = {name: value for name, value in state.items() if not name.endswith(DERIVED)}
    return {_renamed(name, prefixes): value for name, value in learned.items()}


def _renamed(name: str, prefixes: Mapping[str, str]) -> str:
    return next((new + name.removeprefix(old) for old, new in prefixes.items() if name.startswith(old)), name)


def check_channels(found: int, channels: int, path: Path | str) -> None:
    """Pass if a network reads latents of as many channels as there are.

    Raises:
        ValueError: it does not.
    """
    if found != channels:
        raise ValueError(
            f"{path} is made for latents of {found} channels, and this autoencoder's have {channels}; "
            "choose the autoencoder it was trained for"
        )


def load_exactly(network: nn.Module, state: Mapping[str, Tensor], path: Path | str) -> None:
    """Load the learned tensors `state` into `network`, in place; all of them and no other.

    Raises:
        ValueError: a name is missing, unknown, or of another shape; the message names the first.
    """
    own = {name: value.shape for name, value in network.state_dict().items() if not name.endswith(DERIVED)}
    wrong = {f"has no {name}": name for name in own.keys() - state.keys()}
    wrong |= {f"has an unknown {name}": name for name in state.keys() - own.keys()}
    wrong |= {
        f"has {name} of shape {tuple(state[name].shape)} instead of {tuple(own[name])}": name
        for name in own.keys() & state.keys()
        if state[name].shape != own[name]
    }
    if wrong:
        raise ValueError(f"{path} {min(wrong, key=wrong.get)}; give the file of the published network")
    network.load_state_dict(state, strict=False)
