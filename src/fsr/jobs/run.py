"""Doing jobs one after the other."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fsr.formats import Encoding, Picture, read_picture, write_picture
from fsr.images import VIEWS, self_ensemble
from fsr.jobs.planning import Job
from fsr.jobs.records import Records
from fsr.jobs.watching import Progress, unwatched, watched
from fsr.memory import memory_explained
from fsr.pipeline import ImagePipeline

STANDING = {
    "changed": "made of another file or with other settings; give --overwrite, or another folder",
    "unknown": "not made here, or changed since; give --overwrite, or another folder",
}
SMALLER = "make it smaller, or give --memory or a smaller --tile"


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        status: done; skipped, where its output stood there already; failed, for the `reason`.
        size: width and height of the output; None where it failed.
        seconds: what it took, reading and writing included.
    """

    job: Job
    status: Literal["done", "skipped", "failed"]
    reason: str = ""
    size: tuple[int, int] | None = None
    seconds: float = 0.0


def upscale_files(
    pipeline: ImagePipeline,
    jobs: Sequence[Job],
    folder: Path,
    encoding: Encoding = Encoding(),  # noqa: B008 - frozen
    overwrite: bool = False,
    progress: Progress = unwatched,
    ensemble: bool = False,
) -> Iterator[Outcome]:
    """Enlarge images one after the other; one that cannot be done is an outcome with its reason, and stops no other.

    Args:
        folder: where the outputs of all jobs lie, with records of what they were made of.
        overwrite: replace what stands there and is not what would be made.
        progress: told what share (0 to 1) of the present image is done.
        ensemble: the mean over the eight views of each image, in eight times the time.
    """
    views = len(VIEWS) if ensemble else 1

    def make(job: Job) -> Picture:
        picture = read_picture(job.source)
        width, height = picture.size
        watching = watched(pipeline.renderer, progress, (1, pipeline.scale**2) * views)
        with memory_explained(f"an image of {width}x{height} pixels", SMALLER), watching:
            colour = self_ensemble(pipeline, picture.colour) if ensemble else pipeline(picture.colour)
            return picture.enlarged(colour, pipeline.scale)

    settings = settings_of(pipeline) | {"format": encoding.format, "quality": encoding.quality}
    settings |= {"ensemble": True} if ensemble else {}
    for job in jobs:
        yield done(job, make, Records(folder, settings), encoding, overwrite)


def settings_of(pipeline: ImagePipeline) -> dict[str, Any]:
    """What decides a pipeline's pixels, as JSON has it; tiles do not."""
    return {"scale": pipeline.scale, "model": pipeline.identity}


def done(
    job: Job,
    make: Callable[[Job], Picture],
    records: Records,
    encoding: Encoding,
    overwrite: bool,
    **part: Any,
) -> Outcome:
    """Do one job, unless what it makes stands there.

    Args:
        part: which of the source's parts it is made of.
    """
    start = time.perf_counter()
    try:
        state = records.state(job.source, job.output, **part)
        if state == "complete":
            return Outcome(job, "skipped", size=records.size(job.output))
        if state in STANDING and not overwrite:
            return Outcome(job, "failed", f"{job.output} is there and was {STANDING[state]}")
        picture = make(job)
        with memory_explained("writing it", SMALLER):
            write_picture(
                job.output,
                picture,
                encoding,
                lambda made: records.keep(job.source, job.output, made, picture.size, **part),
            )
        return Outcome(job, "done", size=picture.size, seconds=time.perf_counter() - start)
    except (OSError, ValueError, MemoryError, RuntimeError) as error:
        return Outcome(job, "failed", _reason(error), seconds=time.perf_counter() - start)


def _reason(error: Exception) -> str:
    """What an error says: of the system's, where a line was written for it, that line without its number."""
    written = isinstance(error, OSError) and error.filename is None and error.strerror
    return str(written or error) or type(error).__name__
