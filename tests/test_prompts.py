import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsr.prompts import Prompt, read_prompts

# Rows as the prototype published them: three methods per image, and one prompt for two images.
PUBLISHED = """ordinal,name,method,height,width,time_sec,clip,prompt
0,img_0000000,bicubic_x2,2048,2048,0.001,0.42,"hangar, a dog, no text"
0,img_0000000,LUA_x2,2048,2048,0.6,0.43,"hangar, a dog, no text"
0,img_0000000,RF_x2,2048,2048,1.5,0.42,"hangar, a dog, no text"
1,img_0000001,bicubic_x2,2048,2048,0.001,0.31,"a ""quoted"" dancer"
1,img_0000001,LUA_x2,2048,2048,0.8,0.31,"a ""quoted"" dancer"
1,img_0000001,RF_x2,2048,2048,1.2,0.31,"a ""quoted"" dancer"
15,img_0000015,bicubic_x2,2048,2048,0.001,0.42,"hangar, a dog, no text"
"""


def test_rows_of_one_name_are_one_image_and_two_images_may_share_a_prompt(tmp_path):
    file = tmp_path / "published.csv"
    file.write_text(PUBLISHED)
    assert read_prompts(file) == [
        Prompt("img_0000000", "hangar, a dog, no text"),
        Prompt("img_0000001", 'a "quoted" dancer'),
        Prompt("img_0000015", "hangar, a dog, no text"),
    ]


def test_lines_are_numbered_in_order_and_blank_ones_skipped(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_bytes("\ufeffa cat, sitting\r\n\r\n  a café at night \n\t\na cat, sitting".encode())
    assert read_prompts(str(file)) == [
        Prompt("0000", "a cat, sitting"),
        Prompt("0001", "a café at night"),
        Prompt("0002", "a cat, sitting"),
    ]


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), min_size=1).filter(str.strip)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(names, texts, min_size=1), st.booleans())
def test_any_table_reads_back(tmp_path_factory, prompts, named):
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["prompt", "name"] if named else ["prompt"])
    writer.writerows([text, name] if named else [text] for name, text in prompts.items())
    file = tmp_path_factory.getbasetemp() / "any.CSV"
    file.write_text(buffer.getvalue(), encoding="utf-8")
    found = {prompt.name: prompt.text for prompt in read_prompts(file)}
    expected = prompts if named else {f"{i:04d}": text for i, text in enumerate(prompts.values())}
    assert list(found.items()) == [(name, text.strip()) for name, text in expected.items()]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b" \n\n", "is empty; write"),
        ("a.csv", b"", "is empty; write"),
        ("a.csv", b"name,prompt\n", "has a header only; write"),
        ("a.csv", b"name,text\na,b\n", "no column 'prompt'; rename one of its columns name, text"),
        ("a.csv", b"name,prompt\na,one\nb,two\na,three\n", "line 4: a second prompt for image 'a'; give"),
        ("a.csv", b"name,prompt\n../a,one\n", "'../a' is no safe file name; begin"),
        ("a.csv", b"name,prompt\n.a,one\n", "'.a' is no safe file name; begin"),
        ("a.csv", b"name,prompt\n,one\n", "'' is no safe file name; begin"),
        ("a.csv", b"name,prompt\na,  \n", "the prompt of image a is empty; write"),
        ("a.csv", b"prompt\na cat, sitting\n", "line 2: not as many cells as the header; quote"),
        ("a.csv", b"name,prompt\na\n", "line 2: not as many cells as the header; quote"),
        ("a.csv", b'prompt\n"a cat\n', "correct its quotes"),
        ("a.txt", b"caf\xe9\n", "not UTF-8 from byte 3; save it"),
        ("a.json", b"[]", "must end in .txt"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read_prompts(tmp_path / name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_an_error_with_its_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.txt is missing; correct generate.prompts"):
        read_prompts(tmp_path / "nowhere.txt")
