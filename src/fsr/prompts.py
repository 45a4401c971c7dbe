"""The prompts a set is generated from, as text or CSV files."""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Prompt:
    """What an image is generated from, and the name of its files.

    Raises:
        ValueError: the name is no safe file name, or the text is empty.
    """

    name: str
    text: str

    def __post_init__(self) -> None:
        if not SAFE_NAME.fullmatch(self.name):
            raise ValueError(
                f"image name {self.name!r} is no safe file name; begin with a letter or digit and use letters, digits, "
                "'.', '_' and '-' only"
            )
        if not self.text:
            raise ValueError(f"the prompt of image {self.name} is empty; write one or remove its row")


def read_prompts(path: Path | str) -> list[Prompt]:
    """The prompts of a UTF-8 file, in its order, without white space at their ends.

    A .txt has a prompt a line; blank lines are skipped. A .csv has a column `prompt` and may have a column `name`: rows
    of one name are one image. Images without names are 0000, 0001, ...

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no prompt or no column `prompt`, an image has two prompts or a name that is no safe file
            name, or the file is neither kind or damaged.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (".txt", ".csv"):
        raise ValueError(f"prompts file {path} must end in .txt (a prompt a line) or .csv (a column prompt); rename it")
    if not path.is_file():
        raise FileNotFoundError(
            f"prompts file {path} is missing; correct generate.prompts, or set it to null for the published prompts"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"prompts file {path} is not UTF-8 from byte {error.start}; save it as UTF-8") from error
    if not text.strip():
        raise ValueError(f"prompts file {path} is empty; write at least one prompt")
    return _prompts_of_lines(text) if kind == ".txt" else _prompts_of_table(text, path)


def _prompts_of_lines(text: str) -> list[Prompt]:
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return [Prompt(f"{index:04d}", line) for index, line in enumerate(lines)]


def _prompts_of_table(text: str, path: Path) -> list[Prompt]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    texts: dict[str, str] = {}
    try:
        if "prompt" not in reader.fieldnames:
            names = ", ".join(reader.fieldnames)
            raise ValueError(f"prompts file {path} has no column 'prompt'; rename one of its columns {names}")
        for index, row in enumerate(reader):
            place = f"prompts file {path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise ValueError(f"{place}: not as many cells as the header; quote prompts that contain commas")
            name, prompt = row.get("name", f"{index:04d}"), row["prompt"].strip()
            if texts.setdefault(name, prompt) != prompt:
                raise ValueError(f"{place}: a second prompt for image {name!r}; give rows of one name the same")
    except csv.Error as error:
        raise ValueError(f"prompts file {path}, line {reader.line_num}: {error}; correct its quotes") from error
    if not texts:
        raise ValueError(f"prompts file {path} has a header only; write at least one prompt")
    return [Prompt(name, prompt) for name, prompt in texts.items()]
