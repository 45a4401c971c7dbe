"""Up to five images with the methods side by side, and what was measured of each picture."""

from pathlib import Path

import pandas as pd

from fsr.report.inputs import Found
from fsr.report.names import LOW, METRICS, PRIMARY, times
from fsr.report.page import Figure
from fsr.report.pictures import FEW, Gallery
from fsr.report.sheets import number
from fsr.report.strips import compared_rows, draw_compared

BELOW = {True: ((LOW, "base_psnr"), (LOW, "hf_gain")), False: ((PRIMARY, "psnr"), (LOW, "hf_gain"))}
SHORT = {"base_psnr": "base {} dB", "psnr": "{} dB", "hf_gain": "HF ×{}"}


def compared(path: Path, gallery: Gallery, found: Found, protocol: str) -> Figure:
    """The first images of the first base-only set, else of the first test set: bicubic, FSR, two trained rivals.

    Args:
        gallery: of the scale; base-only pictures stand below base_only/ beside its folder.
    """
    cells = _at(found.base_only.under(protocol), gallery.scale)
    base_only = len(cells) > 0
    if base_only:
        folder = gallery.folder.parent / "base_only" / gallery.folder.name
        gallery = Gallery(folder, gallery.rows, gallery.scale, gallery.labels)
    else:
        cells = _at(found.benchmark.under(protocol), gallery.scale)
    rows = compared_rows(gallery)
    cells = cells[cells["set"] == cells["set"].iloc[0]]
    images = list(cells["image"].unique()[:FEW])
    set_name = cells["set"].iloc[0]
    draw_compared(path, gallery, set_name, {image: _told(cells, image, rows, base_only) for image in images})
    return _figure(path, found, gallery, set_name, len(images), rows, base_only)


def _at(cells: pd.DataFrame, scale: int) -> pd.DataFrame:
    return cells[cells["scale"] == scale]


def _told(cells: pd.DataFrame, image: str, rows: tuple[str, ...], base_only: bool) -> dict[str, str]:
    """{row: its numbers on one image}."""
    part = cells[cells["image"] == image]
    known = part.set_index(["upscaler", "target", "metric"])["number"].dropna().to_dict()
    return {
        row: ", ".join(
            SHORT[metric].format(number(known[(row, target, metric)], METRICS[metric].decimals))
            for target, metric in BELOW[base_only]
            if (row, target, metric) in known
        )
        for row in rows
    }


def _figure(
    path: Path, found: Found, gallery: Gallery, set_name: str, images: int, rows: tuple[str, ...], base_only: bool
) -> Figure:
    names = ", ".join(found.rows[row].label for row in rows)
    told = "enlarged without a high-resolution original" if base_only else "against the VAE reconstruction"
    trained = any(found.rows[row].trained for row in rows)
    without = "" if trained else " No trained method of others is among report.gallery."
    return Figure(
        path,
        f"{images} images of {set_name} side by side: {names}",
        f"The first images of {found.labels[set_name]}, {told}, {times(gallery.scale)}: {names}. HF: high-frequency "
        f"energy over that of the bicubic base.{without}",
    )
