"""The log of a run: a row now and then, with the means of what the steps since the row before told."""

import math
from collections.abc import Mapping
from typing import Any

LAST = ("lr", "skipped")  # what a row holds as the last step told it


class Log:
    """Rows, and what will be the next one.

    A mean is over the steps that told the value: pixel terms are not due in every step, and a skipped step's values are
    not finite.

    Args:
        rows, pending: as `state` gave them.
    """

    def __init__(self, rows: list[dict[str, Any]] | None = None, pending: dict[str, list[float]] | None = None) -> None:
        self.rows, self.pending = rows or [], pending or {}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"rows": self.rows, "pending": self.pending}

    def add(self, told: Mapping[str, float]) -> None:
        """Take what one step told."""
        for name, value in told.items():
            if name in LAST:
                self.pending[name] = [value, 1]
            elif math.isfinite(value):
                total, count = self.pending.get(name, (0.0, 0))
                self.pending[name] = [total + value, count + 1]

    def write_row(self, step: int, measured: Mapping[str, float]) -> dict[str, float]:
        """The next row, at `step`, with what was measured there beside the means; it begins anew."""
        means = {name: total if name in LAST else total / count for name, (total, count) in self.pending.items()}
        row = {"step": step, **means, **measured}
        self.rows.append(row)
        self.pending = {}
        return row
