"""Rules of the house, kept by machines."""

import ast
import re
import subprocess
from pathlib import Path

import pytest
import stages
import yaml

from fsr.config import Benchmark, Consistency, Params, Train
from fsr.config.rows import trained_methods
from fsr.datasets import read_registry
from fsr.provenance import module_sources
from fsr.sections import Section, read_yaml
from fsr.train.schedule import RESUMABLE, run_key

ROOT = Path(__file__).parents[1]
NOUNS = ("data", "latents", "probe", "train", "rivals", "benchmark", "report")


def tracked(root: Path, *patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=root, capture_output=True, text=True, check=True)
    return [root / name for name in listed.stdout.split("\0") if name and (root / name).is_file()]


@pytest.mark.parametrize("noun", NOUNS)
def test_one_noun_every_place(root, noun):
    module = {"data": "datasets"}.get(noun, noun)
    assert (root / f"workflow/rules/{noun}.smk").is_file()
    assert (root / f"src/fsr/{module}.py").is_file() or (root / f"src/fsr/{module}/__init__.py").is_file()
    assert (root / f"tests/test_{module}.py").is_file() or (root / f"tests/{module}").is_dir()
    assert noun in Params.model_fields
    assert noun in yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    assert f"rule {noun}:" in (root / f"workflow/rules/{noun}.smk").read_text()


def stages_of(root: Path) -> dict[str, dict]:
    return yaml.safe_load((root / "dvc.yaml").read_text())["stages"]


def outs_of(stage: dict) -> list[str]:
    return [next(iter(out)) if isinstance(out, dict) else out for out in stage["outs"]]


def commands_of(stage: dict) -> list[str]:
    return [stage["cmd"]] if isinstance(stage["cmd"], str) else stage["cmd"]


def test_every_dvc_stage_is_a_snakemake_call_for_its_own_rules_and_none_persists(root):
    assert tuple(stages_of(root)) == NOUNS == tuple(stages.CHAPTERS)
    for noun, stage in stages_of(root).items():
        first, *others = commands_of(stage)
        assert first == stages.command(noun), "run: make stages, and give the stage its rules"
        assert others == (["snakemake --cores 1 all --touch --forceall --quiet all"] if noun == "report" else [])
        assert "persist" not in str(stage["outs"])
    named = [rule for noun in NOUNS for rule in stages.rules(noun)]
    chapters = [file for file in (root / "workflow/rules").glob("*.smk") if file.name != "ablation.smk"]
    declared = re.findall(r"^ *rule (\w+):", "".join(map(Path.read_text, chapters)), flags=re.MULTILINE)
    assert sorted(named) == sorted(declared), "each rule is in one stage"


def test_no_stage_of_dvcs_writes_into_anothers_outs(root):
    places = [(noun, Path(out)) for noun, stage in stages_of(root).items() for out in outs_of(stage)]
    for noun, out in places:
        for _, other in [place for place in places if place != (noun, out)]:
            assert out != other and out not in other.parents, (noun, out, other)


@pytest.mark.parametrize("noun", NOUNS)
def test_every_file_of_a_rule_is_in_the_outs_of_its_stage(root, noun):
    """What Snakemake makes for the tiny study: DVC has it, but for logs, and for what jobs pass on and delete."""
    outs = [Path(out.replace("${experiment}", "tiny")) for out in outs_of(stages_of(root)[noun])]
    written = re.findall(r"output:\n((?: {8,}.*\n)+)", stages.text(noun))
    folders = {"CACHE": "data/latents/public/tiny", "PICTURES": "results/tiny/pictures/public"}
    folders |= {name: f"results/tiny/{name.lower()}" for name in ("DATA", "PROBE", "TRAIN", "RIVALS", "BENCHMARK")}
    folders |= {"REPORT": "results/tiny/report", "RESULTS": "results/tiny"}
    paths = [line for block in written for line in block.splitlines() if "temp(" not in line and '"' in line]
    found = [match for line in paths for match in re.findall(r'"((?:\{[A-Z]+\}|data)/[^"]*)"', line)]
    assert found
    for path in (path for path in found if not path.startswith("{LOGS}")):
        place = Path(re.sub(r"\{([A-Z]+)\}", lambda match: folders[match[1]], path).replace("{access}", "public"))
        assert any(out == place or out in place.parents for out in outs), place


@pytest.mark.parametrize("noun", NOUNS)
def test_a_stage_of_dvcs_looks_at_the_code_its_rules_look_at(root, noun):
    """Or the two would disagree on what a change makes anew."""
    deps = stages_of(root)[noun]["deps"]
    assert [dep for dep in deps if stages.is_code(dep)] == stages.code(noun), "run: make stages"
    embedded = "src/fsr/autoencoders/embedded"
    assert (embedded in deps) == ("autoencoder_files()" in stages.text(noun))


@pytest.mark.parametrize("noun", NOUNS)
def test_a_stage_of_dvcs_depends_on_every_parameter_its_rules_read(root, noun):
    stage, read = stages_of(root)[noun], set()
    chapter = stages.text(noun)
    for call in re.findall(r"sections\(([^)]*)\)", chapter):
        read |= set(re.findall(r'"(\w+)"', call))
    read |= {".".join(re.findall(r'"(\w+)"', match)) for match in re.findall(r'config((?:\["\w+"\])+)', chapter)}
    read |= {name.rstrip(".") for name in re.findall(r"PARAMS\.((?:[a-z_]+\.?)+)", chapter)}
    assert read
    # How a job is run, not what it makes; and how many share the work.
    spared = {"experiment", "latents.shards", "benchmark.shards", "train.processes"}
    synonyms = {
        "data.learning": ["data.train", "data.validation"],
        "data.held_back": ["data.test", "data.base_only", "data.reference"],
        # Intervals are computed for the report alone.
        "benchmark": [f"benchmark.{key}" for key in Benchmark.model_fields if key != "bootstrap" or noun == "report"],
    }
    for name in sorted(read - spared):
        for each in synonyms.get(name, [name]):
            assert any(each == given or each.startswith(f"{given}.") for given in stage["params"]), each


def test_dvc_gives_nothing_private_away(root):
    """Whatever is made of images that may not be given to others is in a folder of its own, which is not pushed."""
    for stage in stages_of(root).values():
        for out in stage["outs"]:
            path, options = next(iter(out.items())) if isinstance(out, dict) else (out, {})
            assert (options.get("push") is False) == ("private" in Path(path).parts), path
    registry = read_registry(root / "data/datasets.csv")
    public = [dataset for dataset in registry.values() if dataset.access == "public"]
    assert {dataset.name for dataset in public} == {"EmbeddedTrain", "Embedded5", "EmbeddedTiny", "Urban100"}
    for dataset in public:
        assert re.match(r"per image: CC0, public domain and CC BY|CC BY 4.0", dataset.licence)


def test_every_job_leaves_what_its_results_were_made_with(root):
    """A sidecar for whatever stays; what jobs pass on to each other and delete has none."""
    for file in (root / "workflow/rules").glob("*.smk"):
        for rule in re.split(r"^ *rule ", file.read_text(), flags=re.MULTILINE)[1:]:
            output = re.search(r"output:\n((?: {8,}.*\n)+)", rule)
            if output:
                kept = [line for line in output[1].splitlines() if re.match(r" +\w+=", line) and "temp(" not in line]
                exempt = rule.startswith("define_crops")
                assert exempt or not kept or any("provenance=" in line for line in kept), (file.name, rule[:20])


def test_the_package_knows_nothing_of_snakemake_or_dvc(root):
    for file in (root / "src/fsr").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"snakemake", "dvc"}, file


def test_planning_the_workflow_needs_no_torch(root):
    """Whatever a rule file imports: Snakemake reads them again in every job."""
    imported = {"config", "files", "sections"}
    for file in [root / "Snakefile", *(root / "workflow/rules").glob("*.smk")]:
        imported |= set(re.findall(r"^from fsr\.([\w.]+) import", file.read_text(), flags=re.MULTILINE))
    for file in module_sources(*sorted(imported)):
        assert not re.search(r"^(import|from) (torch|diffusers|pandas)\b", file.read_text(), flags=re.MULTILINE), file


def test_only_the_autoencoder_package_knows_its_pixel_range_and_latent_scaling(root):
    for file in (root / "src/fsr").rglob("*.py"):
        if "autoencoders" not in file.parts:
            assert not re.search(r"scaling_factor|shift_factor", file.read_text()), file


def test_no_device_is_hard_coded_and_nothing_is_pickled(root):
    for file in (root / "src/fsr").rglob("*.py"):
        assert not re.search(r"\.cuda\(\)|torch\.save\(|import pickle", file.read_text()), file
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                call, given = (
                    ast.unparse(node.func),
                    {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords},
                )
                assert call != "torch.load" or given.get("weights_only") == "True", file
                assert node.func.attr != "from_pretrained" or given.get("use_safetensors") == "True", file


def without_docstrings(file: Path) -> str:
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def test_no_key_of_a_service_is_read_but_where_it_is_used(root):
    """The hub's client reads HF_TOKEN itself; only the tracker knows WANDB_API_KEY, and nothing takes all there is."""
    reads = r"(?:environ(?:\.\w+)?[(\[]|getenv\()['\"](?:HF_TOKEN|HUGGING_FACE_HUB_TOKEN|WANDB_API_KEY)"
    for file in [*(root / "src/fsr").rglob("*.py"), *(root / "workflow").rglob("*.py")]:
        text = without_docstrings(file)
        if file != root / "src/fsr/train/tracking.py":
            assert "WANDB_API_KEY" not in text, file
            assert not re.search(reads, text), file
        assert not re.search(r"get_token\(|api_key=|\bdict\(os\.environ|(?<!env=)\{\*\*os\.environ", text), file


CANNOT_CHANGE_WEIGHTS = {
    "cut": "the run's own cut is in its key, whoever chose it",
    "trial_steps": "a cut that is tried goes on as if it had been alone",
    "hours": "where a run ends, not what a step does",
    "workers": "they read ahead what would be read anyway",
    "processes": "samples are numbered over all of them; only sums are rounded otherwise",
    "max_skipped": "when to give up",
    "checkpoint_every": "a resumed run is the same run",
    "checkpoint_tail": "activations made again are the same",
    "checkpoint_field": "likewise",
}


def other(value):
    """Something else of the same kind."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "?"
        case Section():
            name, inner = next(iter(value))
            return value.model_copy(update={name: other(inner)})
    return 1


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("name", Train.model_fields)
def test_a_training_parameter_names_its_run_unless_it_cannot_change_weights(params, name):
    """A run never goes on from the checkpoint of another; and is not begun anew for what makes no difference."""
    distilling = params.train.model_copy(update={"consistency": Consistency(weight=1, margin=0)})

    def same_run(train) -> bool:
        changed = train.model_copy(update={name: other(getattr(train, name))})
        keys = [run_key(params.model_copy(update={"train": item}), "f3", "", "float32") for item in (train, changed)]
        return keys[0] == keys[1]

    assert set(CANNOT_CHANGE_WEIGHTS) == RESUMABLE
    assert same_run(distilling) == (name in RESUMABLE)
    # Validation decides whether a teacher is heard, where there is one.
    assert same_run(params.train) == (name in RESUMABLE | {"validate_every"})


def test_files_are_short(root):
    lengths = {file: len(file.read_text().splitlines()) for file in (root / "src/fsr").rglob("*.py")}
    lengths |= {file: len(file.read_text().splitlines()) for file in (root / "workflow/scripts").glob("*.py")}
    assert {file.name: n for file, n in lengths.items() if n > (28 if "scripts" in file.parts else 300)} == {}
    assert len((root / "Snakefile").read_text().splitlines()) <= 60
    assert all(len(file.read_text().splitlines()) <= 120 for file in (root / "workflow/rules").glob("*.smk"))


def test_every_public_function_and_class_says_what_it_is(root):
    missing = []
    for file in (root / "src/fsr").rglob("*.py"):
        for node in ast.parse(file.read_text()).body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and not ast.get_docstring(node):
                missing.append(f"{file.relative_to(root / 'src/fsr')}:{node.name}")
    assert [name for name in missing if not name.startswith("config/")] == []


def test_the_repository_holds_no_data_and_only_small_weights(root):
    images = tracked(root, "data", "*.jpg", "*.png")
    tables = ("datasets.csv", "published.csv", "training_costs.csv")
    assert all("results" in file.parts or "docs" in file.parts or file.name in tables for file in images)
    weights = tracked(root, "*.safetensors", "*.pth", "*.pt", "*.ckpt")
    assert all(file.suffix == ".safetensors" for file in weights)
    assert sum(file.stat().st_size for file in weights) <= 20e6


def test_the_default_experiments_rows_and_cuts_are_complete(root):
    params = read_yaml(Params, root / "params.yaml")
    assert params.probe.cuts == ["f1", "f2", "f3", "f4", "f5"]
    honest = {"bicubic", "decoded_bicubic", "latent_bicubic", "feature_bicubic", "vae_roundtrip"}
    assert set(params.benchmark.upscalers) >= honest | {"fsr", "fsr_euler4"}
    assert {method.kind for method in params.rivals.methods.values()} == {"lua", "lsrna"}
    assert set(trained_methods(params)) == set(params.rivals.methods), "each is measured"
    decided_by_ablation = {"flow", "endpoint", "fft"}
    assert {name for name, weight in params.train.losses.model_dump().items() if not weight} == decided_by_ablation


@pytest.mark.parametrize(
    ("text", "block", "path"), [line.split() for line in (ROOT / "docs/tables.txt").read_text().splitlines()]
)
def test_tables_in_texts_are_the_committed_results(root, text, block, path):
    shown = (root / text).read_text().split(f"<!-- fsr:{block} -->")[1].split(f"<!-- /fsr:{block} -->")[0]
    # As committed: a run on another machine may differ in the last digit.
    committed = subprocess.run(["git", "show", f":{path}"], cwd=root, capture_output=True, text=True, check=True).stdout
    assert shown.strip() == committed.strip(), "run: make texts"


def test_every_block_of_a_text_has_its_table(root):
    listed = {tuple(line.split()[:2]) for line in (root / "docs/tables.txt").read_text().splitlines()}
    texts = [root / "README.md", *(root / "docs").glob("*.md")]
    names = {(file.relative_to(root).as_posix(), name) for file in texts
             for name in re.findall(r"<!-- fsr:(\w+) -->", file.read_text())}  # fmt: skip
    assert names - {("docs/workflow.md", "rulegraph")} == listed


def test_a_target_stands_before_the_option_that_takes_several_files(root):
    """Snakemake would take a target behind --configfile FILE for another file."""
    texts = [root / "README.md", *(root / "docs").glob("*.md"), *(root / "experiments").glob("*.yaml")]
    commands = [line for file in texts for line in file.read_text().splitlines() if "--configfile experiments" in line]
    assert len(commands) >= 5
    for command in commands:
        assert re.search(r"(all|ablation) --configfile experiments/\w+\.yaml(?! +[\w-]+ *$)", command), command


def test_the_rulegraph_is_the_workflows(root):
    """Every rule of the study is in the drawing, under its name."""
    text = (root / "docs/workflow.md").read_text()
    drawn = set(re.findall(r"id\d+\[(\w+)\]", text.split("<!-- fsr:rulegraph -->")[1]))
    on_request = {"ablation.smk"}
    chapters = [file for file in (root / "workflow/rules").glob("*.smk") if file.name not in on_request]
    text = "".join(file.read_text() for file in chapters)
    # The default study generates no set, has no reference, and no budget of time.
    unused = {"generate", "reference_features", "time_steps"}
    assert drawn == set(re.findall(r"^ *rule (\w+):", text, flags=re.MULTILINE)) - set(NOUNS) - unused | {"all"}


def test_no_two_files_of_tests_have_one_name(root):
    """pytest imports them by their names alone."""
    names = [file.name for file in tracked(root, "tests/*.py") if file.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))
