"""Self-ensembles."""

from dataclasses import dataclass, field

import pytest
import torch

from fsr.config import Params
from fsr.flow.field import build_field
from fsr.images import VIEWS, turned, turned_back
from fsr.sections import validated
from fsr.upscalers import Capabilities, Rendering, Sample, build_upscalers
from fsr.upscalers.ensemble import Ensemble


@dataclass
class Recorder:
    """Enlarges by repetition, and adds `slope` times the column."""

    slope: float = 0.0
    name: str = "recorder"
    capabilities: Capabilities = field(default_factory=lambda: Capabilities(scales=(2,)))
    seen: list = field(default_factory=list)

    def __call__(self, sample, clock=None) -> Rendering:
        self.seen.append(sample.x_L)
        large = sample.x_L.repeat_interleave(2, -1).repeat_interleave(2, -2)
        return Rendering(large + self.slope * torch.arange(large.shape[-1]))


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(1, 3, 16, 32, generator=torch.Generator().manual_seed(0))


def test_the_eight_views_differ_and_each_is_turned_back(image):
    views = [turned(image, *view) for view in VIEWS]
    assert torch.equal(views[0], image)
    assert all(torch.equal(turned_back(each, *view), image) for each, view in zip(views, VIEWS, strict=True))
    square = [turned(image[..., :16], *view) for view in VIEWS]
    assert not any(torch.equal(a, b) for i, a in enumerate(square) for b in square[:i])


def test_what_does_not_depend_on_the_view_stays_and_what_does_is_averaged_out(image, autoencoder):
    sample = Sample(autoencoder, image, 2)
    plain, sloped = Recorder(), Recorder(slope=0.01)
    large = plain(sample).image
    assert torch.allclose(Ensemble(plain, "a")(sample).image, large, atol=1e-6)
    mean = Ensemble(sloped, "a")(sample)
    width, height = 0.01 * 63 / 2, 0.01 * 31 / 2
    assert torch.allclose(mean.image, large + (width + height) / 2, atol=1e-5)
    assert (mean.feature, mean.cut) == (None, None)
    assert {tuple(each.shape[-2:]) for each in sloped.seen} == {(16, 32), (32, 16)}
    assert len(sloped.seen) == 8


def test_it_needs_an_image_and_is_made_of_what_its_row_is(autoencoder):
    ensemble = Ensemble(Recorder(), "a")
    assert (ensemble.capabilities.entry, ensemble.capabilities.scales) == ("image", (2,))


def test_the_rows_of_the_study_are_means_of_their_rows(values, autoencoder, image):
    params = validated(Params, values, "test")
    made = build_upscalers(["decoded_bicubic_ensemble", "fsr_ensemble"], build_field(params, "f3", autoencoder))
    plain = build_upscalers(["decoded_bicubic", "fsr"], build_field(params, "f3", autoencoder))
    with torch.inference_mode():
        for row, of in zip(made, plain, strict=True):
            views = [of(Sample(autoencoder, turned(image, *view), 2)).image for view in VIEWS]
            mean = torch.stack([turned_back(each, *view) for each, view in zip(views, VIEWS, strict=True)]).mean(dim=0)
            assert torch.allclose(row(Sample(autoencoder, image, 2)).image, mean, atol=1e-5)
