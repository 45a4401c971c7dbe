import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsr.report.latex import SPECIAL, chapter_latex, escape, sheet_latex
from fsr.report.sheets import Cell, Chapter, Sheet

WRITTEN_OUT = r"\\(?:text[a-z]+\{\}|[&%$#_{}])|\$-\$|\$\\[a-z]+\$|\$\^\\circ\$"


@given(st.text(alphabet=[*string.ascii_letters, *string.digits, *" .,;:()[]+-=/", *SPECIAL], max_size=60))
def test_whatever_is_left_of_an_escaped_text_means_nothing_to_latex(text):
    left = re.sub(WRITTEN_OUT, "", escape(text))
    assert not set(left) & set("\\&%$#_{}~^<>|")
    assert left.isascii()


def test_every_sign_is_written_out_as_itself():
    assert escape(r"50 % of a_b & c\d {e} ~f^g #1 $2") == (
        r"50 \% of a\_b \& c\textbackslash{}d \{e\} \textasciitilde{}f\textasciicircum{}g \#1 \$2"
    )
    assert escape("−1.5 ±∞ ×2 – 64 → 128") == r"$-$1.5 $\pm$$\infty$ $\times$2 -- 64 $\rightarrow$ 128"


@pytest.fixture
def sheet():
    rows = (
        (Cell("a_1"), Cell("tool & co"), Cell("1.50", "[1.00, 2.00]", bold=True)),
        (Cell("[b"), Cell("x"), Cell("–", footnote="50 % late")),
        (Cell("c"), Cell("y"), Cell("–", footnote="50 % late")),
    )
    return Sheet("Means of a_b", ("row", "name", "PSNR (dB)"), rows, ("name",))


def test_a_sheet_is_a_booktabs_table_with_its_footnotes_below(sheet):
    lines = sheet_latex(sheet).splitlines()
    assert lines == [
        r"\begin{table}[htbp]",
        r"\centering\small",
        r"\caption{Means of a\_b}",
        r"\begin{tabular}{llr}",
        r"\toprule",
        r"row & name & PSNR (dB) \\",
        r"\midrule",
        r"a\_1 & tool \& co & \textbf{1.50} {\scriptsize [1.00, 2.00]} \\",
        r"{}[b & x & --\textsuperscript{1} \\",
        r"c & y & --\textsuperscript{1} \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\smallskip",
        r"\begin{minipage}{\linewidth}\footnotesize",
        r"\textsuperscript{1} 50 \% late\\",
        r"\end{minipage}",
        r"\end{table}",
    ]


def test_a_wide_sheet_is_scaled_to_the_line():
    wide = Sheet("Wide", tuple("abcdefgh"), (tuple(map(Cell, "12345678")),))
    text = sheet_latex(wide)
    assert r"\resizebox{\linewidth}{!}{%" in text
    assert text.count("{") == text.count("}")


def test_a_chapter_opens_and_closes_every_environment(sheet):
    text = chapter_latex(Chapter("How to read 5 %.", (sheet, sheet), ("a remark_",), "The end."))
    begun, ended = (re.findall(rf"\\{word}{{(\w+)}}", text) for word in ("begin", "end"))
    assert sorted(begun) == sorted(ended)
    assert begun.count("table") == 2 and r"\item a remark\_" in text
    assert text.endswith("The end.\n") and r"How to read 5 \%." in text
