"""What to change where a step does not fit into memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from diffusers import ModelMixin

from fsr.config import Params
from fsr.plan.settings import changed
from fsr.plan.step import StepPlan, plan_step
from fsr.plan.structure import model_from_config
from fsr.progress import progress_bar

SMALLEST_TILE = 64
SMALLEST_FIELD = 8


@dataclass(frozen=True)
class Remedy:
    """`settings` (dotted names), on top of those of the remedies before it, and the plan they lead to."""

    settings: dict[str, Any]
    plan: StepPlan


@dataclass(frozen=True)
class CutPlan:
    """A plan, and what was found to bring it within a limit; empty where it is, or where there is none."""

    plan: StepPlan
    remedies: tuple[Remedy, ...]


def plan_cuts(params: Params, cuts: Sequence[str], limit: int | None = None) -> list[CutPlan]:
    """A plan for each cut, with remedies where it is over `limit` bytes.

    Raises:
        ValueError: no such cut, or an automatic precision for a device that is not here.
        FileNotFoundError: no configuration at `params.vae.path`.
    """
    model, planned = model_from_config(params.vae), []
    with progress_bar("plan", len(cuts)) as advance:
        for cut in cuts:
            plan = plan_step(params, cut, model)
            planned.append(CutPlan(plan, () if limit is None else find_remedies(params, plan, limit, model)))
            advance(cut)
    return planned


def find_remedies(params: Params, plan: StepPlan, limit: int, model: ModelMixin | None = None) -> tuple[Remedy, ...]:
    """Changes of `train`, one on top of the other, until the predicted peak is within `limit` bytes.

    They are tried in the order of `possible_changes`; those that lower nothing are left out. Where the last one's plan
    is not within the limit, they do not suffice.

    Args:
        plan: the one of `params`. model: as for `plan_step`.
    """
    taken: list[Remedy] = []
    for settings in possible_changes(params):
        if plan.total <= limit:
            break
        candidate = changed(params, settings)
        found = plan_step(candidate, plan.cut, model)
        if found.total < plan.total:
            params, plan = candidate, found
            taken.append(Remedy(settings, plan))
    return tuple(taken)


def possible_changes(params: Params) -> Iterator[dict[str, Any]]:
    """Changes that save memory: first those that cost time and nothing else, then those of what is trained."""
    train, side = params.train, params.train.feature_tile or params.latents.crop_size
    if not train.checkpoint_tail:
        yield {"train.checkpoint_tail": True}
    if not train.checkpoint_field:
        yield {"train.checkpoint_field": True}
    if train.batch > train.processes:
        crops = train.batch * train.accumulation
        yield {"train.batch": train.processes, "train.accumulation": crops // train.processes}
    tile = side // 2 // SMALLEST_TILE * SMALLEST_TILE
    if tile:
        yield {"train.feature_tile": tile}
    if train.field.patch == 1:
        yield {"train.field.patch": 2}
    hidden = train.field.hidden // 2 // SMALLEST_FIELD * SMALLEST_FIELD
    if hidden:
        yield {"train.field.hidden": hidden}
