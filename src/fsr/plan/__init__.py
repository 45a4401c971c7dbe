"""Memory and FLOPs of a training step, predicted before anything is run."""

from fsr.plan.advice import CutPlan, Remedy, find_remedies, plan_cuts
from fsr.plan.settings import changed, parse_setting
from fsr.plan.step import StepPlan, plan_step
from fsr.plan.structure import model_from_config
from fsr.plan.table import as_json, plans_markdown, shown_plans

__all__ = [
    "CutPlan",
    "Remedy",
    "StepPlan",
    "as_json",
    "changed",
    "find_remedies",
    "model_from_config",
    "parse_setting",
    "plan_cuts",
    "plan_step",
    "plans_markdown",
    "shown_plans",
]
