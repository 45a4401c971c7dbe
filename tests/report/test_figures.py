import math
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fsr.report import tables
from fsr.report.columns import Resampling
from fsr.report.figures import draw_probe, draw_psnr, draw_training
from fsr.report.mosaics import draw_contact_sheet, draw_notice, draw_zooms
from fsr.report.pictures import Gallery, Window, shown
from fsr.report.style import drawing

LABELS = {"SetA": "SetA", "SetB": "SetB (GTmod12), content not verified"}


def inked(path) -> float:
    """Share of pixels that are not white."""
    with Image.open(path) as picture:
        return float((np.asarray(picture.convert("RGB")) < 250).any(axis=2).mean())


def test_every_figure_is_drawn_the_same_twice(found, rows, params, results, tmp_path, facts):
    summary, probe, log = (
        tables.summarise(found, rows, Resampling(50, 0)),
        pd.read_csv(results.probe),
        pd.read_csv(results.train_log),
    )
    gallery, images = Gallery(results.pictures / "x2", facts.gallery, facts.scale, rows), shown(tables.gains(found))
    window = Window("SetB", "fox", 16, 32, 16, -0.1)
    draw = {
        "psnr": lambda path: draw_psnr(path, summary, rows, LABELS),
        "training": lambda path: draw_training(path, log),
        "probe": lambda path: draw_probe(path, probe, params.probe.weights),
        "contact": lambda path: draw_contact_sheet(path, gallery, images),
        "notice": lambda path: draw_notice(path, "SetC: not available", "given on request only " * 9),
        "zooms": lambda path: draw_zooms(path, gallery, [window], [window]),
    }
    for name, write in draw.items():
        write(tmp_path / f"{name}.png")
        first = (tmp_path / f"{name}.png").read_bytes()
        write(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes() == first, name
        assert b"Matplotlib" not in first, name
        assert inked(tmp_path / f"{name}.png") > 0.01, name


def test_psnr_of_a_row_moves_its_dot_and_a_label_stands_above_its_panel(found, rows, tmp_path):
    summary = tables.summarise(found, rows, Resampling(50, 0))
    draw_psnr(tmp_path / "a.png", summary, rows, LABELS)
    moved = summary.copy()
    moved.loc[(moved["upscaler"] == "fsr") & (moved["metric"] == "psnr"), "mean"] += 1
    draw_psnr(tmp_path / "b.png", moved, rows, LABELS)
    draw_psnr(tmp_path / "c.png", summary, rows, LABELS | {"SetB": "SetB"})
    assert len({(tmp_path / f"{name}.png").read_bytes() for name in "abc"}) == 3


def test_the_probe_is_drawn_without_terms_where_the_score_is_not_their_sum(params, results, tmp_path):
    probe = pd.read_csv(results.probe)
    draw_probe(tmp_path / "with.png", probe, params.probe.weights)
    draw_probe(tmp_path / "without.png", probe, None)
    assert inked(tmp_path / "without.png") < inked(tmp_path / "with.png")


def test_a_probe_that_failed_everywhere_is_still_drawn(params, results, tmp_path):
    failed = pd.read_csv(results.probe)[2:]
    draw_probe(tmp_path / "failed.png", failed, params.probe.weights)
    assert inked(tmp_path / "failed.png") > 0.005


def test_a_log_without_validation_is_drawn(tmp_path):
    log = pd.DataFrame({"step": [1, 2, 3], "lr": 1e-3, "loss": [1.0, 0.5, 0.2], "validation_psnr": math.nan})
    draw_training(tmp_path / "log.png", log)
    assert inked(tmp_path / "log.png") > 0.005


def test_panels_of_training_are_named_for_readers_and_validation_comes_first(tmp_path, monkeypatch):
    figures = []

    @contextmanager
    def kept(*place):
        with drawing(*place) as figure:
            figures.append(figure)
            yield figure

    monkeypatch.setattr("fsr.report.figures.drawing", kept)
    log = pd.DataFrame(
        {"step": [1, 2], "lr": 1e-3, "loss": [1.0, math.inf], "grad_norm": [2.0, math.nan], "skipped": 0}
    )
    log["one_step"], log["validation_psnr"], log["validation_rgb_l1"] = 1.0, [math.nan, 20.0], [math.nan, 0.1]
    log["validation_margin"], log["validation_psnr_x4"] = [math.nan, -0.1], [math.nan, 19.0]
    draw_training(tmp_path / "log.png", log)
    draw_training(tmp_path / "log.png", log.assign(skipped=[0, 1]))
    without, with_skips = ([axes.get_title("left") for axes in figure.axes] for figure in figures)
    validation = ["validation PSNR (dB)", "validation RGB L1", "four steps over one (dB)", "validation PSNR (dB), ×4"]
    assert without == [*validation, "loss", "one step", "grad norm", "learning rate"]
    assert with_skips == [*without, "steps skipped so far"]


def test_a_figure_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), drawing(path, 1, 1):
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_picture_is_named(results, found, rows, tmp_path, facts):
    gallery = Gallery(results.pictures / "x2", ("fsr", "latent_bicubic"), facts.scale, rows)
    with pytest.raises(FileNotFoundError, match="latent_bicubic"):
        draw_contact_sheet(tmp_path / "sheet.png", gallery, tables.gains(found))
