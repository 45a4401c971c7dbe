"""What outputs were made of, kept beside them, so that a batch goes on where it was."""

import os
from pathlib import Path
from typing import Any, Literal

from fsr.files import read_json, sha256_of_file, write_json

FOLDER = ".fsr"  # in the folder of outputs: a record for each of them
State = Literal["absent", "complete", "changed", "unknown"]


class Records:
    """The records of a folder of outputs, one file each: any number of runs may write to one folder.

    Args:
        settings: all that decides an output beside its source, as JSON has it.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder, self.settings = folder, settings

    def state(self, source: Path, output: Path, **part: Any) -> State:
        """What stands at `output`.

        absent: nothing. complete: what these settings make of `source`. changed: of another source or with other
        settings. unknown: no work of ours, or changed since.

        Args:
            part: which of the source's parts it is made of.

        Raises:
            ValueError: its record is damaged.
        """
        if not output.exists():
            return "absent"
        path = self._path(output)
        record = read_json(path) if path.is_file() else None
        try:
            if record is None or not _is(output, record["output"]):
                return "unknown"
            same = record["settings"] == self.settings | part and _is(source, record["source"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is no record of an output; delete it") from error
        return "complete" if same else "changed"

    def keep(self, source: Path, output: Path, made: Path, size: tuple[int, int], **part: Any) -> None:
        """Record that `made`, which is to be moved to `output`, is what the settings make of `source`."""
        record = {
            "source": {"name": os.fsencode(source.name).decode(errors="replace"), **_of(source)},
            "settings": self.settings | part,
            "output": _of(made),
            "size": list(size),
        }
        write_json(self._path(output), record)

    def size(self, output: Path) -> tuple[int, int]:
        """Width and height of a complete output."""
        width, height = read_json(self._path(output))["size"]
        return width, height

    def _path(self, output: Path) -> Path:
        place = output.relative_to(self.folder)
        return self.folder / FOLDER / place.with_name(f"{place.name}.json")


def _of(file: Path) -> dict[str, Any]:
    status = file.stat()
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256_of_file(file)}


def _is(file: Path, known: dict[str, Any]) -> bool:
    """Whether a file is as recorded; one of the same size and time is not read again."""
    status = file.stat()
    if status.st_size != known["bytes"]:
        return False
    return status.st_mtime_ns == known["mtime_ns"] or sha256_of_file(file) == known["sha256"]
