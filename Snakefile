"""FSR: one-step rectified flow in a frozen decoder's feature space. Chapters: workflow/rules/."""

import os
import sys
from pathlib import Path

from snakemake.utils import min_version

# The package beside this file, whichever is installed: a copy of the repository (dvc exp run --temp) runs its own code.
sys.path.insert(0, f"{workflow.basedir}/src")
os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, [sys.path[0], os.environ.get("PYTHONPATH")])))

from fsr.config import Params
from fsr.files import check_writable
from fsr.sections import validated

min_version("9.0")


configfile: "params.yaml"


# One typed object instead of a nested dict: a wrong key or value, or a folder that cannot be written, stops here.
try:
    PARAMS = validated(Params, config, "params")
    check_writable("data")
    check_writable("results")
except (ValueError, OSError) as error:
    raise WorkflowError(str(error)) from None

ROOT = Path(workflow.basedir)
SRC = ROOT / "src/fsr"
RESULTS = f"results/{PARAMS.experiment}"
LOGS = f"{RESULTS}/logs"


include: "workflow/rules/common.smk"
include: "workflow/rules/lock.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/leakage.smk"
include: "workflow/rules/latents.smk"
include: "workflow/rules/probe.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/ablation.smk"
include: "workflow/rules/budgets.smk"
include: "workflow/rules/rivals.smk"
include: "workflow/rules/benchmark.smk"
include: "workflow/rules/distribution.smk"
include: "workflow/rules/runtime.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        rules.list_sets.output.learning,
        rules.rivals.input,
        rules.report.input,
    localrule: True
