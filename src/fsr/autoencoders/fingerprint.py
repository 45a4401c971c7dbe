"""By what a VAE is recognised: its configuration and its weights, whatever file, device and precision they come in."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from accelerate.hooks import CpuOffload
from diffusers import ModelMixin
from torch import nn

from fsr.autoencoders.families import FAMILIES
from fsr.files import sha256_of
from fsr.precision import DTYPES

POLICIES = ("sample_size", "force_upcast")  # entries of a VAE's config that do not change what it computes


def architecture_of(vae: ModelMixin) -> dict[str, Any]:
    """Entries of a VAE's configuration that decide what it computes."""
    entries = json.loads(vae.to_json_string())
    return {key: value for key, value in entries.items() if not key.startswith("_") and key not in POLICIES}


def weights_hash(vae: ModelMixin, dtype: torch.dtype) -> str:
    """SHA-256 of a VAE's weights cast to `dtype`, whatever file and device they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(vae.state_dict().items()):
        cast = value.detach().to("cpu", dtype if value.is_floating_point() else value.dtype).contiguous()
        digest.update(f"{name} {tuple(cast.shape)} {cast.dtype}".encode())
        digest.update(cast.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def fingerprint_of(vae: ModelMixin) -> dict[str, str]:
    """SHA-256 of a VAE's architecture ("config") and of its weights in each dtype; `vae` is in float32."""
    return {"config": sha256_of(architecture_of(vae))} | {
        name: weights_hash(vae, dtype) for name, dtype in DTYPES.items()
    }


def check_vae(vae: ModelMixin, config: Mapping[str, Any]) -> None:
    """Pass if a VAE is the one that a decoder's configuration (base_vae, cut, network, ...) names.

    Raises:
        ValueError: it is another, or it is being offloaded; says in one line what differs and what to do.
    """
    what = _difference(vae, config)
    if not what and _is_offloaded(vae):
        raise ValueError("this VAE is being offloaded; attach before that, or after pipe.remove_all_hooks()")
    if not what and not _same_weights(vae, config["fingerprint"]):
        what = f"has other weights, in {vae.dtype}"
    if what:
        raise ValueError(
            f"this VAE {what}; attach to {name_of(config)}, loaded in one of {', '.join(DTYPES)}, or use a field "
            "trained for this one"
        )


def name_of(config: Mapping[str, Any]) -> str:
    """The VAE that a decoder's configuration names, in words."""
    base = config["base_vae"]
    return ", ".join([base["path"], *(f"{key} {base[key]}" for key in ("subfolder", "revision") if base[key])])


def is_away(module: nn.Module) -> bool:
    """Whether some of a module's weights are not here: offloaded, or never loaded."""
    return any(tensor.is_meta for tensor in module.state_dict().values())


def _difference(vae: ModelMixin, config: Mapping[str, Any]) -> str:
    """In what, but its weights, a VAE is another than a configuration's; empty where in nothing."""
    base, cut, architecture = config["base_vae"], config["cut"], config["architecture"]
    family = FAMILIES.get(base["class"])
    if family is None or not isinstance(vae, family.model):
        return f"is of class {type(vae).__name__}, not {base['class']}"
    if (found := vae.config.latent_channels) != (expected := architecture["latent_channels"]):
        return f"has {found} latent channels, not {expected}"
    if (found := family.split(vae).cut(cut).channels) != (expected := config["network"]["channels"]):
        return f"has {found} channels at {cut}, not {expected}"
    own = architecture_of(vae)
    known = {key: own.get(key) for key in architecture}  # other versions of diffusers may have more entries
    if sha256_of(known) == config["fingerprint"]["config"]:
        return ""
    apart = (f"{key} {known[key]}, not {value}" for key, value in architecture.items() if known[key] != value)
    return f"has another configuration ({'; '.join(apart)})"


def _is_offloaded(vae: ModelMixin) -> bool:
    hook = getattr(vae, "_hf_hook", None)
    return is_away(vae) or any(isinstance(each, CpuOffload) for each in getattr(hook, "hooks", (hook,)))


def _same_weights(vae: ModelMixin, fingerprint: Mapping[str, str]) -> bool:
    """In its own dtype, or in a narrower one where that costs no weight anything."""
    weights = [value for value in vae.state_dict().values() if value.is_floating_point()]
    for name, dtype in sorted(DTYPES.items(), key=lambda item: item[1] != vae.dtype):
        as_they_are = all(torch.equal(value, value.to(dtype).to(value.dtype)) for value in weights)
        if as_they_are and weights_hash(vae, dtype) == fingerprint[name]:
            return True
    return False
