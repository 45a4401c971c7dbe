import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fsr.report import build_report, tables
from fsr.report.run import cost_line, cut_and_note, runtime_sheet
from fsr.report.sheets import Cell, Sheet, benchmark_chapter, differences_chapter, number, probe_chapter

RESAMPLES, SEED = 400, 0
LABELS = {"SetA": "SetA", "SetB": "SetB"}
NONE_ABSENT = pd.DataFrame(columns=["protocol", "set", "reason"])


@pytest.fixture(scope="module")
def summary(cells):
    return tables.summarise(cells, RESAMPLES, SEED)


def line_of(summary, **place):
    (line,) = summary[(summary[list(place)] == list(place.values())).all(axis=1)].to_dict("records")
    return line


def test_a_mean_is_the_mean_over_images(cells, summary, facts):
    here = cells[(cells["set"] == "SetA") & (cells["target"] == "hr")]
    line = line_of(summary, set="SetA", target="hr", upscaler="fsr", metric="ssim")
    assert line["mean"] == pytest.approx(np.mean(tables.values(here, "fsr", "ssim")))
    assert line["low"] <= line["mean"] <= line["high"]
    assert line["images"] == len(facts.sets["SetA"])


def test_every_empty_number_has_its_reason(summary, facts):
    assert (summary.loc[summary["mean"].isna() | summary["low"].isna(), "reason"] != "").all()
    assert (summary.loc[summary["low"].notna(), "reason"] == "").all()
    assert line_of(summary, set="SetA", target="hr", upscaler="fsr", metric="lpips")["reason"] == facts.no_lpips


def test_a_mean_over_some_images_only_is_not_given(cells):
    broken = cells.copy()
    first = broken.index[(broken["metric"] == "ssim") & (broken["upscaler"] == "fsr")][0]
    broken.loc[first, ["number", "reason"]] = [math.nan, "too small"]
    line = line_of(tables.summarise(broken, 50, SEED), set="SetA", target="x_H_rec", upscaler="fsr", metric="ssim")
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


def test_differences_are_paired_and_count_wins(cells):
    frame = tables.difference_frame(cells, RESAMPLES, SEED)
    line = line_of(frame, set="SetB", target="x_H_rec", upscaler="fsr", baseline="feature_bicubic")
    gains = tables.gains(cells)
    assert line["difference"] == pytest.approx(gains.loc[gains["set"] == "SetB", "gain"].mean())
    assert line["wins"] == 2
    mirrored = line_of(frame, set="SetA", target="hr", upscaler="decoded_bicubic", baseline="feature_bicubic")
    back = line_of(frame, set="SetA", target="hr", upscaler="feature_bicubic", baseline="decoded_bicubic")
    assert mirrored["difference"] == pytest.approx(-back["difference"])


def test_the_image_where_fsr_loses_has_the_only_negative_gain(cells, facts):
    gains = tables.gains(cells)
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
    assert f"lpips: {facts.no_lpips}" in line["reasons"] and f"feature_l1: {facts.no_feature}" in line["reasons"]


def test_footnotes_are_numbered_once_per_reason():
    row = (Cell("a"), Cell("–", footnote="late"), Cell("–", footnote="lost"), Cell("–", footnote="late"))
    text = Sheet("Caption", ("x", "y", "z", "w"), (row,)).markdown()
    assert "| a | –<sup>1</sup> | –<sup>2</sup> | –<sup>1</sup> |" in text
    assert text.endswith("<sup>1</sup> late  \n<sup>2</sup> lost\n")


def test_every_line_of_a_markdown_table_has_as_many_cells(summary, cells):
    differences = tables.difference_frame(cells, 50, SEED)
    sheets = [*benchmark_chapter(summary, LABELS).sheets, *differences_chapter(differences, LABELS).sheets]
    for sheet in sheets:
        widths = {line.count("|") for line in sheet.markdown().splitlines() if line.startswith("|")}
        assert widths == {len(sheet.columns) + 1}


def test_every_caption_names_protocol_set_and_target(summary, facts):
    captions = [sheet.caption for sheet in benchmark_chapter(summary, LABELS).sheets]
    assert len(captions) == 4
    for caption, (target, name) in zip(captions, [(t, s) for t in ("x_H_rec", "hr") for s in facts.sets], strict=True):
        assert f"{name}, 3 images; protocol strict, target {target}" in caption


def test_the_winner_is_bold_and_infinity_a_sign(summary):
    text = benchmark_chapter(summary, LABELS).sheets[0].markdown()
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


def test_the_probe_sheet_shows_selection_and_failure(results):
    text = probe_chapter(pd.read_csv(results.probe).fillna({"reason": ""})).markdown()
    assert "| **f2** |" in text and "| selected |" in text
    assert "oom" in text and "out of memory at 4 crops" in text and "nan" not in text


def test_an_overridden_cut_is_told(params, results):
    probe = pd.read_csv(results.probe).fillna({"reason": ""})
    selected = {"cut": "f2", "stage": "decoder.up_blocks.0", "score": 0.56, "ambiguous": True}
    assert "ambiguous" in cut_and_note(params, selected, probe)[1]
    overridden = params.model_copy(update={"train": params.train.model_copy(update={"cut": "f1"})})
    cut, note = cut_and_note(overridden, selected, probe)
    assert cut == "f1 (decoder.conv_in)" and "Training used f1" in note


def test_what_depends_on_the_machine_is_on_the_page_only(params, results, tmp_path):
    other = tmp_path / "runtime.json"
    other.write_text('{"steps": 60, "seconds": 59.6, "peak_memory_gib": 9.0, "autocast": "bfloat16"}')
    build_report(params, results, tmp_path / "a")
    build_report(params, replace(results, train_runtime=other), tmp_path / "b")
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*") if path.suffix != ".html")
    assert {path.suffix for path in files} == {".csv", ".md", ".png"}
    for path in files:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path
    assert "60 steps in 0 h 01 min 00 s" in (tmp_path / "b" / "index.html").read_text(encoding="utf-8")


def test_cost_and_runtime_read_naturally(results):
    cost = {"steps": 1, "seconds": 3725.4, "peak_memory_gib": 1.25, "autocast": "float32"}
    assert "1 h 02 min 05 s, float32, peak memory 1.25 GiB" in cost_line(cost)
    probe = pd.read_csv(results.probe).fillna({"reason": ""})
    assert runtime_sheet(pd.read_csv(results.probe_runtime), probe).notes == ["out of memory at 4 crops"]
