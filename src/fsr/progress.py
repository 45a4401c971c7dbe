"""Progress of long work: a bar with time left on stderr, where somebody is watching."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm


@contextmanager
def progress_bar(what: str, total: int, done: int = 0) -> Iterator[Callable[[str], None]]:
    """Yield a function that advances the bar by one and shows a note; refreshed at most every 5 s (logs stay short)."""
    with tqdm(total=total, initial=done, desc=what, mininterval=5.0, dynamic_ncols=True) as bar:

        def advance(note: str = "") -> None:
            bar.set_postfix_str(note, refresh=False)
            bar.update()

        yield advance
