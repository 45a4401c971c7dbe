"""Any row on the eight views of an image."""

from dataclasses import dataclass, replace

from torch import Tensor

from fsr.images import self_ensemble
from fsr.upscalers.base import Capabilities, Clock, Rendering, Sample, Upscaler, untimed


@dataclass(frozen=True)
class Ensemble:
    """The self-ensemble of `row`. It takes eight times as long, and pixels: a generator's latent has no other views."""

    row: Upscaler
    name: str

    @property
    def capabilities(self) -> Capabilities:
        return replace(self.row.capabilities, entry="image")

    def __call__(self, sample: Sample, clock: Clock = untimed) -> Rendering:
        def enlarge(x_L: Tensor) -> Tensor:
            seen = Sample(sample.autoencoder, x_L, sample.scale, resampling=sample.resampling)
            return self.row(seen, clock).image

        return Rendering(self_ensemble(enlarge, sample.x_L))
