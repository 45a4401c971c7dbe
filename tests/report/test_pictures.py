import numpy as np
import pandas as pd
import pytest
import torch

from fsr.images import write_image
from fsr.report import tables
from fsr.report.pictures import MOST_SHOWN, Gallery, extremes, shown, windows


@pytest.fixture(scope="module")
def gallery(results, rows, facts):
    return Gallery(results.pictures / "x2", facts.gallery, facts.scale, rows)


def test_low_resolution_is_repeated_to_the_size_of_the_others(gallery, facts):
    low = gallery.pixels("SetA", "lr", "ant")
    assert low.shape == (facts.height, facts.width, 3)
    assert np.array_equal(low[:: facts.scale, :: facts.scale], low[1 :: facts.scale, 1 :: facts.scale])


def test_a_fourfold_study_is_shown_as_well(tmp_path):
    write_image(tmp_path / "set/lr/one.png", torch.rand(1, 3, 6, 8))
    write_image(tmp_path / "set/fsr/one.png", torch.rand(1, 3, 24, 32))
    fourfold = Gallery(tmp_path, ("lr", "fsr"), 4, {})
    low = fourfold.pixels("set", "lr", "one")
    assert low.shape == fourfold.pixels("set", "fsr", "one").shape == (24, 32, 3)
    assert np.array_equal(low[::4, ::4], low[3::4, 3::4])


def test_windows_tile_every_image_and_average_its_gain(gallery, found, facts):
    images = tables.gains(found)
    found = list(windows(gallery, images, 16))
    assert len(found) == len(images) * (facts.height // 16) * (facts.width // 16)
    assert len({(w.set, w.image, w.top, w.left) for w in found}) == len(found)
    pixels = [gallery.pixels("SetB", row, "dog") for row in ("feature_bicubic", "fsr", "vae_roundtrip")]
    base, fsr, target = (p.astype(np.float64) for p in pixels)
    mean = np.mean([w.gain for w in found if w.image == "dog"])
    assert mean == pytest.approx(np.mean((base - target) ** 2) - np.mean((fsr - target) ** 2), rel=1e-5)


def test_the_extremes_are_chosen_by_gain_alone(gallery, found, facts):
    images = tables.gains(found)
    found = list(windows(gallery, images, 16))
    largest, least = extremes(found, 2)
    gains = sorted(window.gain for window in found)
    assert [window.gain for window in largest] == gains[:-3:-1]
    assert [window.gain for window in least] == gains[:2]
    assert all((window.set, window.image) == facts.loses_on for window in least)


def test_a_planted_window_is_found(tmp_path):
    target = torch.full((1, 3, 32, 48), 0.5)
    base, fsr = target.clone(), target.clone()
    base[..., 16:, 32:] += 0.2  # only here feature bicubic errs
    fsr[..., :16, 16:32] -= 0.2  # and only here FSR
    for row, picture in {"feature_bicubic": base, "fsr": fsr, "vae_roundtrip": target}.items():
        write_image(tmp_path / "set" / row / "one.png", picture)
    images = pd.DataFrame({"set": ["set"], "image": ["one"]})
    largest, least = extremes(list(windows(Gallery(tmp_path, ("fsr",), 2, {}), images, 16)), 1)
    assert [(w.top, w.left) for w in (*largest, *least)] == [(16, 32), (0, 16)]


def test_few_windows_are_not_shown_twice(gallery, found):
    images = tables.gains(found)[:1]
    found = list(windows(gallery, images, 32))
    largest, least = extremes(found, 5)
    assert len(found) == 2 and len(largest) + len(least) == 2


def test_windows_larger_than_every_image_are_refused(gallery, found):
    images = tables.gains(found)
    with pytest.raises(ValueError, match="report.zoom_size"):
        extremes(list(windows(gallery, images, 200)), 1)


def test_a_large_set_shows_its_best_and_its_worst():
    gains = pd.DataFrame({"set": "big", "image": [f"i{k}" for k in range(40)], "gain": np.arange(40.0)[::-1] % 17})
    chosen = shown(gains)
    left_out = gains.drop(chosen.index)
    assert len(chosen) == MOST_SHOWN
    assert chosen["gain"].is_monotonic_decreasing
    assert chosen["gain"][: MOST_SHOWN // 2].min() >= left_out["gain"].max()
    assert chosen["gain"][MOST_SHOWN // 2 :].max() <= left_out["gain"].min()
