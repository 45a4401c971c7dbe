"""The protocol of every row of the tables, and what an upscaler is given."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

from torch import Tensor, nn

from fsr.autoencoders import FrozenAutoencoder
from fsr.flow.path import enlarged_feature
from fsr.images import RESAMPLINGS, Resampling


@dataclass
class Sample:
    """One low-resolution image, with its high-resolution original where there is one; derived tensors are made once.

    Attributes:
        x_L: (1, 3, h, w) in [0, 1]; x_H: (1, 3, scale h, scale w) or None.
        resampling: how this sample's pixels are enlarged.
    """

    autoencoder: FrozenAutoencoder
    x_L: Tensor
    scale: int
    x_H: Tensor | None = None
    resampling: Resampling = RESAMPLINGS["strict"]
    _features: dict[tuple[str, str], Tensor] = field(default_factory=dict, repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the output."""
        return self.x_L.shape[-2] * self.scale, self.x_L.shape[-1] * self.scale

    @property
    def latent_size(self) -> tuple[int, int]:
        """(h, w) of the latent of an output."""
        return self.size[0] // self.autoencoder.factor, self.size[1] // self.autoencoder.factor

    @cached_property
    def z_L(self) -> Tensor:
        return self.autoencoder.encode(self.x_L)

    @cached_property
    def z_H(self) -> Tensor:
        if self.x_H is None:
            raise ValueError("this row needs the high-resolution image, and this sample has none")
        return self.autoencoder.encode(self.x_H)

    @cached_property
    def x_H_rec(self) -> Tensor:
        """The autoencoder's reconstruction of x_H: the primary target."""
        return self.autoencoder.decode(self.z_H)

    @cached_property
    def x_L_rec(self) -> Tensor:
        """The autoencoder's reconstruction of x_L."""
        return self.autoencoder.decode(self.z_L)

    @cached_property
    def x_base(self) -> Tensor:
        """x_L_rec, enlarged in pixels."""
        return self.resampling.enlarge(self.x_L_rec, self.scale)

    def f_B(self, cut: str) -> Tensor:
        """The enlarged low-resolution feature at `cut`."""
        size = self.autoencoder.feature_shape(cut, *self.size)[1:]
        return self._once("f_B", cut, lambda: enlarged_feature(self.autoencoder, self.z_L, cut, size))

    def f_H(self, cut: str) -> Tensor:
        """The high-resolution feature at `cut`."""
        return self._once("f_H", cut, lambda: self.autoencoder.head(self.z_H, cut))

    def _once(self, name: str, cut: str, make: Callable[[], Tensor]) -> Tensor:
        if (name, cut) not in self._features:
            self._features[name, cut] = make()
        return self._features[name, cut]


def encode_together(samples: Sequence[Sample], batch: int) -> None:
    """Make z_L and x_L_rec of samples, and z_H and x_H_rec where all have x_H; `batch` images of one size at once."""
    autoencoder = samples[0].autoencoder
    z_L = autoencoder.encode_all([sample.x_L for sample in samples], batch)
    decoded = autoencoder.decode_all(z_L, batch)
    for sample, latent, image in zip(samples, z_L, decoded, strict=True):
        sample.z_L, sample.x_L_rec = latent, image
    if all(sample.x_H is not None for sample in samples):
        z_H = autoencoder.encode_all([sample.x_H for sample in samples], batch)
        for sample, latent, image in zip(samples, z_H, autoencoder.decode_all(z_H, batch), strict=True):
            sample.z_H, sample.x_H_rec = latent, image


@dataclass(frozen=True)
class Rendering:
    """An output image (1, 3, H, W) in [0, 1], not clamped, and the decoder feature it was rendered from, if any.

    Attributes:
        cut: where that feature is.
    """

    image: Tensor
    feature: Tensor | None = None
    cut: str | None = None


Stage = Literal["encode", "head", "model", "tail", "decode"]
Clock = Callable[[Stage], AbstractContextManager[object]]


def untimed(_: Stage) -> AbstractContextManager[None]:
    """The clock that does not look."""
    return nullcontext()


@dataclass(frozen=True)
class Capabilities:
    """What a row can do and what it is made of.

    Attributes:
        entry: "latent" where it begins with the latent of the low-resolution image, so that a generator's own will do;
            "image" where it needs pixels and has no use for a latent.
        scales: those it can do; None for any.
        networks: what it adds to the autoencoder.
        needs_high_resolution: it is a ceiling, not an upscaler one could use.
    """

    entry: Literal["image", "latent"] = "latent"
    scales: tuple[int, ...] | None = None
    networks: tuple[nn.Module, ...] = ()
    needs_high_resolution: bool = False

    @property
    def parameters(self) -> int:
        """How many numbers its networks hold, beside the autoencoder's."""
        return sum(parameter.numel() for network in self.networks for parameter in network.parameters())


class Upscaler(Protocol):
    """A row of the tables: a low-resolution image, or its latent, in; an image out.

    A call does each part of its work inside the clock's block of that stage, so that whoever times it need not know how
    it works.
    """

    name: str

    @property
    def capabilities(self) -> Capabilities: ...

    def __call__(self, sample: Sample, clock: Clock = untimed) -> Rendering: ...
