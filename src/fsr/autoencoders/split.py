"""The decoder as a list of named stages; a cut is an index into it, head and tail are slices."""

from collections.abc import Callable
from dataclasses import dataclass

from diffusers import AutoencoderKL
from torch import Tensor, nn

CUTS = ("f1", "f2", "f3", "f4", "f5")

KL_CUT_STAGES = {
    "f1": "decoder.conv_in",
    "f2": "decoder.up_blocks.0",
    "f3": "decoder.up_blocks.1",
    "f4": "decoder.up_blocks.2",
    "f5": "decoder.conv_act",
}


@dataclass(frozen=True)
class Stage:
    """One step of the decoder, under the name the model's own modules have."""

    name: str
    run: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class SplitDecoder:
    """Stages from the unscaled latent to the image in [-1, 1], and the stage each cut lies behind."""

    stages: tuple[Stage, ...]
    cut_stages: dict[str, str]

    def __post_init__(self) -> None:
        for stage in self.cut_stages.values():
            self._index(stage)

    @property
    def cuts(self) -> tuple[str, ...]:
        return tuple(self.cut_stages)

    def position(self, cut: str) -> int:
        """How many stages the head of `cut` has.

        Raises:
            ValueError: no such cut; the message lists those there are.
        """
        if cut not in self.cut_stages:
            raise ValueError(f"cut {cut!r} is not in this decoder; choose one of {', '.join(self.cut_stages)}")
        return self._index(self.cut_stages[cut]) + 1

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


def split_kl_decoder(model: AutoencoderKL) -> SplitDecoder:
    """The stages of any AutoencoderKL, in the order its own decode runs them.

    Raises:
        ValueError: the decoder has fewer than three up blocks, so the named cuts do not exist.
    """
    decoder = model.decoder
    stages = [] if model.post_quant_conv is None else [_stage("post_quant_conv", model.post_quant_conv)]
    stages += [_stage("decoder.conv_in", decoder.conv_in), _stage("decoder.mid_block", decoder.mid_block)]
    stages += [_stage(f"decoder.up_blocks.{i}", block) for i, block in enumerate(decoder.up_blocks)]
    stages += [_stage(f"decoder.{name}", getattr(decoder, name)) for name in ("conv_norm_out", "conv_act", "conv_out")]
    return SplitDecoder(tuple(stages), KL_CUT_STAGES)


def _stage(name: str, module: nn.Module) -> Stage:
    return Stage(name, module)
