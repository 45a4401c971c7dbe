import pytest
import torch
from test_latents import build, image_set, photos  # noqa: F401 - a fixture

from fsr.files import read_json
from fsr.images import read_image
from fsr.metrics.fidelity import crop_border, l1
from fsr.probe import is_broken, probe_cut, relative_cost


@pytest.fixture
def manifest(params, photos, autoencoder, tmp_path):  # noqa: F811
    return build(params, photos, autoencoder, tmp_path / "cache/manifest.json")


def probed(params, cut, manifest, autoencoder, folder):
    probe_cut(params, cut, manifest, autoencoder, folder / "r.json", folder / "r.png", 1)
    return read_json(folder / "r.json")


def test_a_report_holds_every_measure_of_every_crop_and_repeats(params, manifest, autoencoder, tmp_path):
    first = probed(params, "f3", manifest, autoencoder, tmp_path)
    assert first["status"] == "ok"
    assert first["stage"] == "decoder.up_blocks.1"
    assert {len(values) for values in first["per_crop"].values()} == {params.probe.crops}
    assert first["per_crop"] == probed(params, "f3", manifest, autoencoder, tmp_path)["per_crop"]
    assert read_image(tmp_path / "r.png").shape == (1, 3, 4 * 48, 48)


def test_measures_are_what_they_say(params, manifest, autoencoder, tmp_path):
    from fsr.flow.path import feature_pair
    from fsr.latents import LatentCache

    exact = params.model_copy(update={"runtime": params.runtime.model_copy(update={"dtype": "float32"})})
    measured = probed(exact, "f2", manifest, autoencoder, tmp_path)["per_crop"]
    batch = LatentCache(manifest).batch([1], 2)
    with torch.inference_mode():
        pair = feature_pair(autoencoder, batch.z_H, batch.z_L, "f2")
        x_feat = autoencoder.tail(pair.f_B, "f2") * 2 - 1
    assert measured["feature_l1"][1] == pytest.approx(l1(*(crop_border(f, 4) for f in (pair.f_B, pair.f_H))), rel=1e-5)
    assert measured["rgb_l1"][1] == pytest.approx(
        l1(*(crop_border(x, 16) for x in (x_feat, batch.x_H_rec * 2 - 1))), rel=1e-4
    )


def test_every_scale_is_measured_as_if_alone(params, autoencoder, tmp_path):
    """Columns hold the crops at the first scale, then at the second."""
    reports, images = {}, image_set(tmp_path / "images", tmp_path / "raw/manifest.json", sizes=((64, 140), (150, 64)))
    for scales in ([2], [4], [2, 4]):
        latents = params.latents.model_copy(update={"crop_size": 64})
        study = params.model_copy(update={"scales": scales, "latents": latents})
        manifest = build(study, images, autoencoder, tmp_path / f"{scales}/manifest.json", scales=scales)
        reports[tuple(scales)] = probed(study, "f3", manifest, autoencoder, tmp_path)
    two, four, both = reports.values()
    assert two["crops"] == four["crops"] == both["crops"] == params.probe.crops
    for name, values in both["per_crop"].items():
        assert values == two["per_crop"][name] + four["per_crop"][name], name
    assert two["per_crop"]["feature_l1"] != four["per_crop"]["feature_l1"]
    assert two["relative_cost"] == four["relative_cost"] == both["relative_cost"]


def test_sensitivity_is_the_slope_of_the_tail(params, manifest, autoencoder, tmp_path):
    """At f5 the tail is one convolution: its response to a small change is linear in it."""
    exact = params.model_copy(update={"runtime": params.runtime.model_copy(update={"dtype": "float32"})})
    found = probed(exact, "f5", manifest, autoencoder, tmp_path)["per_crop"]["sensitivity"][0]
    weight = autoencoder.model.decoder.conv_out.weight
    expected = weight.square().sum(dim=(1, 2, 3)).sqrt().mean().item()
    assert found == pytest.approx(expected, rel=0.05)


def test_running_out_of_memory_is_reported_and_not_raised(params, manifest, autoencoder, tmp_path, monkeypatch):
    def greedy(*_):
        raise torch.OutOfMemoryError("tried to allocate 99 GiB\nmore")

    monkeypatch.setattr("fsr.probe.feature_pair", greedy)
    report = probed(params, "f3", manifest, autoencoder, tmp_path)
    assert (report["status"], report["reason"]) == ("oom", "tried to allocate 99 GiB")


def test_so_is_a_shortage_of_the_cpu(params, manifest, autoencoder, tmp_path, monkeypatch):
    """torch's CPU allocator raises a plain RuntimeError."""
    monkeypatch.setattr("fsr.probe.feature_pair", lambda *_: torch.empty(2**50))
    report = probed(params, "f3", manifest, autoencoder, tmp_path)
    assert report["status"] == "oom"
    assert "can't allocate memory" in report["reason"]
    assert (report["crops"], report["per_crop"]) == (0, {})


def test_an_error_that_is_no_shortage_is_raised(params, manifest, autoencoder, tmp_path, monkeypatch):
    def wrong(*_):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr("fsr.probe.feature_pair", wrong)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        probed(params, "f3", manifest, autoencoder, tmp_path)


def test_the_cost_falls_towards_the_end_of_the_decoder_for_the_tail(params, autoencoder):
    """With a field that costs next to nothing, what is left is the tail's share of a decode."""
    costs = [relative_cost(params, cut, autoencoder) for cut in ("f1", "f2", "f3")]
    assert costs == sorted(costs, reverse=True)
    assert all(0 < cost < 2 for cost in costs)


@pytest.mark.parametrize(
    ("pixel", "l1_error", "broken"), [(0.5, 0.1, False), (9.0, 0.1, True), (0.5, 2.1, True), (float("nan"), 0.1, True)]
)
def test_broken_decodes(pixel, l1_error, broken):
    assert is_broken(torch.full((1, 3, 2, 2), pixel), l1_error) is broken


def test_a_cache_of_half_precision_is_probed_in_bfloat16(params, photos, autoencoder, tmp_path):  # noqa: F811
    """Autocast on a CPU takes no float16: crops are read outside it."""
    runtime = params.runtime.model_copy(update={"dtype": "bfloat16"})
    latents = params.latents.model_copy(update={"dtype": "float16"})
    half = params.model_copy(update={"runtime": runtime, "latents": latents})
    cache = build(half, photos, autoencoder, tmp_path / "half/manifest.json")
    report = probed(half, "f3", cache, autoencoder, tmp_path)
    assert report["status"] == "ok" and all(report["per_crop"]["rgb_l1"])
