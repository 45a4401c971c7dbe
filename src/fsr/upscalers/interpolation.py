"""The rows that enlarge by bicubic interpolation, and the ceiling of all rows that render through the decoder."""

from dataclasses import dataclass

from fsr.images import enlarge_features
from fsr.upscalers.base import Capabilities, Clock, Rendering, Sample, untimed

FROM_IMAGE, FROM_LATENT = Capabilities(entry="image"), Capabilities(entry="latent")
CEILING = Capabilities(entry="image", needs_high_resolution=True)


@dataclass(frozen=True)
class Bicubic:
    """Pixels enlarged with the kernel of the sample's protocol; no autoencoder."""

    name: str = "bicubic"
    capabilities: Capabilities = FROM_IMAGE

    def __call__(self, sample: Sample, clock: Clock = untimed) -> Rendering:
        with clock("model"):
            return Rendering(sample.resampling.enlarge(sample.x_L, sample.scale))


@dataclass(frozen=True)
class DecodedBicubic:
    """Bicubic(D(E(x_L))): what a decode followed by a pixel resize gives."""

    name: str = "decoded_bicubic"
    capabilities: Capabilities = FROM_LATENT

    def __call__(self, sample: Sample, clock: Clock = untimed) -> Rendering:
        with clock("encode"):
            sample.z_L  # noqa: B018 - made here, once
        with clock("decode"):
            sample.x_L_rec  # noqa: B018 - likewise
        with clock("model"):
            return Rendering(sample.x_base)


@dataclass(frozen=True)
class LatentBicubic:
    """D(Bicubic(E(x_L)))."""

    name: str = "latent_bicubic"
    capabilities: Capabilities = FROM_LATENT

    def __call__(self, sample: Sample, clock: Clock = untimed) -> Rendering:
        with clock("encode"):
            z_L = sample.z_L
        with clock("model"):
            z = enlarge_features(z_L, sample.latent_size)
        with clock("decode"):
            return Rendering(sample.autoencoder.decode(z))


@dataclass(frozen=True)
class FeatureBicubic:
    """The tail on f_B: where the flow starts."""

    cut: str
    name: str = "feature_bicubic"
    capabilities: Capabilities = FROM_LATENT

    def __call__(self, sample: Sample, clock: Clock = untimed) -> Rendering:
        with clock("encode"):
            sample.z_L  # noqa: B018 - made here, once
        with clock("head"):
            f_B = sample.f_B(self.cut)
        with clock("tail"):
            return Rendering(sample.autoencoder.tail(f_B, self.cut), f_B, self.cut)


@dataclass(frozen=True)
class VaeRoundtrip:
    """D(E(x_H)): the ceiling; needs the high-resolution image, so it is no upscaler one could use."""

    name: str = "vae_roundtrip"
    capabilities: Capabilities = CEILING

    def __call__(self, sample: Sample, clock: Clock = untimed) -> Rendering:
        with clock("encode"):
            sample.z_H  # noqa: B018 - made here, once
        with clock("decode"):
            return Rendering(sample.x_H_rec)
