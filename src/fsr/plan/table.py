"""Plans as a table for people, and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from fsr.config import Params
from fsr.plan.advice import CutPlan
from fsr.plan.settings import shown_setting
from fsr.plan.step import StepPlan
from fsr.precision import autocast_dtype

GIB = 2**30


def shown_plans(
    params: Params, planned: Sequence[CutPlan], limit: int | None = None, speed: float | None = None
) -> Group:
    """A line for each cut; below the table, for each cut over `limit` bytes, what to change.

    Args:
        speed: operations a second that the device keeps up in training; for the seconds of a step, and the hours.
    """
    table = Table(title=_title(params), caption=_caption(params))
    table.add_column("cut")
    for heading in headings(speed):
        table.add_column(heading, justify="right")
    for item in planned:
        table.add_row(*cells(item.plan, params.train.steps, speed))
    return Group(table, *map(Text, advices(planned, limit)))


def plans_markdown(
    params: Params, planned: Sequence[CutPlan], limit: int | None = None, speed: float | None = None
) -> str:
    """The same as Markdown."""
    lines = [("cut", *headings(speed)), (":---", *["---:"] * len(headings(speed)))]
    lines += [cells(item.plan, params.train.steps, speed) for item in planned]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    told = [f"**{_title(params)}**", table, _caption(params), *advices(planned, limit)]
    return "\n\n".join(told) + "\n"


def _title(params: Params) -> str:
    return f"{params.experiment}: predicted memory of training, GiB in a process"


def _caption(params: Params) -> str:
    train, runtime = params.train, params.runtime
    return (
        f"crops of {params.latents.crop_size} pixels, batch {train.batch}, accumulation {train.accumulation}, "
        f"processes {train.processes}, {autocast_dtype(runtime)} on {runtime.device}; peak = fixed + the larger of "
        "step and validation"
    )


def headings(speed: float | None) -> tuple[str, ...]:
    """Of the columns beside the cut."""
    known = ("field's weights", "TFLOPs step", "TFLOPs inference", "fixed", "step", "validation", "peak")
    return known if speed is None else (*known, "s per step", "hours of all steps")


def cells(plan: StepPlan, steps: int, speed: float | None) -> tuple[str, ...]:
    """A line of the table."""
    memory = (plan.fixed, plan.activations, plan.validation, plan.total)
    flops = (f"{value / 1e12:.3g}" for value in (plan.step_flops, plan.inference_flops))
    line = (plan.cut, f"{plan.parameters:,}", *flops, *(f"{value / GIB:.2f}" for value in memory))
    if speed is None:
        return line
    seconds = plan.step_flops / speed
    return (*line, f"{seconds:.3g}", f"{seconds * steps / 3600:.3g}")


def advices(planned: Sequence[CutPlan], limit: int | None) -> list[str]:
    """What to change, for each cut over `limit` bytes."""
    return [advice(item, limit) for item in planned if limit is not None and item.plan.total > limit]


def advice(item: CutPlan, limit: int) -> str:
    """What brings a plan within `limit` bytes, as a sentence with the predicted numbers."""
    text, last = f"{item.plan.cut} needs {item.plan.total / GIB:.2f} of {limit / GIB:g} GiB", item.plan
    if item.remedies:
        last = item.remedies[-1].plan
        steps = (
            f"{' '.join(shown_setting(*setting) for setting in remedy.settings.items())} "
            f"({remedy.plan.total / GIB:.2f})"
            for remedy in item.remedies
        )
        text += f"; set {', '.join(steps)}"
    if last.total > limit:
        text += "; that is not enough: lower latents.crop_size, or take another cut"
    return text


def as_json(planned: Sequence[CutPlan]) -> list[dict[str, Any]]:
    """A mapping for each cut; memory in bytes."""
    return [
        _plain(item.plan)
        | {"remedies": [{"settings": remedy.settings, "plan": _plain(remedy.plan)} for remedy in item.remedies]}
        for item in planned
    ]


def _plain(plan: StepPlan) -> dict[str, Any]:
    return asdict(plan) | {"fixed": plan.fixed, "total": plan.total}
