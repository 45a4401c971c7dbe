"""The protocol of every row of the tables, and what an upscaler is given."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from torch import Tensor

from fsr.autoencoders import FrozenAutoencoder
from fsr.flow.path import enlarged_feature
from fsr.images import enlarge


@dataclass
class Sample:
    """One low-resolution image, with its high-resolution original where there is one; derived tensors are made once.

    Attributes:
        x_L: (1, 3, h, w) in [0, 1]; x_H: (1, 3, scale h, scale w) or None.
    """

    autoencoder: FrozenAutoencoder
    x_L: Tensor
    scale: int
    x_H: Tensor | None = None
    _features: dict[tuple[str, str], Tensor] = field(default_factory=dict, repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the output."""
        return self.x_L.shape[-2] * self.scale, self.x_L.shape[-1] * self.scale

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
    def x_base(self) -> Tensor:
        """The decode of z_L, enlarged in pixels."""
        return enlarge(self.autoencoder.decode(self.z_L), self.scale)

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


@dataclass(frozen=True)
class Rendering:
    """An output image (1, 3, H, W) in [0, 1], not clamped, and the decoder feature it was rendered from, if any."""

    image: Tensor
    feature: Tensor | None = None


class Upscaler(Protocol):
    """A row of the tables."""

    name: str

    def __call__(self, sample: Sample) -> Rendering: ...
