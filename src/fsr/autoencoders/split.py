"""The decoder as a list of named stages; a cut is an index into it, head and tail are slices."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

CUTS = ("f1", "f2", "f3", "f4", "f5")


@dataclass(frozen=True)
class Stage:
    """One step of the decoder, under the name the model's own modules have."""

    name: str
    run: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Cut:
    """A place to split: behind `stage`, where features have `channels`, one for each `stride` x `stride` pixels."""

    name: str
    stage: str
    channels: int
    stride: int


@dataclass(frozen=True)
class SplitDecoder:
    """Stages from the unscaled latent to the image in [-1, 1], and the cuts between them.

    Raises:
        ValueError: a cut lies behind a stage that is not there; the message lists those there are.
    """

    stages: tuple[Stage, ...]
    declared: tuple[Cut, ...]

    def __post_init__(self) -> None:
        for cut in self.declared:
            self._index(cut.stage)

    @property
    def cuts(self) -> tuple[str, ...]:
        """Names of the cuts, from the latent to the image."""
        return tuple(cut.name for cut in self.declared)

    def cut(self, name: str) -> Cut:
        """The named cut.

        Raises:
            ValueError: no such cut; the message lists those there are.
        """
        for cut in self.declared:
            if cut.name == name:
                return cut
        raise ValueError(f"cut {name!r} is not in this decoder; choose one of {', '.join(self.cuts)}")

    def position(self, cut: str) -> int:
        """How many stages the head of `cut` has.

        Raises:
            ValueError: no such cut.
        """
        return self._index(self.cut(cut).stage) + 1

    def _index(self, stage: str) -> int:
        names = [item.name for item in self.stages]
        if stage not in names:
            raise ValueError(f"stage {stage!r} is not in this decoder; its stages are {', '.join(names)}")
        return names.index(stage)

    def run(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Stages `start` to `stop`, in order."""
        for stage in self.stages[start:stop]:
            x = stage.run(x)
        return x
