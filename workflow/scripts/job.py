"""What every script does first: typed parameters, a log file, and errors in one line."""

import logging
import sys
import traceback
from pathlib import Path

from record import record

from fsr.config import Params
from fsr.sections import validated

EXPECTED = (OSError, ValueError, FloatingPointError, MemoryError)


def start(snakemake) -> Params:
    """Log to the rule's log file; an expected error ends the job with one line, its traceback goes to the log."""
    log = Path(snakemake.log[0])
    logging.basicConfig(filename=log, level=logging.INFO, format="%(asctime)s %(message)s", force=True)

    def report(kind, error, trace):
        told = "".join(traceback.format_exception(kind, error, trace))
        log.write_text(log.read_text(encoding="utf-8") + told, encoding="utf-8")
        print(f"error in rule {snakemake.rule}: {error}" if issubclass(kind, EXPECTED) else told, file=sys.stderr)

    sys.excepthook = report
    record(snakemake)
    return validated(Params, snakemake.config, "params")
