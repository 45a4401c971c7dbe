import pandas as pd
import pytest

from fsr.config import Rivals
from fsr.report.chapters.repeats import repeats_chapter, repeats_frame
from fsr.report.names import rows

LUA = {"kind": "lua", "weights": None, "embed": 8, "depths": [1], "heads": 2, "window": 2, "head_width": 4}
RIVALS = Rivals(seeds=[1, 2], methods={"lua": LUA}, learning_rates=[1e-3], search_steps=1)
ROWS = rows(RIVALS)
PLACE = (2, "strict", "A")


def summary(*lines) -> pd.DataFrame:
    columns = ["scale", "protocol", "set", "upscaler", "target", "metric", "mean"]
    return pd.DataFrame([(*PLACE, *line) for line in lines], columns=columns)


MEASURED = summary(
    ("bicubic", "x_H_rec", "psnr", 30.0),
    ("fsr", "x_H_rec", "psnr", 28.0),
    ("fsr_seed1", "x_H_rec", "psnr", 28.5),
    ("fsr_seed2", "x_H_rec", "psnr", 27.75),
    ("fsr", "hr", "psnr", 27.0),
    ("fsr_seed1", "hr", "psnr", 27.125),
    ("fsr_seed2", "hr", "psnr", 27.0),
    ("lua_time", "x_H_rec", "psnr", 20.0),
)


def test_the_spread_is_over_the_seeds_of_a_row_and_of_rows_that_were_repeated_only():
    frame = repeats_frame(MEASURED, ROWS).set_index(["upscaler", "target"])
    assert set(frame.index) == {("fsr", "x_H_rec"), ("fsr", "hr")}
    assert frame["spread"].to_dict() == {("fsr", "x_H_rec"): 0.75, ("fsr", "hr"): 0.125}
    assert frame.loc[("fsr", "x_H_rec"), "means"] == "28 28.5 27.75" and set(frame["seeds"]) == {3}
    assert frame.loc[("fsr", "x_H_rec"), "mean"] == pytest.approx(28.0833333)


def test_a_repeat_alone_has_no_spread():
    alone = summary(("lua_time_seed1", "x_H_rec", "psnr", 20.0))
    assert repeats_frame(alone, ROWS).empty


def test_a_line_per_row_says_every_seed_s_number_and_a_dash_where_there_is_none():
    (sheet,) = repeats_chapter(MEASURED, ROWS, {"A": "A"}).sheets
    (line,) = sheet.rows
    assert [cell.text for cell in line] == ["FSR one-step", "3", "28.00, 28.50, 27.75", "0.750", "27.00, 27.12, 27.00",
                                            "0.125", "–", "–"]  # fmt: skip
    assert "no row" in repeats_chapter(MEASURED[:2], ROWS, {"A": "A"}).text.lower()


def test_a_repeat_competes_with_none_and_says_its_seed():
    assert ROWS["lua_time_seed2"].kind == "repeat" and ROWS["lua_time_seed2"].of == "lua_time"
    assert ROWS["lua_time_seed2"].label == "LUA, same time, seed 2" and ROWS["fsr_seed1"].of == "fsr"
