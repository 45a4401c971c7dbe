import pytest

from fsr.report.readme import replace_block

TEXT = "# Title\n\n<!-- fsr:results -->\nold\n<!-- /fsr:results -->\n\nEnd <!-- fsr:other -->x<!-- /fsr:other -->\n"


def test_only_the_named_block_changes():
    new = replace_block(TEXT, "results", "| a |\n\n")
    assert new == TEXT.replace("old", "| a |")


def test_replacing_again_changes_nothing():
    once = replace_block(TEXT, "results", "new")
    assert replace_block(once, "results", "new") == once


def test_the_content_is_taken_literally():
    assert r"\1 \g<0>" in replace_block(TEXT, "results", r"\1 \g<0>")


@pytest.mark.parametrize(
    "text",
    ["nothing", "<!-- fsr:results -->", "<!-- /fsr:results --><!-- fsr:results -->", TEXT + TEXT],
    ids=["none", "open", "reversed", "twice"],
)
def test_a_text_without_one_pair_of_markers_is_refused(text):
    with pytest.raises(ValueError, match="needs <!-- fsr:results -->"):
        replace_block(text, "results", "new")
