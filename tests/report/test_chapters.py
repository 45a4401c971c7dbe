import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fsr.files import write_json
from fsr.report import tables
from fsr.report.cells import COLUMNS, read_base_only, read_benchmark
from fsr.report.chapters.base import base_detail_chapter, base_only_chapter, colour_chapter
from fsr.report.chapters.contextual import contextual_chapter
from fsr.report.chapters.distribution import distribution_chapter, metric_label, read_distribution
from fsr.report.chapters.runtime import read_runtime, runtime_chapter
from fsr.report.chapters.training import (
    learning_rates_chapter,
    read_costs,
    read_published_costs,
    read_search,
    training_cost_chapter,
)
from fsr.report.charts import draw_runtime, draw_training_cost, hours_of, published_hours
from fsr.report.columns import Resampling, columns
from fsr.report.pictures import THUMBNAIL, Gallery, Window
from fsr.report.published import published_sheets, read_published
from fsr.report.strips import compared_rows, draw_compared, draw_representative, draw_trend

LABELS = {"SetA": "SetA", "SetB": "SetB", "Gen": "Gen (generated here)"}
RESAMPLING = Resampling(100, 0)


def texts(sheet) -> dict[str, list[str]]:
    """{heading: the other cells of its row}."""
    return {cells[0].text: [cell.text for cell in cells[1:]] for cells in sheet.rows}


@pytest.fixture(scope="module")
def summary(found, rows):
    return tables.summarise(found, rows, RESAMPLING)


@pytest.fixture(scope="module")
def base_only(mixed, rows):
    return read_base_only(mixed.base_only, ("strict", "prototype"), rows)


def test_published_numbers_stand_in_columns_of_their_own_beside_what_was_measured(summary, mixed, rows):
    chapter = contextual_chapter(summary, read_published(mixed.published), rows, LABELS)
    psnr, ssim = chapter.sheets
    assert psnr.columns[-1] == "published: LUA" and not any("published" in name for name in ssim.columns)
    assert texts(psnr)["SetB"][-1] == "27.99" and texts(psnr)["SetA"][-1] == "–"
    cited = psnr.rows[1][-1].footnote
    assert cited == "raw HR RGB crop 2; Someone, https://example.org/paper"
    assert "context and no comparison" in chapter.text
    measured = chapter.frame[chapter.frame["source"] == "measured"]
    assert set(chapter.frame["source"]) == {"measured", "Someone"}
    assert 27.99 in set(chapter.frame["mean"]) and 27.99 not in set(measured["mean"])


def test_published_numbers_of_another_scale_are_left_out(summary, mixed, rows):
    fourfold = contextual_chapter(summary.assign(scale=4), read_published(mixed.published), rows, LABELS)
    assert not any("published" in name for sheet in fourfold.sheets for name in sheet.columns)
    assert set(fourfold.frame["source"]) == {"measured"}
    assert published_sheets(read_published(mixed.published), "runtime", [4]) == ()
    (sheet,) = published_sheets(read_published(mixed.published), "runtime", [2])
    assert [cell.text for cell in sheet.rows[0]] == ["Someone", "LUA", "512->1024", "a GPU", "421.1"]


def test_base_and_detail_is_averaged_over_sets_and_never_bold_where_neither_way_is_better(found, rows):
    macro = tables.macro_average(found, rows, RESAMPLING)
    (sheet,) = base_detail_chapter(macro, rows, {"SetA": "SetA", "SetB": "SetB"}, ()).sheets
    assert sheet.columns[1:3] == ("raw PSNR (dB)", "raw SSIM")
    column = sheet.columns.index("HF gain over bicubic")
    assert not any(cells[column].bold for cells in sheet.rows)
    bold = {cells[0].text for cells in sheet.rows if cells[sheet.columns.index("base PSNR (dB)")].bold}
    assert bold == {"FSR one-step"}
    assert "FSR Euler 2" not in texts(sheet)


def test_base_only_sets_need_no_ceiling_and_say_what_is_missing(base_only, rows, facts):
    without = columns(base_only.measured)
    five = tables.summarise([column.first(5) for column in without], rows, RESAMPLING)
    chapter = base_only_chapter(tables.summarise(without, rows, RESAMPLING), base_only, five, rows, LABELS)
    whole, shown = chapter.sheets
    assert "Gen (generated here), 6 images" in whole.caption and "5 images" in shown.caption
    assert "VAE round trip" not in texts(whole)
    gain = whole.columns.index("HF gain over bicubic")
    assert whole.rows[0][gain].footnote == "1 of 6 images: the base is flat"
    assert shown.rows[0][gain].footnote == "" and shown.rows[0][gain].text != "–"
    assert list(chapter.frame["images"].unique()) == [6]


def test_a_study_without_base_only_sets_says_so(rows):
    none = read_base_only((), ("strict",), rows)
    empty = tables.summarise(columns(none.measured), rows, RESAMPLING)
    chapter = base_only_chapter(empty, none, empty, rows, LABELS)
    assert chapter.sheets == () and "data.base_only names none" in chapter.text
    assert "upscaler" in chapter.frame.columns
    assert colour_chapter(empty, empty, rows, LABELS).sheets == ()


def test_a_base_only_set_that_is_not_available_is_named(rows, tmp_path):
    (tmp_path / "Gen.csv").write_text(f"{','.join(COLUMNS)}\nstrict,2,Gen,,,,,,it is not at hand\n")
    found = read_base_only([tmp_path / "Gen.csv"], ("strict", "prototype"), rows)
    empty = tables.summarise(columns(found.measured), rows, RESAMPLING)
    chapter = base_only_chapter(empty, found, empty, rows, LABELS)
    assert chapter.remarks == ("Gen: not available (it is not at hand)",) and chapter.sheets == ()
    assert chapter.frame["reasons"].tolist() == ["not available: it is not at hand"]


def test_a_base_only_set_is_measured_against_low_resolution_alone(mixed, rows, tmp_path):
    cells = pd.read_csv(mixed.base_only[0], dtype=str, keep_default_na=False)
    cells.assign(target="hr").to_csv(tmp_path / "hr.csv", index=False)
    with pytest.raises(ValueError, match="a base-only set has the target hr, not lr"):
        read_base_only([tmp_path / "hr.csv"], ("strict",), rows)
    cells[cells["upscaler"] != "fsr"].to_csv(tmp_path / "none.csv", index=False)
    with pytest.raises(ValueError, match="needs the row fsr"):
        read_base_only([tmp_path / "none.csv"], ("strict",), rows)
    with pytest.raises(ValueError, match="must hold the protocols prototype, not strict"):
        read_base_only(mixed.base_only, ("prototype",), rows)


def test_colour_shift_has_a_column_a_set(summary, base_only, rows):
    without = tables.summarise(columns(base_only.measured), rows, RESAMPLING)
    (sheet,) = colour_chapter(summary, without, rows, LABELS).sheets
    assert sheet.columns == ("upscaler", "SetA", "SetB", "Gen (generated here) (base only)")
    assert texts(sheet)["VAE round trip"][2] == "–" and texts(sheet)["bicubic (pixels)"] == ["0.70"] * 3


def test_distances_are_named_by_their_features_and_flagged(mixed, rows, facts):
    frame = read_distribution(mixed.distribution, rows)
    chapter = distribution_chapter(frame, rows, LABELS, ())
    (sheet,) = chapter.sheets
    assert sheet.columns == ("upscaler", "FD-EffLite0", "pKD-EffLite0")
    assert texts(sheet) == {"bicubic (pixels)": ["123.46", "0.04567"], "FSR one-step": ["100.00", "–"]}
    assert sheet.notes == [
        f"3 images against 10; {facts.flag}",
        "48 patches against 160, in subsets of 48",
        "images are smaller than a patch",
    ]
    assert "FID" not in sheet.markdown() and "**1" not in sheet.markdown()
    assert metric_label("inception_fidelity", "patch_kd") == "pKID"
    assert metric_label("clip", "clip") == "CLIP cosine"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda frame: frame.rename(columns={"flag": "mark"}), "must have the columns scale, set"),
        (lambda frame: frame.assign(metric="fid"), "has the metric fid, which has no name"),
        (lambda frame: frame.assign(reason=""), "neither value nor reason"),
    ],
)
def test_a_distribution_table_that_cannot_be_reported_says_what_to_do(mixed, rows, tmp_path, damage, message):
    damage(pd.read_csv(mixed.distribution)).to_csv(tmp_path / "d.csv", index=False)
    with pytest.raises(ValueError, match=message):
        read_distribution(tmp_path / "d.csv", rows)


def test_tables_that_hold_a_header_only_say_why(mixed, rows, tmp_path):
    for name, read, chapter, told in (
        (
            "distribution",
            read_distribution,
            lambda frame: distribution_chapter(frame, rows, LABELS, ()),
            "data.reference",
        ),
        ("runtime", read_runtime, lambda frame: runtime_chapter(frame, rows, ()), "benchmark.runtime.sides is empty"),
    ):
        header = getattr(mixed, name).read_text().splitlines()[0]
        (tmp_path / name).write_text(header + "\n")
        made = chapter(read(tmp_path / name, rows))
        assert made.sheets == () and told in made.text
        assert ",".join(made.frame.columns) == header


def test_runtime_has_a_column_a_stage_and_a_reason_for_what_is_missing(mixed, rows):
    (sheet,) = runtime_chapter(read_runtime(mixed.runtime, rows), rows, ()).sheets
    found = texts(sheet)
    assert sheet.columns[1:7] == tuple(
        f"{stage} (ms)" for stage in ("total", "encode", "head", "model", "tail", "decode")
    )
    assert found["FSR one-step"][:7] == ["47.00", "5.00", "4.00", "8.00", "30.00", "–", "1.18"]
    assert found["LUA, same steps"][0] == "–" and sheet.notes == ["out of memory at 64 pixels"]
    assert "64 → 128 pixels, ×2; cpu, float32, 1 thread, 5 rounds" in sheet.caption


def test_measured_and_published_training_costs_stand_apart(mixed, rows):
    costs, published = read_costs(mixed.train_runtime, mixed.rivals), read_published_costs(mixed.training_costs)
    measured, theirs = training_cost_chapter(costs, published, rows, [2, 4]).sheets
    assert texts(measured)["FSR one-step"][:5] == ["×2 and ×4", "1.035", "1.035", "60", "120"]
    assert list(texts(measured)) == ["FSR one-step", "LUA, same steps", "LSRNA, same steps"]
    assert texts(theirs)["magic"][2:4] == ["34.10", "272.8"]
    assert theirs.notes == ["A thesis, https://example.org/thesis", "Someone, arXiv 1"]


def test_the_repositorys_own_training_costs_are_well_formed(root):
    published = read_published_costs(root / "data/training_costs.csv")
    assert set(published["gpu_hours"]) == {"9.98", "26", "272.8"}
    assert published["citation"].str.startswith("https://").all()


def test_costs_that_lack_something_are_named(mixed, tmp_path):
    write_json(tmp_path / "runtime.json", {"steps": 1})
    with pytest.raises(ValueError, match=r"runtime\.json lacks seconds"):
        read_costs(mixed.train_runtime, {"lua_steps": tmp_path / "runtime.json"})
    (tmp_path / "costs.csv").write_text(mixed.training_costs.read_text().replace("272.8", "many"))
    with pytest.raises(ValueError, match="line 2 of .* GPU hours that are no number"):
        read_published_costs(tmp_path / "costs.csv")


def test_every_learning_rate_tried_is_shown_with_the_one_used(mixed):
    chapter = learning_rates_chapter([read_search(path) for path in mixed.searches])
    (sheet,) = chapter.sheets
    assert sheet.columns == ("method", "0.001", "0.003", "used", "steps")
    assert texts(sheet) == {"FSR": ["20.50", "–", "0.001", "5"], "LUA": ["20.50", "21.25", "0.003", "5"]}
    assert sheet.notes == ["not finite"]
    assert list(chapter.frame["used"]) == [True, False, False, True]
    assert learning_rates_chapter([]).text == "No learning rate was searched."


def drawn(path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_strips_and_charts_are_drawn_the_same_twice(mixed, rows, facts, tmp_path):
    gallery = Gallery(mixed.pictures / "x2", facts.gallery, 2, rows)
    costs, published = read_costs(mixed.train_runtime, mixed.rivals), read_published_costs(mixed.training_costs)
    runtime = read_runtime(mixed.runtime, rows)
    draw = {
        "representative": lambda path: draw_representative(path, gallery, Window("SetA", "ant", 0, 0, 16, 0.1)),
        "trend": lambda path: draw_trend(path, gallery, "SetA", "ant"),
        "compared": lambda path: draw_compared(path, gallery, "SetA", {"ant": {"fsr": "30 dB"}, "bee": {}}),
        "runtime": lambda path: draw_runtime(path, runtime, rows),
        "cost": lambda path: draw_training_cost(path, hours_of(costs, rows), published_hours(published)),
    }
    for name, write in draw.items():
        first, second = (tmp_path / f"{name}{turn}.png" for turn in (1, 2))
        write(first)
        write(second)
        assert first.read_bytes() == second.read_bytes(), name
        assert (drawn(first) < 250).any(axis=2).mean() > 0.01, name
    slower = runtime.assign(relative=runtime["relative"].where(runtime["stage"] != "model", 3))
    draw_runtime(tmp_path / "slower.png", slower, rows)
    assert (tmp_path / "slower.png").read_bytes() != (tmp_path / "runtime1.png").read_bytes()


def test_methods_side_by_side_are_bicubic_fsr_and_one_row_of_each_trained_rival(rows):
    def compared(*names):
        return compared_rows(Gallery(None, names, 2, rows))

    assert compared("lr", "fsr", "bicubic", "hr") == ("bicubic", "fsr")
    many = ("lua_time", "lua_steps", "lsrna_steps_matched", "lsrna_steps", "bicubic", "fsr")
    assert compared(*many) == ("bicubic", "fsr", "lua_time", "lsrna_steps")


def test_large_pictures_are_averaged_and_small_ones_kept(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2 * THUMBNAIL + 3, 2 * THUMBNAIL + 8, 3), dtype=np.uint8)
    (tmp_path / "S/fsr").mkdir(parents=True)
    Image.fromarray(pixels).save(tmp_path / "S/fsr/large.png")
    Image.fromarray(pixels[:40, :50]).save(tmp_path / "S/fsr/small.png")
    gallery = Gallery(tmp_path, ("fsr",), 2, {})
    large = gallery.thumbnail("S", "fsr", "large")
    assert min(large.shape[:2]) <= THUMBNAIL and large.shape[2] == 3
    assert np.allclose(large[0, 0], pixels[:4, :4].mean(axis=(0, 1)) / 255, atol=1e-6)
    assert np.array_equal(gallery.thumbnail("S", "fsr", "small"), gallery.pixels("S", "fsr", "small"))


def test_benchmark_and_base_only_cells_do_not_mix(mixed, rows, base_only):
    paired = read_benchmark(mixed.benchmarks, ("strict", "prototype"), (2,), rows)
    assert set(base_only.measured["set"]) == {"Gen"} and "Gen" not in set(paired.measured["set"])
