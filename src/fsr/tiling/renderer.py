"""The frozen autoencoder, with a field, in exact tiles."""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from fsr.autoencoders import FrozenAutoencoder
from fsr.flow.field import VectorField
from fsr.tiling.execute import Run
from fsr.tiling.field import lower_field
from fsr.tiling.kernels import Bicubic
from fsr.tiling.lowering import lower_encoder, lower_stages
from fsr.tiling.program import Program
from fsr.tiling.settings import Tiling
from fsr.tiling.workspace import Workspace
from fsr.upscalers import Fsr, Sample

WHOLE = Tiling(whole=True)


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
        self._program = lru_cache(maxsize=8)(self._lowered)

    @torch.inference_mode()
    def encode(self, images: Tensor, tiling: Tiling = Tiling()) -> Tensor:  # noqa: B008 - frozen
        """Scaled latents of images, whose sides are multiples of the autoencoder's factor."""
        if tiling.whole:
            return self.autoencoder.encode(images)
        self.autoencoder.check_sides(images)
        raw = self._run("encode", 0, self.autoencoder.normalise(images), tiling, 1, self.autoencoder.factor)
        return self.autoencoder.scaled(raw)

    @torch.inference_mode()
    def decode(self, latents: Tensor, tiling: Tiling = Tiling()) -> Tensor:  # noqa: B008 - frozen
        """Images of scaled latents, as the autoencoder decodes them."""
        if tiling.whole:
            return self.autoencoder.decode(latents)
        raw = self.autoencoder.raw(latents)
        return self.autoencoder.images(self._run("decode", 0, raw, tiling, self.autoencoder.factor, 1))

    @torch.inference_mode()
    def upscale(self, latents: Tensor, scale: int, tiling: Tiling = Tiling()) -> Tensor:  # noqa: B008 - frozen
        """Images `scale` times as large as the latents' own: head, bicubic, field, tail.

        Raises:
            ValueError: the field was not trained for `scale`, or its patch does not divide the features' sides.
        """
        factor = self.autoencoder.factor
        if tiling.whole:
            x_L = torch.empty(len(latents), 3, *(side * factor for side in latents.shape[-2:]), device="meta")
            sample = Sample(self.autoencoder, x_L, scale)
            sample.z_L = latents
            return Fsr(self.field)(sample).image
        self.field.check_sides(*self._feature_sides(latents, scale))
        raw = self.autoencoder.raw(latents)
        return self.autoencoder.images(self._run("upscale", scale, raw, tiling, factor * scale, 1))

    def _feature_sides(self, latents: Tensor, scale: int) -> tuple[int, int]:
        sides = [side * self.autoencoder.factor * scale for side in latents.shape[-2:]]
        return self.autoencoder.feature_shape(self.field.config.cut, *sides)[1:]

    def _lowered(self, what: str, scale: int) -> tuple[Program, int]:
        """The program, and the channels of what it makes."""
        autoencoder, program = self.autoencoder, Program()
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
        return program, value.channels

    def _run(self, what: str, scale: int, x: Tensor, tiling: Tiling, up: int, down: int) -> Tensor:
        program, channels = self._program(what, scale)
        height, width = (side * up // down for side in x.shape[-2:])
        made = torch.empty(len(x), channels, height, width, device=x.device)
        for image, out in zip(x.split(1), made, strict=True):
            workspace = Workspace(x.dtype, None, tiling.rows, height if down == 1 else x.shape[-2])
            Run(program, image, workspace).result(_into(out))
        return made


def _into(out: Tensor) -> Callable[[int, Tensor], None]:
    """Puts rows (n, W, C) into an image (C, H, W)."""

    def put(start: int, rows: Tensor) -> None:
        out[:, start : start + len(rows)] = rows.permute(2, 0, 1)

    return put
