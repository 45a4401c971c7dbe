"""How far a batch is, and within it one image."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

from tqdm import tqdm

from fsr.tiling import Renderer, unwatched

Progress = Callable[[float], None]


@contextmanager
def watched(renderer: Renderer, progress: Progress, passes: Sequence[float] = (1,)) -> Iterator[None]:
    """Tell `progress` inside the block what share (0 to 1) of one image is done, as often as the renderer knows it.

    Args:
        passes: of that image, in order, what each costs beside the others: the encoder's, the decoder's.
    """
    ended = 0

    def tell(share: float) -> None:
        nonlocal ended
        if ended < len(passes):
            progress((sum(passes[:ended]) + share * passes[ended]) / sum(passes))
            ended += share >= 1

    renderer.progress = tell
    try:
        yield
    finally:
        renderer.progress = unwatched


class Bar(tqdm):
    """A bar of jobs with the time left, which moves within a job too; on stderr, seldom where that is no terminal."""

    def __init__(self, what: str, jobs: int) -> None:
        self.ended = 0
        super().__init__(
            desc=what,
            total=jobs,
            miniters=0,
            mininterval=0.5 if sys.stderr.isatty() else 5.0,
            dynamic_ncols=True,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {ended}/{total} [{elapsed}<{remaining}{postfix}]",
        )

    @property
    def format_dict(self) -> dict[str, Any]:
        return super().format_dict | {"ended": self.ended}

    def within(self, share: float) -> None:
        """The present job is done to this share."""
        self.update(max(self.ended + share - self.n, 0))

    def end(self, note: str) -> Self:
        """The present job is done; `note` is shown."""
        self.ended += 1
        self.set_postfix_str(note, refresh=False)
        self.update(self.ended - self.n)
        return self
