import pytest

from fsr.files import read_json, write_json
from fsr.report.data import (
    ImageSet,
    Leakage,
    data_chapter,
    leakage_remarks,
    read_image_set,
    read_leakage,
    set_labels,
)


@pytest.mark.parametrize(
    ("found", "label"),
    [
        ({"verified": True, "variant": "HR"}, "Set5"),
        ({"verified": True, "variant": "GTmod12", "cropped": True}, "Set5 (GTmod12)"),
        ({"variant": "HR"}, "Set5, content not verified"),
        ({"variant": "GTmod12", "cropped": True}, "Set5 (GTmod12), content not verified"),
        ({"source": "generated"}, "Set5 (generated here)"),
        ({"reason": "nowhere"}, "Set5"),
    ],
)
def test_a_label_says_what_readers_must_know(found, label):
    assert ImageSet("Set5", "test", **found).label == label


def test_sets_are_read_as_they_were_found(mixed, facts):
    sets = [read_image_set(manifest) for manifest in mixed.datasets]
    assert [(each.name, each.role, each.images) for each in sets] == [
        ("Train", "train", 3), ("SetA", "test", 3), (facts.absent, "test", 0), ("SetB", "test", 3),
        ("Gen", "reference", 6)
    ]  # fmt: skip
    assert sets[2].reason == facts.absent_reason
    assert set_labels(sets, ["SetB", "SetA"]) == {"SetB": "SetB (GTmod12), content not verified", "SetA": "SetA"}
    with pytest.raises(ValueError, match="SetC was benchmarked, but its dataset manifest is not given"):
        set_labels(sets, ["SetA", "SetC"])


def test_a_manifest_that_lacks_something_is_named(mixed, tmp_path):
    entry = read_json(mixed.datasets[1])
    del entry["variant"], entry["verified"]
    with pytest.raises(ValueError, match=r"manifest.json lacks variant, verified; delete it"):
        read_image_set(write_json(tmp_path / "manifest.json", entry))


def test_the_sheet_has_a_line_per_set_and_a_reason_for_the_absent_one(mixed, facts):
    sets = [read_image_set(manifest) for manifest in mixed.datasets]
    sheet, matches = data_chapter(sets, read_leakage(mixed.leakage)).sheets
    lines = {cells[0].text: [cell.text for cell in cells[1:]] for cells in sheet.rows}
    assert lines["SetA"] == ["test", "3", "package", "HR", "yes", "CC0"]
    assert lines["SetB"] == ["test", "3", "package", "GTmod12", "no", "CC0"]
    assert lines[facts.absent] == ["test", "–", "–", "–", "–", "–"]
    assert sheet.notes == ["without 303 (data.exclude)", f"not available: {facts.absent_reason}"]
    assert [cell.text for cell in matches.rows[0]] == [
        "Train/302",
        "SetA/bee",
        "1.02",
        "−0.4",
        "yes",
        "99",
        "0.991",
        "120",
    ]


def test_nothing_found_is_said_with_the_numbers_compared():
    leakage = Leakage(399, 1, ())
    assert (
        leakage.sentence == "399 training images compared with 1 test image: none shows a test image or a part of one."
    )
    assert leakage.leaked == {} and leakage_remarks(leakage) == []
    assert len(data_chapter([ImageSet("Set5", "test", 5, verified=True)], leakage).sheets) == 1


def test_an_image_found_twice_is_one_image(facts):
    other = facts.match | {"train_image": "303"}
    third = facts.match | {"test_set": "SetB", "test_image": "dog"}
    leakage = Leakage(3, 6, (facts.match, other, third))
    assert leakage.leaked == {"SetA": ["bee"], "SetB": ["dog"]}
    assert "2 test images shown" in leakage.sentence
    assert [remark.partition(":")[0] for remark in leakage_remarks(leakage)] == ["SetA", "SetB"]


def test_a_match_that_lacks_something_is_refused(mixed, tmp_path):
    result = read_json(mixed.leakage)
    del result["matches"][0]["overlap"]
    with pytest.raises(ValueError, match="leakage.json lacks overlap"):
        read_leakage(write_json(tmp_path / "leakage.json", result))
