import math

import numpy as np
import pandas as pd
import pytest

from fsr.report import tables
from fsr.report.cells import read_benchmark
from fsr.report.chapters.differences import differences_chapter
from fsr.report.chapters.measured import benchmark_chapter
from fsr.report.chapters.probe import probe_chapter
from fsr.report.columns import Resampling, columns
from fsr.report.run import TrainedCut, cost_line, probe_note, read_trained_cut, runtime_sheet, trained_note
from fsr.report.sheets import Cell, Sheet, number

RESAMPLING = Resampling(400, 0)
LABELS = {"SetA": "SetA", "SetB": "SetB"}
NONE_ABSENT = pd.DataFrame(columns=["protocol", "scale", "set", "reason"])


@pytest.fixture(scope="module")
def summary(found, rows):
    return tables.summarise(found, rows, RESAMPLING)


def line_of(summary, **place):
    (line,) = summary[(summary[list(place)] == list(place.values())).all(axis=1)].to_dict("records")
    return line


def test_a_mean_is_the_mean_over_images(cells, summary, facts):
    here = cells[(cells["set"] == "SetA") & (cells["target"] == "hr")]
    line = line_of(summary, set="SetA", target="hr", upscaler="fsr", metric="ssim")
    (column,) = columns(here[here["metric"] == "ssim"])
    assert line["mean"] == pytest.approx(np.mean(column.of("fsr")))
    assert line["low"] <= line["mean"] <= line["high"]
    assert line["images"] == len(facts.sets["SetA"])


def test_every_empty_number_has_its_reason(summary, facts):
    assert (summary.loc[summary["mean"].isna() | summary["low"].isna(), "reason"] != "").all()
    assert (summary.loc[summary["low"].notna(), "reason"] == "").all()
    assert line_of(summary, set="SetA", target="hr", upscaler="fsr", metric="lpips_alex")["reason"] == facts.no_lpips


def test_a_mean_over_some_images_only_is_not_given(cells, rows):
    broken = cells.copy()
    first = broken.index[(broken["metric"] == "ssim") & (broken["upscaler"] == "fsr")][0]
    broken.loc[first, ["number", "reason"]] = [math.nan, "too small"]
    place = {"set": "SetA", "target": "x_H_rec", "upscaler": "fsr", "metric": "ssim"}
    line = line_of(tables.summarise(columns(broken), rows, RESAMPLING), **place)
    assert math.isnan(line["mean"])
    assert line["reason"] == "1 of 3 images: too small"


def test_the_ceiling_is_infinite_and_never_the_best(summary):
    ceiling = summary[summary["upscaler"] == "vae_roundtrip"]
    assert line_of(ceiling, set="SetA", target="x_H_rec", metric="psnr")["mean"] == math.inf
    assert not ceiling["best"].any()


def test_only_a_clear_winner_among_methods_is_best(summary):
    best = summary[summary["best"] & (summary["metric"] == "psnr") & (summary["target"] == "x_H_rec")]
    # on SetA fsr wins on every image; on SetB it has the highest mean, and loses on one image by much
    assert list(zip(best["set"], best["upscaler"], strict=True)) == [("SetA", "fsr")]


def test_differences_are_paired_and_count_wins(found):
    frame = tables.difference_frame(found, RESAMPLING)
    line = line_of(frame, set="SetB", target="x_H_rec", metric="psnr", upscaler="fsr", baseline="feature_bicubic")
    gains = tables.gains(found)
    assert line["difference"] == pytest.approx(gains.loc[gains["set"] == "SetB", "gain"].mean())
    assert line["wins"] == 2
    mirrored = line_of(
        frame, set="SetA", target="hr", metric="psnr", upscaler="decoded_bicubic", baseline="feature_bicubic"
    )
    back = line_of(
        frame, set="SetA", target="hr", metric="psnr", upscaler="feature_bicubic", baseline="decoded_bicubic"
    )
    assert mirrored["difference"] == pytest.approx(-back["difference"])


def test_the_image_where_fsr_loses_has_the_only_negative_gain(found, facts):
    gains = tables.gains(found)
    losing = gains[gains["gain"] < 0]
    assert list(zip(losing["set"], losing["image"], strict=True)) == [facts.loses_on]


def test_per_image_lines_carry_the_benchmarks_own_digits(cells, results, tmp_path):
    written = tables.write_csv(tmp_path / "per_image.csv", tables.per_image_frame(cells))
    wide = pd.read_csv(written, dtype=str, keep_default_na=False)
    assert len(wide) == len(cells.drop_duplicates(["set", "image", "upscaler", "target"]))
    for cell in cells.sample(20, random_state=0).to_dict("records"):
        line = line_of(wide, **{key: cell[key] for key in ("set", "image", "upscaler", "target")})
        assert line[cell["metric"]] == cell["value"]
    against_hr = wide[wide["target"] == "hr"]
    assert against_hr["reasons"].str.contains("feature_l1: not measured against this target").all()


def test_wide_benchmark_holds_every_mean_and_reason(summary, facts):
    wide = tables.benchmark_frame(summary, NONE_ABSENT)
    line = line_of(wide, set="SetB", target="x_H_rec", upscaler="vae_roundtrip")
    assert line["psnr"] == math.inf and math.isnan(line["psnr_low"])
    assert f"lpips_alex: {facts.no_lpips}" in line["reasons"] and f"feature_l1: {facts.no_feature}" in line["reasons"]


def test_footnotes_are_numbered_once_per_reason():
    row = (Cell("a"), Cell("–", footnote="late"), Cell("–", footnote="lost"), Cell("–", footnote="late"))
    text = Sheet("Caption", ("x", "y", "z", "w"), (row,)).markdown()
    assert "| a | –<sup>1</sup> | –<sup>2</sup> | –<sup>1</sup> |" in text
    assert text.endswith("<sup>1</sup> late  \n<sup>2</sup> lost\n")


def test_every_line_of_a_markdown_table_has_as_many_cells(summary, found, rows):
    differences = tables.difference_frame(found, RESAMPLING)
    sheets = [
        *benchmark_chapter(summary, NONE_ABSENT, rows, LABELS).sheets,
        *differences_chapter(differences, rows, LABELS).sheets,
    ]
    for sheet in sheets:
        widths = {line.count("|") for line in sheet.markdown().splitlines() if line.startswith("|")}
        assert widths == {len(sheet.columns) + 1}


def test_every_caption_names_protocol_set_and_target(summary, rows, facts):
    captions = [sheet.caption for sheet in benchmark_chapter(summary, NONE_ABSENT, rows, LABELS).sheets]
    places = [(target, name) for target in ("x_H_rec", "hr", "lr") for name in facts.sets]
    for caption, (target, name) in zip(captions, places, strict=True):
        assert f"{name}, 3 images; ×2, protocol strict, target {target}" in caption


def test_the_winner_is_bold_and_infinity_a_sign(summary, rows):
    text = benchmark_chapter(summary, NONE_ABSENT, rows, LABELS).sheets[0].markdown()
    winner = next(line for line in text.splitlines() if line.startswith("| FSR one-step"))
    ceiling = next(line for line in text.splitlines() if line.startswith("| VAE round trip"))
    assert winner.count("**") >= 2
    assert "∞" in ceiling and "**" not in ceiling and "inf" not in ceiling


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (1.005, False, "1.00"),
        (-2.5, False, "−2.50"),
        (2.5, True, "+2.50"),
        (math.inf, True, "+∞"),
        (math.nan, True, "–"),
    ],
)
def test_numbers_are_rounded_and_signed(value, signed, text):
    assert number(value, 2, signed) == text


def test_scales_are_places_of_their_own_and_the_first_comes_first(twofold, cells, found, rows):
    both = read_benchmark(twofold.benchmarks, ("strict",), (2, 4), rows)
    summary = tables.summarise(columns(both.measured), rows, RESAMPLING)
    apart = (both.measured[both.measured["scale"] == scale] for scale in (2, 4))
    alone = [tables.summarise(columns(part), rows, RESAMPLING) for part in apart]
    pd.testing.assert_frame_equal(summary, pd.concat(alone, ignore_index=True))
    place = {"set": "SetA", "target": "x_H_rec", "upscaler": "fsr", "metric": "psnr"}
    assert line_of(summary, scale=4, **place)["mean"] < line_of(summary, scale=2, **place)["mean"] - 3
    captions = [sheet.caption for sheet in benchmark_chapter(summary, NONE_ABSENT, rows, LABELS).sheets]
    assert ["×2" in caption for caption in captions] == [True] * 6 + [False] * 6
    assert ["×4" in caption for caption in captions] == [False] * 6 + [True] * 6
    wide = tables.benchmark_frame(summary, both.absent)
    assert list(wide.columns[:4]) == ["protocol", "scale", "set", "target"]
    assert list(wide.loc[wide["images"] == 0, "scale"]) == [2, 4]
    gains = tables.gains(columns(both.measured))
    assert len(gains) == 2 * len(tables.gains(found))
    assert len(tables.per_image_frame(both.measured)) == 2 * len(tables.per_image_frame(cells))


def test_the_probe_sheet_shows_selection_and_failure_and_ends_with_the_decision(results):
    probe = pd.read_csv(results.probe).fillna({"reason": ""})
    text = probe_chapter(probe, [2, 4], "Training used f2.").markdown()
    assert "| **f2** |" in text and "| selected |" in text
    assert "oom" in text and "out of memory at 4 crops" in text and "nan" not in text
    assert "over training crops, ×2 and ×4; bold" in text
    assert text.endswith("out of memory at 4 crops\n\nTraining used f2.\n")


def test_what_the_probe_found_is_told(params):
    selected = {"cut": "f2", "score": 0.56, "ambiguous": True, "candidates": ["f2", "f1"]}
    assert probe_note(params, selected) == (
        "The probe scores f2 highest (0.560); the choice is ambiguous: another cut is within 0.05."
    )
    assert "the choice is clear: no other cut" in probe_note(params, selected | {"ambiguous": False})


TRIED = {"cut": "f2", "status": "ok", "reason": "", "steps": 120, "validation_rgb_l1": 0.0145}
BETTER = TRIED | {"cut": "f1", "validation_rgb_l1": 0.0123}
TOO_LARGE = TRIED | {"status": "oom", "reason": "tried to allocate 99 GiB", "validation_rgb_l1": None}


@pytest.mark.parametrize(
    ("candidates", "trained", "note"),
    [
        (["f2"], ("f2", "probe", ()), "Training used f2, the probe's first."),
        (
            ["f2", "f1"],
            ("f2", "probe", ()),
            "Training used f2, the probe's first; f1 was not tried, since train.trial_steps is 0.",
        ),
        (["f2", "f1"], ("f3", "params", ()), "Training used f3, as train.cut says."),
        (
            ["f2", "f1"],
            ("f1", "trial", (TRIED, BETTER)),
            "The probe could not tell f2 and f1 apart, so each was trained for 120 steps: f2 came to an RGB L1 of "
            "0.01450 on held-out crops; f1 came to an RGB L1 of 0.01230 on held-out crops. Training went on with f1.",
        ),
        (
            ["f2", "f1"],
            ("f1", "trial", (TOO_LARGE, BETTER)),
            "The probe could not tell f2 and f1 apart, so each was trained for 120 steps: f2 ran out of memory and was "
            "skipped (tried to allocate 99 GiB); f1 came to an RGB L1 of 0.01230 on held-out crops. Training went on "
            "with f1.",
        ),
    ],
)
def test_how_the_cut_was_decided_is_told(candidates, trained, note):
    assert trained_note(TrainedCut(*trained), {"candidates": candidates}) == note


def test_a_trial_that_lacks_what_is_told_of_it_is_named(tmp_path):
    (tmp_path / "cut.json").write_text(
        '{"cut": "f1", "decided_by": "trial", "trials": [{"cut": "f1", "status": "ok"}]}'
    )
    with pytest.raises(ValueError, match=r"cut\.json lacks reason, steps, validation_rgb_l1; delete it"):
        read_trained_cut(tmp_path / "cut.json")


def test_cost_and_runtime_read_naturally(results, facts):
    assert cost_line(facts.cost) == (
        "Cost of this run on its machine: 60 steps over 120 crops in 1 h 02 min 05 s, 1.2 % of it waiting for data, "
        "float32, peak memory 1.25 GiB."
    )
    several = cost_line(facts.cost | {"processes": 2, "skipped_steps": 3})
    assert "60 steps (3 skipped, not finite) over" in several and "05 s in 2 processes, 1.2 %" in several
    probe = pd.read_csv(results.probe).fillna({"reason": ""})
    assert runtime_sheet(pd.read_csv(results.probe_runtime), probe).notes == ["out of memory at 4 crops"]
