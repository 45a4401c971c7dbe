"""The rows that enlarge by bicubic interpolation, and the ceiling of all rows that render through the decoder."""

from dataclasses import dataclass

from fsr.images import enlarge_features
from fsr.upscalers.base import Rendering, Sample


@dataclass(frozen=True)
class Bicubic:
    """Pixels enlarged with the kernel of the sample's protocol; no autoencoder."""

    name: str = "bicubic"

    def __call__(self, sample: Sample) -> Rendering:
        return Rendering(sample.resampling.enlarge(sample.x_L, sample.scale))


@dataclass(frozen=True)
class DecodedBicubic:
    """Bicubic(D(E(x_L))): what a decode followed by a pixel resize gives."""

    name: str = "decoded_bicubic"

    def __call__(self, sample: Sample) -> Rendering:
        return Rendering(sample.x_base)


@dataclass(frozen=True)
class LatentBicubic:
    """D(Bicubic(E(x_L)))."""

    name: str = "latent_bicubic"

    def __call__(self, sample: Sample) -> Rendering:
        size = tuple(side // sample.autoencoder.factor for side in sample.size)
        return Rendering(sample.autoencoder.decode(enlarge_features(sample.z_L, size)))


@dataclass(frozen=True)
class FeatureBicubic:
    """The tail on f_B: where the flow starts."""

    cut: str
    name: str = "feature_bicubic"

    def __call__(self, sample: Sample) -> Rendering:
        f_B = sample.f_B(self.cut)
        return Rendering(sample.autoencoder.tail(f_B, self.cut), f_B)


@dataclass(frozen=True)
class VaeRoundtrip:
    """D(E(x_H)): the ceiling; needs the high-resolution image, so it is no upscaler one could use."""

    cut: str
    name: str = "vae_roundtrip"

    def __call__(self, sample: Sample) -> Rendering:
        return Rendering(sample.x_H_rec, sample.f_H(self.cut))
