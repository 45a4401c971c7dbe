import pandas as pd

from fsr.report.chapters.headline import headline_chapter
from fsr.report.names import FIXED_ROWS

COLUMNS = ["scale", "protocol", "set", "upscaler", "target", "metric", "mean", "low", "high", "best", "reason"]


def line(name: str, upscaler: str, target: str, mean: float, best: bool = False, metric: str = "psnr") -> tuple:
    return (2, "strict", name, upscaler, target, metric, mean, mean - 1, mean + 1, best, "")


def test_a_row_has_one_line_with_both_targets_of_every_set_and_no_diagnostic_has_one():
    summary = pd.DataFrame(
        [
            line("A", "bicubic", "x_H_rec", 30.0, best=True),
            line("A", "fsr", "x_H_rec", 28.125),
            line("A", "fsr_euler4", "x_H_rec", 27.0),
            line("A", "fsr", "hr", 27.5),
            line("B", "fsr", "x_H_rec", 20.0),
            line("B", "fsr", "hr", 19.0),
            line("B", "fsr", "hr", 0.9, metric="ssim"),
        ],
        columns=COLUMNS,
    )
    (sheet,) = headline_chapter(summary, FIXED_ROWS, {"A": "A", "B": "B (cropped)"}).sheets
    assert sheet.columns == ("upscaler", "A vs x_H_rec", "A vs HR", "B (cropped) vs x_H_rec", "B (cropped) vs HR")
    told = {cells[0].text: [cell.text for cell in cells[1:]] for cells in sheet.rows}
    assert told == {"bicubic (pixels)": ["30.00", "–", "–", "–"], "FSR one-step": ["28.12", "27.50", "20.00", "19.00"]}
    assert sheet.rows[0][1].bold and sheet.rows[0][2].footnote == "not measured"
