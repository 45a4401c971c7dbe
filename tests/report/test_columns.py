import re
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsr.report import tables
from fsr.report.chapters.differences import differences_chapter, failures_chapter
from fsr.report.chapters.measured import diagnostics_chapter, primary_chapter
from fsr.report.columns import Column, Resampling, best_row, columns
from fsr.report.names import FIXED_ROWS, METRICS
from fsr.report.statistics import bootstrap_mean, bootstrap_means, paired_difference, paired_means

UPSCALERS = ("bicubic", "decoded_bicubic", "feature_bicubic", "fsr", "fsr_euler2", "vae_roundtrip")
RESAMPLING = Resampling(200, 0)
PLACE = ("strict", 2, "SetA", "x_H_rec")


def column(numbers, metric="psnr", upscalers=UPSCALERS) -> Column:
    numbers = np.asarray(numbers, dtype=float)
    images = tuple(f"i{index}" for index in range(numbers.shape[1]))
    return Column(PLACE, metric, tuple(upscalers), images, numbers, ("",) * len(numbers))


@st.composite
def measured(draw):
    """Few images, close rows, repeated values: where intervals end at zero."""
    images = draw(st.integers(1, 6))
    values = st.sampled_from([20.0, 20.0, 20.5, 21.0, 24.0, np.inf])
    return np.array(draw(st.lists(st.lists(values, min_size=images, max_size=images), min_size=6, max_size=6)))


@settings(max_examples=60, deadline=None)
@given(measured(), st.sampled_from([name for name, metric in METRICS.items()]))
def test_nothing_is_bold_whose_interval_to_any_other_method_contains_zero(numbers, metric):
    better = METRICS[metric].better
    part = column(numbers, metric)
    best = best_row([part], numbers.mean(axis=1), FIXED_ROWS, RESAMPLING)
    if best is None:
        return
    assert better and FIXED_ROWS[best].kind == "method"
    for other in UPSCALERS[:4]:
        if other != best:
            gap = paired_difference(better * part.of(best), better * part.of(other), 200, 0)
            assert gap.low > 0


@settings(max_examples=40, deadline=None)
@given(measured())
def test_a_difference_is_bold_only_where_its_interval_lies_above_zero(numbers):
    """In the sheets as they are read: the unrounded interval decides, of every bold cell of a difference."""
    part = column(numbers)
    frame = tables.difference_frame([part], RESAMPLING)
    chapter = differences_chapter(frame, FIXED_ROWS, {"SetA": "SetA"})
    lines = frame.set_index(["upscaler", "baseline"])
    baselines, matrix = chapter.sheets
    names = {FIXED_ROWS[name].label: name for name in UPSCALERS}
    order = [name for name in UPSCALERS if FIXED_ROWS[name].kind != "ceiling"]
    for cells in baselines.rows:
        for baseline, cell in zip(("feature_bicubic", "decoded_bicubic"), cells[1::2], strict=True):
            assert not cell.bold or lines.loc[(names[cells[0].text], baseline), "low"] > 0
    for name, cells in zip(order, matrix.rows, strict=True):
        for other, cell in zip(order, cells[1:], strict=True):
            clear = name != other and bool(lines.loc[(name, other), "low"] > 0)
            assert cell.bold == clear
            assert not cell.bold or cell.text.startswith("+")


def test_a_row_that_is_best_but_for_one_other_method_is_not_bold():
    """The runner-up in the mean is clearly worse, the third is not: its differences scatter."""
    first = np.array([30.0, 30.0, 30.0, 30.0])
    runner_up, scattered = first - 0.1, first + np.array([3.0, -4.0, 3.0, -4.0])
    far = first - 9
    part = column([first, runner_up, scattered, far], upscalers=UPSCALERS[:4])
    assert best_row([part], part.numbers.mean(axis=1), FIXED_ROWS, RESAMPLING) is None
    two = part.only([UPSCALERS[0], UPSCALERS[1], UPSCALERS[3]])
    assert best_row([two], two.numbers.mean(axis=1), FIXED_ROWS, RESAMPLING) == UPSCALERS[0]


def test_all_rows_at_once_are_as_each_alone():
    numbers = np.random.default_rng(0).normal(25, 3, (5, 17))
    together = bootstrap_means([numbers], 500, 3)
    pairs = paired_means([numbers], 500, 3)
    for i in range(5):
        assert together.at(i) == pytest.approx(bootstrap_mean(numbers[i], 500, 3), rel=1e-12)
        for j in range(5):
            if i != j:
                assert pairs.at(i, j) == pytest.approx(paired_difference(numbers[i], numbers[j], 500, 3), rel=1e-9)


def test_an_average_over_sets_resamples_each_set_apart():
    """By hand: draws of each set by its own generator, and the mean of the sets' means."""
    generator = np.random.default_rng(1)
    strata = [generator.normal(20, 2, (1, 8)), generator.normal(30, 1, (1, 8)), generator.normal(25, 1, (1, 13))]
    found = bootstrap_means(strata, 2000, 7).at(0)
    drawn = [
        each[0][np.random.default_rng([7, index] if index else 7).integers(each.size, size=(2000, each.size))].mean(1)
        for index, each in enumerate(strata)
    ]
    assert found.mean == pytest.approx(np.mean([each.mean() for each in strata]))
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(np.mean(drawn, axis=0), (2.5, 97.5))))


def test_a_set_of_one_image_leaves_an_average_without_interval():
    found = bootstrap_means([np.ones((2, 5)), np.ones((2, 1))], 50, 0)
    assert (found.mean == 1).all() and np.isnan(found.low).all() and not found.excludes_zero.any()


def test_a_macro_average_weighs_sets_alike(cells, rows):
    uneven = cells[~((cells["set"] == "SetB") & (cells["image"] == "eel"))]
    macro = tables.macro_average(columns(uneven), rows, RESAMPLING)
    line = macro[(macro["upscaler"] == "bicubic") & (macro["metric"] == "base_psnr")].iloc[0]
    part = uneven[(uneven["upscaler"] == "bicubic") & (uneven["metric"] == "base_psnr")]
    assert line["mean"] == pytest.approx(part.groupby("set")["number"].mean().mean())
    assert (line["sets"], line["images"]) == (2, 5)


def test_wins_follow_the_direction_of_the_metric(found):
    frame = tables.difference_frame(found, RESAMPLING)
    here = (frame["set"] == "SetA") & (frame["target"] == "x_H_rec") & (frame["upscaler"] == "fsr")
    lines = frame[here & (frame["baseline"] == "latent_bicubic")].set_index("metric")
    assert lines.loc["rgb_l1", "difference"] < 0 < lines.loc["ssim", "difference"]
    assert lines.loc["rgb_l1", "wins"] == lines.loc["ssim", "wins"] == 3
    assert set(frame["metric"]) >= {"psnr", "ssim", "rgb_l1", "feature_l1"} and "hf_gain" not in set(frame["metric"])
    empty = frame[frame["metric"] == "lpips_alex"]
    assert empty["difference"].isna().all() and (empty["reason"] != "").all() and (empty["wins"] == 0).all()


def test_what_is_infinite_says_why(rows):
    numbers = np.array([[1.0, np.inf], [1.0, 2.0]])
    told = {
        metric: tables.summarise([column(numbers, metric, ("fsr", "bicubic"))], rows, RESAMPLING)["reason"][0]
        for metric in ("psnr", "hf_gain")
    }
    assert told["psnr"] == "infinite (equal to its target on some image): no interval"
    assert told["hf_gain"] == "infinite (the bicubic base is flat on some image): no interval"


def test_rows_of_other_images_are_refused(cells):
    lacking = cells.drop(cells.index[(cells["upscaler"] == "fsr") & (cells["image"] == "bee")])
    with pytest.raises(ValueError, match="fsr was not measured once on every image of SetA at x2; benchmark it again"):
        columns(lacking)
    with pytest.raises(ValueError, match="benchmark it again"):
        columns(pd.concat([cells, cells[:1]]))


def test_every_pair_of_a_hundred_images_takes_seconds():
    """Twelve rows, four metrics, ten thousand resamples."""
    numbers = np.random.default_rng(0).normal(25, 3, (12, 100))
    names = tuple(FIXED_ROWS)[:12]
    start = time.process_time()
    four = [column(numbers + shift, upscalers=names) for shift in range(4)]
    frame = tables.difference_frame(four, Resampling(10_000, 0))
    assert len(frame) == 4 * 12 * 11
    assert time.process_time() - start < 10


def test_failures_are_the_images_on_which_fsr_is_worse(found, rows, facts):
    frame = tables.failures(found, rows)
    assert set(zip(frame["set"], frame["image"], strict=True)) == {facts.loses_on}
    assert set(frame["upscaler"]) == {"feature_bicubic", "decoded_bicubic", "lua_steps", "lsrna_steps_matched"}
    assert np.allclose(frame["difference"], frame["fsr"] - frame["psnr"]) and (frame["difference"] < 0).all()
    chapter = failures_chapter(frame, tuple(rows), rows, {2: 6})
    assert chapter.remarks == ("×2: FSR is worse than one of these rows on 1 of 6 test images.",)
    assert [cell.text for cell in chapter.sheets[0].rows[0][:2]] == ["fox", "SetB"]


def test_of_many_failures_the_worst_are_listed_and_all_are_kept(rows):
    lines = [(2, "S", f"i{k}", "feature_bicubic", 20.0, 20.0 + k, -float(k)) for k in range(1, 61)]
    frame = pd.DataFrame(lines, columns=tables.FAILURES)
    chapter = failures_chapter(frame, tuple(rows), rows, {2: 100})
    assert len(chapter.sheets[0].rows) == 40 and chapter.sheets[0].rows[0][0].text == "i60"
    assert "on 60 of 100 test images; the 40 worst are listed" in chapter.remarks[0]
    assert len(chapter.frame) == 60
    assert failures_chapter(frame[:0], tuple(rows), rows, {2: 100}).sheets == ()


def test_diagnostics_stand_beside_what_they_vary_and_methods_in_the_primary_table(found, rows):
    labels = {"SetA": "SetA", "SetB": "SetB"}
    summary = tables.summarise(found, rows, RESAMPLING)
    (sheet,) = diagnostics_chapter(summary, tables.difference_frame(found, RESAMPLING), rows, labels).sheets
    told = {(cells[0].text, cells[1].text): cells for cells in sheet.rows}
    assert told[("SetA", "FSR Euler 2")][4].text == "FSR one-step"
    assert re.fullmatch(r"−\d\.\d\d", told[("SetA", "FSR Euler 2")][5].text)
    assert not any(cells[5].bold for cells in sheet.rows)
    noised = told[("SetA", rows["lsrna_steps_noised"].label)]
    assert noised[5].footnote == "what it is compared with is not among benchmark.upscalers"
    (primary,) = primary_chapter(summary, rows, labels).sheets
    shown = {cells[1].text for cells in primary.rows}
    assert shown == {rows[name].label for name in set(summary["upscaler"]) if rows[name].kind != "diagnostic"}
    assert "LPIPS (alex)" not in primary.columns and "PSNR (dB)" in primary.columns
