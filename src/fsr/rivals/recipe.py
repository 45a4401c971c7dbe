"""How networks on latents are trained by the loop that trains the field: LUA's three stages, LSRNA's L1."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import ModelMixin
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fsr.autoencoders import FrozenAutoencoder
from fsr.config import Lsrna, Lua, Params
from fsr.config.rows import FIELD_ONLY
from fsr.images import RESAMPLINGS, enlarge_features
from fsr.latents import LatentBatch, LatentCache
from fsr.precision import autocast, autocast_dtype
from fsr.randomness import generator
from fsr.rivals import losses
from fsr.rivals.lsrna import build_lsrna, cell_centres
from fsr.rivals.lua import build_lua
from fsr.train.validation import GRID_ROWS, columns, columns_by_scale, over_crops, summed_errors

Enlarge = Callable[[Tensor], Tensor]  # scaled latents (B, C, h, w) to scaled latents of high resolution


class LatentRecipe:
    """What both have in common: a network that enlarges scaled latents, judged by what they decode to."""

    unread = FIELD_ONLY - {"lr"}

    def __init__(self, params: Params, name: str, method: Lua | Lsrna, autoencoder: FrozenAutoencoder) -> None:
        self.params, self.name, self.method, self.autoencoder = params, name, method, autoencoder
        self.definition: Any = method.model_dump(exclude={"weights"})
        self.partial = False
        self.dtype = autocast_dtype(params.runtime)
        self.model = self.build()

    def build(self) -> ModelMixin:
        """The untrained network."""
        raise NotImplementedError

    def enlarged(self, network: nn.Module, z_L: Tensor, scale: int) -> Tensor:
        """Scaled latents of high resolution, float32, of scaled latents z_L."""
        raise NotImplementedError

    def attach(self, trained: nn.Module, ema: EMAModel, held_out: LatentCache, accelerator: Accelerator) -> None:
        self.autoencoder.to(self.model.device)
        self.trained, self.held_out, self.accelerator = trained, held_out, accelerator

    def begin(self, cache: LatentCache) -> None:
        """A network starts from its seed alone."""

    def validate(self, model: ModelMixin) -> dict[str, float]:
        """PSNR and RGB L1 of decoded held-out crops against x_H_rec."""

        def measure(batch: LatentBatch) -> tuple[float, ...]:
            return *summed_errors(self.rendered(model, batch), batch.x_H_rec), len(batch.z_L)

        means = over_crops(self.params, self.held_out, self.accelerator, self.autoencoder.device, 2, measure)
        means_over_scales = (sum(values) / len(means) for values in zip(*means, strict=True))
        psnr_by_scale = {scale: values[0] for scale, values in zip(self.params.scales, means, strict=True)}
        return columns(*means_over_scales) | columns_by_scale(psnr_by_scale)

    @torch.no_grad()
    def rendered(self, model: ModelMixin, batch: LatentBatch) -> Tensor:
        """Decoded images in [0, 1] of a batch's enlarged latents."""
        with self.autocast():
            return self.autoencoder.decode(self.enlarged(model, batch.z_L, batch.scale)).clamp(0, 1)

    @torch.no_grad()
    def grid(self, model: ModelMixin) -> Tensor:
        """Held-out crops at the first scale, a row each: enlarged LR decode, latent bicubic, the method, target."""
        resampling, lines = RESAMPLINGS[self.params.latents.protocol], []
        for batch in self.held_out.batches(1, self.params.scales[0], GRID_ROWS):
            batch = batch.to(self.autoencoder.device)
            with self.autocast():
                bicubic = self.autoencoder.decode(enlarge_features(batch.z_L, batch.z_H.shape[-2:]))
            base = resampling.enlarge(batch.x_L_rec, batch.scale)
            columns = (base, bicubic, self.rendered(model, batch), batch.x_H_rec)
            lines.append(torch.cat([column[0] for column in columns], dim=2).cpu())
        return torch.cat(lines, dim=1).clamp(0, 1)

    def autocast(self) -> torch.autocast:
        return autocast(self.params.runtime.device, self.dtype)

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """There is nothing beside the model."""


class LuaRecipe(LatentRecipe):
    """LUA in its three stages, a third of the steps each; latents are raw ones, images those x_H_rec is."""

    def build(self) -> ModelMixin:
        self.partial = len(self.params.scales) > 1  # a pass goes through one head
        return build_lua(self.method, self.params, self.autoencoder)

    def enlarged(self, network: nn.Module, z_L: Tensor, scale: int) -> Tensor:
        return self.autoencoder.scaled(network(self.autoencoder.raw(z_L), scale).float())

    def terms(self, batch: LatentBatch, samples: Sequence[int], step: int, first: bool) -> dict[str, Tensor]:
        with self.autocast():
            raw = self.trained(self.autoencoder.raw(batch.z_L), batch.scale).float()
        weights = self._weights(step)
        terms = losses.latent_terms(raw, self.autoencoder.raw(batch.z_H), weights)
        if set(weights) - set(terms):
            image, target = (self.autoencoder.normalise(x) for x in (self._decoded(raw), batch.x_H_rec))
            terms |= losses.pixel_terms(image, target, batch.scale, weights)
        return terms

    def _decoded(self, raw: Tensor) -> Tensor:
        def decode(latents: Tensor) -> Tensor:
            with self.autocast():
                return self.autoencoder.decode(latents)

        z = self.autoencoder.scaled(raw)
        return checkpoint(decode, z, use_reentrant=False) if self.params.train.checkpoint_tail else decode(z)

    def total(self, terms: Mapping[str, Tensor], step: int) -> Tensor:
        weights = self._weights(step)
        return sum(weights[name] * value for name, value in terms.items())

    def _weights(self, step: int) -> Mapping[str, float]:
        stages = losses.LUA_STAGES
        return stages[min(len(stages) * step // self.params.train.steps, len(stages) - 1)]


class LsrnaRecipe(LatentRecipe):
    """LSRNA's LSR module: L1 at random pixels of the scaled high-resolution latent."""

    def build(self) -> ModelMixin:
        return build_lsrna(self.method, self.params, self.autoencoder)

    def enlarged(self, network: nn.Module, z_L: Tensor, scale: int) -> Tensor:
        return network(z_L, (scale * z_L.shape[-2], scale * z_L.shape[-1])).float()

    def terms(self, batch: LatentBatch, samples: Sequence[int], step: int, first: bool) -> dict[str, Tensor]:
        size, device = tuple(batch.z_H.shape[-2:]), batch.z_H.device
        places, count = cell_centres(size, device), min(self.method.queries, size[0] * size[1])
        sources = (generator(self.params.seed, "train", sample) for sample in samples)
        chosen = torch.stack([torch.randperm(len(places), generator=source)[:count] for source in sources]).to(device)
        coordinates = places[chosen]
        with self.autocast():
            found = self.trained(batch.z_L, size, coordinates).float()
        target = batch.z_H.flatten(2).transpose(1, 2).gather(1, chosen[..., None].expand_as(found))
        return {"latent": losses.l1(found, target)}

    def total(self, terms: Mapping[str, Tensor], step: int) -> Tensor:
        return terms["latent"]


def build_recipe(params: Params, name: str, autoencoder: FrozenAutoencoder) -> LatentRecipe:
    """The recipe of a method of `rivals.methods`, for the run called `name`.

    Raises:
        ValueError: it is not among them, or nothing that is trained.
    """
    recipes = {"lua": LuaRecipe, "lsrna": LsrnaRecipe}
    method = params.rivals.methods.get(name)
    if method is None or method.kind not in recipes or method.weights is not None:
        raise ValueError(f"{name!r} is no method of rivals that is trained; choose one that is, or give it no weights")
    return recipes[method.kind](params, name, method, autoencoder)
