"""What a stage of dvc.yaml runs, as its rules say it: python workflow/stages.py writes the code among the deps.

Snakemake looks at the files that a rule's script imports; DVC must look at the same ones, or the two would disagree on
what a change makes anew.
"""

import re
from pathlib import Path

from ruamel.yaml import YAML

from fsr.provenance import module_sources

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = {  # of workflow/rules, by stage
    "data": ("data", "leakage"),
    "latents": ("latents",),
    "probe": ("probe",),
    "train": ("train",),
    "rivals": ("budgets", "rivals"),
    "benchmark": ("benchmark", "distribution", "runtime"),
    "report": ("report",),
}


def chapters(stage: str) -> list[Path]:
    """The files of rules that a stage runs."""
    return [ROOT / f"workflow/rules/{name}.smk" for name in CHAPTERS[stage]]


def text(stage: str) -> str:
    """Those files' text."""
    return "".join(file.read_text(encoding="utf-8") for file in chapters(stage))


def rules(stage: str) -> list[str]:
    """Names of a stage's rules, the target first."""
    names = re.findall(r"^ *rule (\w+):", text(stage), flags=re.MULTILINE)
    return [stage, *(name for name in names if name != stage)]


def code(stage: str) -> list[str]:
    """First-party files that the jobs of a stage run, or packages where all modules are among them, from the root."""
    calls = re.findall(r"\bcode\(([^)]*)\)", text(stage))
    modules = {name for call in calls for name in re.findall(r'"([\w.]+)"', call)}
    scripts = [ROOT / "workflow/scripts" / name for name in re.findall(r'"\.\./scripts/(\w+\.py)"', text(stage))]
    files = {*module_sources(*sorted(modules)), *chapters(stage), *scripts}
    packages = {file.parent for file in files if file.with_name("__init__.py").is_file()}
    whole = {folder for folder in packages if files.issuperset(folder.rglob("*.py"))}
    kept = {path for path in files | whole if not whole & set(path.parents)}
    return sorted(path.relative_to(ROOT).as_posix() for path in kept)


def is_code(dep: str) -> bool:
    """Whether a dependency of dvc.yaml is code, rather than data that a stage reads."""
    return dep.endswith((".py", ".smk")) or (ROOT / dep / "__init__.py").is_file()


def command(stage: str) -> str:
    """The call of Snakemake that makes a stage and nothing of another."""
    return f"snakemake --cores 1 {stage} --allowed-rules {' '.join(rules(stage))}"


def write(path: Path) -> None:
    """Bring the code in dvc.yaml up to date; everything else in it stays."""
    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    content = yaml.load(path.read_text(encoding="utf-8"))
    for name, stage in content["stages"].items():
        first = next(index for index, dep in enumerate(stage["deps"]) if is_code(dep))
        del stage["deps"][first:]
        stage["deps"].extend(code(name))
    yaml.dump(content, path)


if __name__ == "__main__":
    write(ROOT / "dvc.yaml")
