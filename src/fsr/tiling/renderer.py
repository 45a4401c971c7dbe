"""The frozen autoencoder, with a field, in exact tiles."""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from fsr.autoencoders import FrozenAutoencoder
from fsr.flow.field import VectorField
from fsr.precision import autocast
from fsr.tiling.execute import Run
from fsr.tiling.field import lower_field
from fsr.tiling.kernels import Bicubic
from fsr.tiling.lowering import lower_encoder, lower_stages
from fsr.tiling.program import Program
from fsr.tiling.settings import Tiling
from fsr.tiling.workspace import Workspace
from fsr.upscalers import Fsr, Sample

KEPT = 3  # times what comes out, which who asked for it may make of it: clamped, rounded, written


class Renderer:
    """Encodes, decodes and upscales, strip by strip.

    Images are (B, 3, H, W) in [0, 1], not clamped; latents are scaled. Whatever the tiling, what comes out is what the
    autoencoder's own methods and `Fsr` give, but for rounding: every strip is computed from all it depends on, and
    normalisation has the statistics of the whole image.

    Raises:
        ValueError: a module that cannot be made in strips, unless the tiling is `whole`.
    """

    def __init__(self, autoencoder: FrozenAutoencoder, field: VectorField | None = None) -> None:
        self.autoencoder, self.field = autoencoder, field
        self._program = lru_cache(maxsize=4)(self._lowered)

    @torch.inference_mode()
    def encode(self, images: Tensor, tiling: Tiling = Tiling()) -> Tensor:  # noqa: B008 - frozen
        """Scaled latents of images, whose sides are multiples of the autoencoder's factor."""
        if self._whole(tiling):
            return self.autoencoder.encode(images)
        self.autoencoder.check_sides(images)
        raw = self._run("encode", 0, self.autoencoder.normalise(images), tiling, 1, self.autoencoder.factor)
        return self.autoencoder.scaled(raw)

    @torch.inference_mode()
    def decode(self, latents: Tensor, tiling: Tiling = Tiling()) -> Tensor:  # noqa: B008 - frozen
        """Images of scaled latents, as the autoencoder decodes them."""
        if self._whole(tiling):
            return self.autoencoder.decode(latents)
        raw = self.autoencoder.raw(latents)
        return self._run("decode", 0, raw, tiling, self.autoencoder.factor, 1)

    @torch.inference_mode()
    def upscale(self, latents: Tensor, scale: int, tiling: Tiling = Tiling()) -> Tensor:  # noqa: B008 - frozen
        """Images `scale` times as large as the latents' own: head, bicubic, field, tail.

        Raises:
            ValueError: the field was not trained for `scale`, or its patch does not divide the features' sides.
        """
        factor = self.autoencoder.factor
        if self._whole(tiling):
            x_L = torch.empty(len(latents), 3, *(side * factor for side in latents.shape[-2:]), device="meta")
            sample = Sample(self.autoencoder, x_L, scale)
            sample.z_L = latents
            with autocast(str(latents.device), str(self.autoencoder.model.dtype).removeprefix("torch.")):
                return Fsr(self.field)(sample).image
        self.field.check_sides(*self._feature_sides(latents, scale))
        raw = self.autoencoder.raw(latents)
        return self._run("upscale", scale, raw, tiling, factor * scale, 1)

    def _whole(self, tiling: Tiling) -> bool:
        """Whether modules run on whole tensors: where that is asked for, and on a GPU where nothing else is."""
        return tiling.whole or (tiling == Tiling() and self.autoencoder.device.type != "cpu")

    def _feature_sides(self, latents: Tensor, scale: int) -> tuple[int, int]:
        sides = [side * self.autoencoder.factor * scale for side in latents.shape[-2:]]
        return self.autoencoder.feature_shape(self.field.config.cut, *sides)[1:]

    def _lowered(self, what: str, scale: int, device: torch.device, dtype: torch.dtype) -> tuple[Program, int]:
        """The program, and the channels of what it makes; it holds weights as they are on `device`, in `dtype`."""
        autoencoder, program = self.autoencoder, Program(device, dtype)
        if what == "encode":
            value = lower_encoder(program, program.start(3), autoencoder.model)
            return program, program.written(value).channels
        stages, value = autoencoder.decoder.stages, program.start(autoencoder.latent_channels)
        if what == "upscale":
            position = autoencoder.decoder.position(self.field.config.cut)
            value = program.written(lower_stages(program, value, stages[:position]))
            value = lower_field(program, program.step(value, Bicubic(scale)), self.field, scale)
            stages = stages[position:]
        value = program.written(lower_stages(program, value, stages))
        program.end_in_float32()
        return program, value.channels

    def _run(self, what: str, scale: int, x: Tensor, tiling: Tiling, up: int, down: int) -> Tensor:
        model = self.autoencoder.model
        program, channels = self._program(what, scale, model.device, model.dtype)
        images = down == 1
        sides = [side * up // down for side in x.shape[-2:]]
        made = torch.empty(len(x), channels, *sides, dtype=torch.float32 if images else model.dtype, device=x.device)
        kept = KEPT * made.nbytes if images else 0
        for image, out in zip(x.to(model.dtype).split(1), made, strict=True):
            workspace = Workspace(program, tuple(x.shape[-2:]), x.shape[1], tiling, kept)
            Run(program, image, workspace).result(self._into(out, images))
        return made

    def _into(self, out: Tensor, images: bool) -> Callable[[int, Tensor], None]:
        """Puts rows (n, W, C) into an image or a latent (C, H, W)."""

        def put(start: int, rows: Tensor) -> None:
            made = rows.permute(2, 0, 1)
            out[:, start : start + len(rows)] = self.autoencoder.images(made) if images else made

        return put
