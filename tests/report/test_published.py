import csv

import pytest

from fsr.report.published import COLUMNS, published_chapter, read_published


@pytest.fixture
def write(tmp_path):
    def write(rows):
        path = tmp_path / "published.csv"
        with path.open("w", newline="", encoding="utf-8") as handle:
            csv.writer(handle).writerows([COLUMNS, *rows])
        return path

    return write


def test_rows_are_sources_and_methods_and_numbers_keep_their_digits(mixed):
    (sheet,) = published_chapter(read_published(mixed.published), ["SetA", "SetB"], [2]).sheets
    assert sheet.caption == "Published numbers, not measured here: SetB"
    assert sheet.columns == ("source", "method", "protocol", "PSNR (dB)", "SSIM", "niqe like")
    assert [[cell.text for cell in cells] for cells in sheet.rows] == [
        ["Someone", "magic", "Y crop 2", "31.40", "0.9120", "–"],
        ["Another", "spell", "RGB", "–", "–", "4.100"],
        ["Someone", "LUA", "raw HR RGB crop 2", "27.99", "–", "–"],
    ]
    assert sheet.notes == ["https://example.org/paper", "not listed", "a thesis"]


def test_each_set_of_the_study_that_has_a_number_has_a_sheet(mixed, facts):
    chapter = published_chapter(read_published(mixed.published), [facts.absent, "SetA", "SetB"], [2, 4])
    assert [sheet.caption.partition(": ")[2] for sheet in chapter.sheets] == [facts.absent, "SetB"]
    assert "99.9" not in chapter.markdown()


def test_a_study_of_other_sets_has_a_line_and_no_sheet(mixed):
    chapter = published_chapter(read_published(mixed.published), ["SetA", "SetC"], [2])
    assert chapter.markdown() == "No published numbers are listed for SetA, SetC.\n"


def test_a_study_of_another_scale_shows_none(mixed):
    chapter = published_chapter(read_published(mixed.published), ["SetA", "SetB"], [4])
    assert chapter.markdown() == (
        "The published numbers that are listed are of ×2, which this study does not measure.\n"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({7: "about 3"}, "line 4 of .* a value that is no number"),
        ({1: ""}, "line 4 of .* has an empty field"),
        ({4: "magic", 0: "Someone", 1: "https://example.org/paper", 5: "Y crop 2", 6: "ssim"}, "line 4 of .* already"),
    ],
)
def test_a_wrong_line_is_named(write, facts, change, message):
    rows = [list(row) for row in facts.published]
    for column, text in change.items():
        rows[2][column] = text
    with pytest.raises(ValueError, match=message):
        read_published(write(rows))


def test_other_columns_are_refused(tmp_path):
    (tmp_path / "published.csv").write_text("source,value\na,1\n")
    with pytest.raises(ValueError, match="must have the columns source, citation, table"):
        read_published(tmp_path / "published.csv")


def test_the_repositorys_own_table_is_well_formed_and_cites_every_number(root):
    published = read_published(root / "data/published.csv")
    assert {"Set5", "Set14", "B100", "Urban100", "Manga109", "FLUX179"} <= set(published["dataset"])
    assert published["citation"].str.contains(r"https://|arXiv").all()
    anchors = published[(published["method"] == "bicubic") & (published["metric"] == "psnr")]
    assert dict(zip(anchors["dataset"], anchors["value"], strict=True))["B100"] == "29.56"
