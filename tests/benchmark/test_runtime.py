"""What a row takes, stage by stage, from an image and from a latent."""

import csv
from collections import Counter

import pytest
import torch

from fsr.benchmark.runtime import Case, measure_runtime
from fsr.config import Params
from fsr.flow.field import build_field
from fsr.probe import count_flops
from fsr.sections import validated
from fsr.upscalers import build_upscalers

ROWS = ["bicubic", "decoded_bicubic", "feature_bicubic", "fsr", "vae_roundtrip"]


@pytest.fixture
def study(values) -> Params:
    values["benchmark"] |= {"upscalers": ROWS, "runtime": {"sides": [32, 64], "rounds": 2}}
    return validated(Params, values, "test")


@pytest.fixture
def lines(study, autoencoder, tmp_path) -> list[dict[str, str]]:
    measure_runtime(study, autoencoder, build_field(study, "f3", autoencoder), {}, tmp_path / "runtime.csv", 1)
    return list(csv.DictReader((tmp_path / "runtime.csv").open()))


def stages(lines, upscaler, entry, side="32") -> dict[str, dict[str, str]]:
    place = (upscaler, entry, side)
    return {line["stage"]: line for line in lines if (line["upscaler"], line["entry"], line["side"]) == place}


def test_a_row_is_timed_from_what_it_can_begin_with(lines):
    assert {line["upscaler"] for line in lines} == set(ROWS)
    assert {line["upscaler"] for line in lines if line["entry"] == "latent"} == {
        "decoded_bicubic",
        "feature_bicubic",
        "fsr",
    }
    assert list(stages(lines, "fsr", "image")) == ["encode", "head", "model", "tail", "total"]


def test_a_latent_that_is_given_is_not_encoded(lines):
    image, latent = (stages(lines, "fsr", entry) for entry in ("image", "latent"))
    assert float(latent["encode"]["gflops"]) == 0 < float(image["encode"]["gflops"])
    assert latent["tail"]["gflops"] == image["tail"]["gflops"]


def test_the_total_is_of_all_stages_and_relative_to_the_round_trips_decode(lines):
    found = stages(lines, "fsr", "image")
    parts = [line for stage, line in found.items() if stage != "total"]
    assert float(found["total"]["gflops"]) == pytest.approx(sum(float(line["gflops"]) for line in parts))
    decode = stages(lines, "vae_roundtrip", "image")["decode"]
    assert float(decode["relative"]) == 1
    ratio = float(found["total"]["milliseconds"]) / float(decode["milliseconds"])
    assert float(found["total"]["relative"]) == pytest.approx(ratio, rel=1e-4)


def test_flops_are_those_of_the_networks(study, autoencoder, lines):
    z = torch.zeros(1, autoencoder.latent_channels, 8, 8)
    expected = count_flops(lambda: autoencoder.decode(z)) / 1e9
    assert float(stages(lines, "vae_roundtrip", "image")["decode"]["gflops"]) == pytest.approx(expected, rel=1e-6)


def test_four_times_the_pixels_hold_four_times_the_memory(lines):
    small, large = (float(stages(lines, "fsr", "image", side)["total"]["peak_memory_gib"]) for side in ("32", "64"))
    assert large == pytest.approx(4 * small, rel=0.1)


def test_rows_take_turns(study, autoencoder, tmp_path, monkeypatch):
    seen, measure = [], Case.measure

    def watched(case):
        seen.append((case.side, case.upscaler.name, case.entry))
        measure(case)

    monkeypatch.setattr(Case, "measure", watched)
    measure_runtime(study, autoencoder, build_field(study, "f3", autoencoder), {}, tmp_path / "r.csv", 1)
    turn = seen[: len(seen) // 6]
    assert seen[: 3 * len(turn)] == 3 * turn
    assert len(set(turn)) == len(turn) == 8


@pytest.mark.parametrize("row", ["fsr", "vae_roundtrip"])
def test_running_out_of_memory_is_told_and_the_others_go_on(study, autoencoder, tmp_path, monkeypatch, row):
    """In any pass: here in the second, when time is taken."""
    rendered = Counter()
    kind = type(build_upscalers([row], build_field(study, "f3", autoencoder))[0])
    call = kind.__call__

    def exhausted(self, sample, clock):
        rendered[self.name, sample.x_L.shape[-1]] += 1
        if self.name == row and rendered[row, 64] > 1:
            raise torch.OutOfMemoryError("out of memory")
        return call(self, sample, clock)

    monkeypatch.setattr(kind, "__call__", exhausted)
    measure_runtime(study, autoencoder, build_field(study, "f3", autoencoder), {}, tmp_path / "r.csv", 1)
    lines = list(csv.DictReader((tmp_path / "r.csv").open()))
    lost = [line for line in lines if line["upscaler"] == row and line["side"] == "64"]
    assert {(line["stage"], line["milliseconds"], line["reason"]) for line in lost} == {("total", "", "out of memory")}
    others = [line for line in lines if line not in lost]
    assert all(line["milliseconds"] for line in others)
    bicubic = [line for line in others if line["upscaler"] == "bicubic"]
    related = {line["side"]: (bool(line["relative"]), line["reason"]) for line in bicubic}
    without = (False, "the round trip ran out of memory") if row == "vae_roundtrip" else (True, "")
    assert related == {"32": (True, ""), "64": without}


def test_a_row_declares_what_it_is_made_of(study, autoencoder):
    field = build_field(study, "f3", autoencoder)
    fsr, ceiling = build_upscalers(["fsr", "vae_roundtrip"], field)
    assert fsr.capabilities.parameters == sum(parameter.numel() for parameter in field.parameters())
    assert (fsr.capabilities.entry, fsr.capabilities.scales) == ("latent", (2,))
    assert ceiling.capabilities.needs_high_resolution
