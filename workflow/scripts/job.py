"""What every script does first: typed parameters, a log file, and errors in one line."""

import logging
import sys
import traceback
from pathlib import Path

from fsr.config import Params
from fsr.sections import validated

EXPECTED = (OSError, ValueError, FloatingPointError, MemoryError)


def start(snakemake) -> Params:
    """Log to the rule's log file; an expected error ends the job with one line, its traceback goes to the log."""
    log = Path(snakemake.log[0])
    logging.basicConfig(filename=log, level=logging.INFO, format="%(asctime)s %(message)s", force=True)

    def report(kind, error, trace):
        with log.open("a", encoding="utf-8") as handle:
            traceback.print_exception(kind, error, trace, file=handle)
        if issubclass(kind, EXPECTED):
            print(f"error in rule {snakemake.rule}: {error}", file=sys.stderr)
        else:
            traceback.print_exception(kind, error, trace)

    sys.excepthook = report
    return validated(Params, snakemake.config, "params")
