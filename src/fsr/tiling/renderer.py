"""The frozen autoencoder, with a field, in exact tiles."""

from collections.abc import Callable
from functools import lru_cache, partial

import torch
from torch import Tensor

from fsr.autoencoders import FrozenAutoencoder
from fsr.flow.field import VectorField
from fsr.precision import autocast
from fsr.tiling.execute import Run
from fsr.tiling.field import lower_field
from fsr.tiling.kernels import Bicubic
from fsr.tiling.lowering import lower_stages
from fsr.tiling.program import Program
from fsr.tiling.settings import Tiling
from fsr.tiling.workspace import Workspace, shapes

IMAGES = ("decode", "upscale", "tail")  # programs that end in pixels
KEPT = 3  # times what comes out, which who asked for it may make of it: clamped, rounded, written


def unwatched(share: float) -> None:
    """The progress nobody looks at."""


class Renderer:
    """Encodes, decodes and upscales, strip by strip.

    Images are (B, 3, H, W) in [0, 1], not clamped; latents are scaled. Whatever the tiling, what comes out is what the
    autoencoder's own methods and `Fsr` give, but for rounding: every strip is computed from all it depends on, and
    normalisation has the statistics of the whole image.

    Attributes:
        progress: told, while strips are made, what share (0 to 1) of a call's work is done.

    Raises:
        ValueError: a module that cannot be made in strips, unless the tiling is `whole`.
    """

    def __init__(self, autoencoder: FrozenAutoencoder, field: VectorField | None = None) -> None:
        self.autoencoder, self.field = autoencoder, field
        self.progress: Callable[[float], None] = unwatched
        self._program = lru_cache(maxsize=8)(self._lowered)

    @torch.inference_mode()
    def encode(self, images: Tensor, tiling: Tiling = Tiling()) -> Tensor:  # noqa: B008 - frozen
        """Scaled latents of images, whose sides are multiples of the autoencoder's factor."""
        if self._whole(tiling):
            return self.autoencoder.encode(images)
        self.autoencoder.check_sides(images)
        return self.autoencoder.scaled(self._run("encode", 0, self.autoencoder.normalise(images), tiling))

    @torch.inference_mode()
    def decode(self, latents: Tensor, tiling: Tiling = Tiling()) -> Tensor:  # noqa: B008 - frozen
        """Images of scaled latents, as the autoencoder decodes them."""
        if self._whole(tiling):
            return self.autoencoder.decode(latents)
        return self._run("decode", 0, self.autoencoder.raw(latents), tiling)

    @torch.inference_mode()
    def upscale(self, latents: Tensor, scale: int, tiling: Tiling = Tiling()) -> Tensor:  # noqa: B008 - frozen
        """Images `scale` times as large as the latents' own: head, bicubic, field, tail.

        Raises:
            ValueError: the field was not trained for `scale`, or its patch does not divide the features' sides.
        """
        factor = self.autoencoder.factor
        if self._whole(tiling):
            from fsr.upscalers import Fsr, Sample  # slow to import: the rivals come with them

            x_L = torch.empty(len(latents), 3, *(side * factor for side in latents.shape[-2:]), device="meta")
            sample = Sample(self.autoencoder, x_L, scale)
            sample.z_L = latents
            with autocast(str(latents.device), str(self.autoencoder.model.dtype).removeprefix("torch.")):
                return Fsr(self.field)(sample).image
        self.field.check_sides(*self._feature_sides(latents, scale))
        return self._run("upscale", scale, self.autoencoder.raw(latents), tiling)

    def _whole(self, tiling: Tiling) -> bool:
        """Whether modules run on whole tensors, as `Tiling.whole` says."""
        if tiling.whole is not None:
            return tiling.whole
        return tiling == Tiling() and self.autoencoder.device.type != "cpu"

    def _feature_sides(self, latents: Tensor, scale: int) -> tuple[int, int]:
        sides = [side * self.autoencoder.factor * scale for side in latents.shape[-2:]]
        return self.autoencoder.feature_shape(self.field.config.cut, *sides)[1:]

    @torch.inference_mode()
    def head(self, latents: Tensor) -> Tensor:
        """f_L at the field's cut of scaled latents: the first of three parts of `upscale`."""
        return self._run("head", 0, self.autoencoder.raw(latents), Tiling())

    @torch.inference_mode()
    def carry(self, f_L: Tensor, scale: int) -> Tensor:
        """f_hat of f_L: bicubic enlargement and field, the second part."""
        return self._run("carry", scale, f_L, Tiling())

    @torch.inference_mode()
    def tail(self, features: Tensor) -> Tensor:
        """Images of features at the field's cut, the last part."""
        return self._run("tail", 0, features, Tiling())

    def _lowered(self, what: str, scale: int, device: torch.device, dtype: torch.dtype) -> tuple[Program, int]:
        """The program, and the channels of what it makes; it holds weights as they are on `device`, in `dtype`."""
        autoencoder, program = self.autoencoder, Program(device, dtype)
        if what == "encode":
            value = program.written(lower_stages(program, program.start(3), autoencoder.encoder))
            return program, program.narrowed(value, autoencoder.latent_channels).channels
        stages = autoencoder.decoder.stages
        if what == "decode":
            value = lower_stages(program, program.start(autoencoder.latent_channels), stages)
        else:
            cut = autoencoder.decoder.cut(self.field.config.cut)
            position = autoencoder.decoder.position(cut.name)
            value = program.start(autoencoder.latent_channels if what in ("upscale", "head") else cut.channels)
            if what in ("upscale", "head"):
                value = program.written(lower_stages(program, value, stages[:position]))
            if what in ("upscale", "carry"):
                value = lower_field(program, program.step(value, Bicubic(scale)), self.field, scale)
            if what in ("upscale", "tail"):
                value = lower_stages(program, value, stages[position:])
        value = program.written(value)
        if what in IMAGES:
            program.end_in_float32()
        return program, value.channels

    def _run(self, what: str, scale: int, x: Tensor, tiling: Tiling) -> Tensor:
        """What the program makes of x (B, C, H, W): images in [0, 1], or maps as the model itself has them."""
        model, images = self.autoencoder.model, what in IMAGES
        program, channels = self._program(what, scale, model.device, model.dtype)
        height, width, _ = shapes(program, (*x.shape[-2:], x.shape[1]))[program.steps[-1].target]
        layout = torch.contiguous_format if images else torch.channels_last
        dtype = torch.float32 if images else model.dtype
        made = torch.empty(len(x), channels, height, width, dtype=dtype, device=x.device, memory_format=layout)
        kept = KEPT * made.nbytes if images else 0
        for index, (image, out) in enumerate(zip(x.to(model.dtype).split(1), made, strict=True)):
            workspace = Workspace(program, tuple(x.shape[-2:]), x.shape[1], tiling, kept)
            told = partial(self._told, index, len(x))
            with torch.autocast(x.device.type, enabled=False):  # a program has its dtypes, whoever calls
                Run(program, image, workspace, told).result(self._into(out, images))
        return made

    def _told(self, index: int, count: int, share: float) -> None:
        self.progress((index + share) / count)

    def _into(self, out: Tensor, images: bool) -> Callable[[int, Tensor], None]:
        """Puts rows (n, W, C) into an image or a map (C, H, W)."""

        def put(start: int, rows: Tensor) -> None:
            made = rows.permute(2, 0, 1)
            out[:, start : start + len(rows)] = self.autoencoder.images(made) if images else made

        return put
