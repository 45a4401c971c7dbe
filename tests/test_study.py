"""The real commands, on the tiny study."""

import csv
import hashlib
import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from PIL import Image
from tiny_flux import save_tiny_flux

from fsr.datasets import find, read_registry

WEIGHTS = "diffusion_pytorch_model.safetensors"
AFTER_ROWS = {"benchmark_rows", "benchmark_set", "distribution", "build_report"}
AFTER_TRAINING = {"search_rate", "train_rival", "list_rivals", "measure_runtime", *AFTER_ROWS}


def snakemake(root: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = ["snakemake", "--snakefile", root / "Snakefile", "--directory", folder, "--cores", "1", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def jobs(root: Path, folder: Path, *arguments: str) -> dict[str, int]:
    """Jobs that a dry run would execute, by rule."""
    output = snakemake(root, folder, "--dry-run", *arguments)
    assert output.returncode == 0, output.stdout + output.stderr
    text = (output.stdout + output.stderr).split("Job stats:")
    lines = (line.split() for line in text[1].split("total")[0].splitlines()) if len(text) > 1 else []
    return {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit() and words[0] != "all"}


def planned(root: Path, folder: Path, *arguments: str) -> set[str]:
    """Rules that a dry run would execute."""
    return set(jobs(root, folder, *arguments))


def change(folder: Path, edit) -> None:
    values = yaml.safe_load((folder / "params.yaml").read_text())
    edit(values)
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def new_study(root: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(root / "tests/tiny/params.yaml", folder)
    return folder


@pytest.fixture(scope="module")
def study(root, tmp_path_factory) -> Path:
    """The whole tiny study, run once."""
    folder = new_study(root, tmp_path_factory.mktemp("study"))
    output = snakemake(root, folder, "all")
    assert output.returncode == 0, output.stdout + output.stderr
    return folder


@pytest.fixture
def copied(study, tmp_path_factory) -> Path:
    """A copy of the finished study, free to change; as deep as it, for recorded paths to the code are relative."""
    return Path(shutil.copytree(study, tmp_path_factory.mktemp("copy"), dirs_exist_ok=True))


def tables(folder: Path) -> dict[str, str]:
    results = folder / "results/tiny"
    files = [*results.glob("report/tables/*"), *results.glob("benchmark/x*/*.csv"), results / "probe/probe.csv",
             results / "train/log.csv", *results.glob("train/model/*"), *results.glob("report/figures/*"),
             *folder.glob("data/latents/public/tiny/*.safetensors")]  # fmt: skip
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_it_leaves_everything_a_reader_needs(study):
    report = study / "results/tiny/report"
    assert (report / "index.html").stat().st_size > 10_000
    rows = list(csv.DictReader((report / "tables/benchmark.csv").open()))
    assert {row["upscaler"] for row in rows} >= {"bicubic", "feature_bicubic", "fsr", "vae_roundtrip"}
    logs = list((study / "results/tiny/logs").rglob("*.benchmark.tsv"))
    assert len(logs) == 23, "each job leaves what it took"


def test_a_second_call_has_nothing_to_do(root, study):
    assert planned(root, study) == set()


def test_a_key_of_train_reruns_training_and_what_follows(root, copied):
    change(copied, lambda values: values["train"].update(lr=0.002))
    assert planned(root, copied) == {"train_field", *AFTER_TRAINING}
    change(copied, lambda values: values["train"].update(batch=1))
    assert planned(root, copied) == {"train_field", *AFTER_TRAINING}


def test_a_key_of_a_rival_trains_it_alone(root, copied):
    change(copied, lambda values: values["rivals"]["methods"]["lua"].update(head_width=8))
    assert planned(root, copied) == AFTER_TRAINING
    counts = jobs(root, copied)
    assert (counts["search_rate"], counts["train_rival"]) == (1, 1)


def test_a_key_the_rivals_do_not_read_leaves_them_as_they_were(root, copied):
    """Their jobs run, and find their checkpoints finished."""
    weights = [copied / f"results/tiny/rivals/{model}/model/{WEIGHTS}" for model in ("lua_steps", "lsrna_steps")]
    before, checkpoints = [file.read_bytes() for file in weights], set((copied / ".cache/rivals").iterdir())
    change(copied, lambda values: values["train"].update(lr=0.002))
    output = snakemake(root, copied, "rivals")
    assert output.returncode == 0, output.stdout + output.stderr
    assert [file.read_bytes() for file in weights] == before
    assert set((copied / ".cache/rivals").iterdir()) == checkpoints, "no run was begun"


def test_a_key_of_report_trains_nothing(root, copied):
    change(copied, lambda values: values["report"].update(zooms=2))
    assert planned(root, copied) == {"build_report"}


def test_a_key_of_probes_weights_measures_nothing_again(root, copied):
    change(copied, lambda values: values["probe"]["weights"].update(cost=0.1))
    assert planned(root, copied) == {"select_cut", "train_field", *AFTER_TRAINING}


def test_a_key_of_latents_is_seen_beside_a_new_test_set(root, copied):
    """Which alone encodes nothing again: both are behind the check for leakage."""
    change(copied, lambda values: values["data"].update(test=["Embedded5"]))
    assert not planned(root, copied) & {"define_crops", "encode_shard", "train_field"}
    change(copied, lambda values: values["latents"].update(crops=10))
    assert planned(root, copied) >= {"define_crops", "encode_shard", "encode", "train_field"}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda v: v["train"].update(stepz=1), "train.stepz is not a known key; check its spelling"),
        (lambda v: v["train"].update(steps=-5), "train.steps is -5: input should be greater than 0"),
        (lambda v: v["train"].update(cut="f9"), "train.cut is 'f9': input should be 'best', 'f1'"),
        (
            lambda v: v["data"].update(test=["FLUX179"], folders={"FLUX179": "nowhere"}),
            "no images of FLUX179 in nowhere (data.folders)",
        ),
        (
            lambda v: v["data"].update(test=["FLUX179"], mirror="nowhere"),
            "the mirror nowhere is not a folder; correct data.mirror or FSR_MIRROR",
        ),
        (
            lambda v: v["vae"].update({"class": "Unknown"}),
            "vae.class is 'Unknown': input should be 'AutoencoderKL'",
        ),
    ],
)
def test_wrong_params_stop_before_anything_runs_in_one_line(root, tmp_path, edit, message):
    folder = new_study(root, tmp_path)
    change(folder, edit)
    output = snakemake(root, folder, "all")
    assert output.returncode != 0
    errors = [line for line in (output.stdout + output.stderr).splitlines() if message in line]
    assert len(errors) == 1
    assert "Traceback" not in output.stdout + output.stderr
    assert not (folder / "results").exists()


def test_an_unknown_set_is_named_with_the_known_ones(root, tmp_path):
    folder = new_study(root, tmp_path)
    change(folder, lambda values: values["data"].update(test=["Set6"]))
    output = snakemake(root, folder, "data")
    assert "error in rule dataset: dataset 'Set6' is not in the registry; choose one of " in output.stderr
    assert "Traceback" not in output.stdout + output.stderr


def test_a_new_test_set_trains_nothing_and_one_that_cannot_be_had_is_named_in_the_tables(root, copied):
    change(copied, lambda values: values["data"].update(test=["EmbeddedTiny", "Manga109"], optional=["Manga109"]))
    assert planned(root, copied) == {"dataset", "list_sets", "leakage", "accept_leakage", *AFTER_ROWS}
    output = snakemake(root, copied, "all")
    assert output.returncode == 0, output.stdout + output.stderr
    report = copied / "results/tiny/report"
    for text in ((report / "tables/benchmark.md").read_text(), (report / "index.html").read_text()):
        assert "Manga109: not available (dataset Manga109 is not at hand and is never fetched: Ask its authors" in text
    assert planned(root, copied) == set()


def test_a_set_that_cannot_be_had_is_an_error_where_the_study_may_not_go_on_without_it(root, tmp_path):
    folder = new_study(root, tmp_path)
    change(folder, lambda values: values["data"].update(test=["Manga109"]))
    output = snakemake(root, folder, "data")
    assert (
        "error in rule dataset: dataset Manga109 is not at hand and is never fetched: Ask its authors" in output.stderr
    )
    assert "set data.folders.Manga109 to its folder" in output.stderr
    assert "Traceback" not in output.stdout + output.stderr


def test_a_training_image_that_shows_a_test_image_stops_the_study_before_training(root, tmp_path):
    """A set without registered content, of which one image is cut from a training photograph."""
    folder, leaking = new_study(root, tmp_path / "study"), tmp_path / "leaking"
    leaking.mkdir()
    photographs = find(read_registry(root / "data/datasets.csv")["EmbeddedTrain"]).files
    china = Image.open(photographs["china"])
    china.crop((100, 50, 420, 290)).save(leaking / "pagoda.png")
    for index in range(99):
        Image.new("RGB", (32, 32), (index, 0, 0)).save(leaking / f"{index}.png")
    sets = {"test": ["EmbeddedTiny", "DIV2K_valid"], "folders": {"DIV2K_valid": str(leaking)}}
    change(folder, lambda values: values["data"].update(sets))
    output = snakemake(root, folder, "train")
    assert (
        "error in rule accept_leakage: training image EmbeddedTrain/china shows test image DIV2K_valid/pagoda"
        in output.stderr
    )
    assert "data.exclude: {EmbeddedTrain: [china]}" in output.stderr
    assert (folder / "results/tiny/data/leakage.png").is_file()
    assert not list((folder / "data/latents").rglob("*.safetensors")), "nothing was encoded"
    change(folder, lambda values: values["data"].update(exclude={"EmbeddedTrain": ["china"]}))
    output = snakemake(root, folder, "data")
    assert output.returncode == 0, output.stdout + output.stderr
    assert not (folder / "data/raw/public/EmbeddedTrain/china.jpg").exists()


def test_a_set_is_generated_where_it_is_not_at_hand(root, tmp_path):
    folder = new_study(root, tmp_path / "study")
    save_tiny_flux(tmp_path / "flux")
    (tmp_path / "prompts.txt").write_text("a red house\na blue boat\n")
    section = {"model": str(tmp_path / "flux"), "prompts": str(tmp_path / "prompts.txt"), "size": 64, "steps": 1}
    change(folder, lambda values: (values["data"].update(test=["FLUX179"]), values["generate"].update(section)))
    assert "generate" in planned(root, folder)
    output = snakemake(root, folder, "data/raw/private/FLUX179/manifest.json")
    assert output.returncode == 0, output.stdout + output.stderr
    manifest = json.loads((folder / "data/raw/private/FLUX179/manifest.json").read_text())
    assert manifest["source"] == "generated"
    assert [Image.open(folder / "data/raw/private/FLUX179" / file["name"]).size for file in manifest["files"]] == [
        (64, 64)
    ] * 2
    change(folder, lambda values: values["data"].update(optional=["FLUX179"]))
    assert "generate" not in planned(root, folder)


def test_one_field_for_two_scales_tried_at_two_cuts_beside_other_fields(root, tmp_path):
    folder = new_study(root, tmp_path)
    change(folder, lambda values: (values.update(scales=[2, 4]), values["latents"].update(crop_size=64)))
    change(folder, lambda values: values["probe"].update(margin=10.0))
    other = {"kind": "fsr", "cut": "f3", "field": {"hidden": 16}, "losses": {"rgb": 1.0}, "group": "one size"}
    change(folder, lambda values: values["rivals"].update(seeds=[7]))
    change(folder, lambda values: values["rivals"]["methods"].update(fsr_wide=other, fsr_last=other | {"cut": "f5"}))
    fields = ["fsr", "fsr_seed7", "fsr_wide_steps", "fsr_last_steps", "feature_bicubic_f3"]
    rows = ["bicubic", "decoded_bicubic", "feature_bicubic", *fields, "lua_steps", "vae_roundtrip"]
    change(folder, lambda values: values["benchmark"].update(upscalers=rows))
    output = snakemake(root, folder, "all")
    assert output.returncode == 0, output.stdout + output.stderr
    results = folder / "results/tiny"
    field = json.loads((results / "train/model/config.json").read_text())
    assert field["scales"] == [2, 4]
    decision = json.loads((results / "train/cut.json").read_text())
    assert decision["decided_by"] == "trial"
    tried = {trial["cut"]: trial["validation_rgb_l1"] for trial in decision["trials"]}
    assert set(tried) == {"f3", "f5"}
    assert decision["cut"] == field["cut"] == min(tried, key=tried.get)
    rows = list(csv.DictReader((results / "report/tables/benchmark.csv").open()))
    assert {row["scale"] for row in rows} == {"2", "4"}
    psnr = {row["scale"]: float(row["psnr"]) for row in rows if row["upscaler"] == "bicubic" and row["target"] == "hr"}
    assert psnr["4"] < psnr["2"]
    assert len([row for row in rows if row["upscaler"] == "lua_steps" and row["target"] == "hr"]) == 2
    psnr = {row["upscaler"]: row["psnr"] for row in rows if row["scale"] == "2" and row["target"] == "x_H_rec"}
    assert len({psnr[name] for name in fields}) == len(fields), "each is another field"
    wide = json.loads((results / "rivals/fsr_wide_steps/model/config.json").read_text())
    assert (wide["cut"], wide["hidden"]) == ("f3", 16)
    repeats = list(csv.DictReader((results / "report/tables/repeats.csv").open()))
    spread = {row["scale"]: float(row["spread"]) for row in repeats if row["target"] == "x_H_rec"}
    assert spread["2"] == pytest.approx(abs(float(psnr["fsr"]) - float(psnr["fsr_seed7"])), abs=1e-5)
    cuts = list(csv.DictReader((results / "report/machine/cuts.csv").open()))
    assert {(row["cut"], row["upscaler"]) for row in cuts} == {("f3", "fsr_wide_steps"), ("f5", "fsr_last_steps")}


def test_a_method_that_is_not_measured_is_not_trained(root, copied):
    rows = ["bicubic", "decoded_bicubic", "feature_bicubic", "fsr", "vae_roundtrip"]
    change(copied, lambda values: values["benchmark"].update(upscalers=rows))
    assert planned(root, copied) == {"list_rivals", "measure_runtime", *AFTER_ROWS}


def test_an_ablation_is_planned_on_request_alone(root, copied):
    assert planned(root, copied, "ablation") == {"time_variants", "train_variant", "tabulate_variants", "ablation"}


@pytest.mark.parametrize("name", ["taef2", "flux", "smoke"])
def test_a_preset_is_planned_over_the_default(root, tmp_path, name):
    shutil.copy(root / "params.yaml", tmp_path)
    preset = ("--configfile", str(root / f"experiments/{name}.yaml"))
    rules = planned(root, tmp_path, "all", *preset)
    expected = {
        "define_crops",
        "list_sets",
        "dataset",
        "leakage",
        "accept_leakage",
        "encode_shard",
        "encode",
        "probe_cut",
        "select_cut",
        "train_field",
    }
    of_flux = {"generate", "reference_features"} if name == "flux" else set()
    assert rules == expected | AFTER_TRAINING | {"time_steps"} | of_flux


def test_a_missing_image_is_named(root, copied):
    (copied / "data/raw/public/EmbeddedTiny/rocket.jpg").unlink()
    output = snakemake(root, copied, "--forcerun", "benchmark_rows", "--", "benchmark")
    assert "rocket.jpg is missing though" in output.stderr
    assert "Traceback" not in output.stdout + output.stderr


def test_results_that_cannot_be_written_are_named(root, tmp_path):
    folder = new_study(root, tmp_path)
    (folder / "results").write_text("a file where a folder is needed")
    output = snakemake(root, folder, "data")
    assert output.returncode != 0
    assert "results: a file stands where a folder is needed; move it away" in output.stdout + output.stderr
    assert "Traceback" not in output.stdout + output.stderr


def test_a_killed_job_loses_no_finished_file(root, tmp_path):
    """SIGKILL while encoding: the next call goes on, and ends with a whole cache."""
    folder = new_study(root, tmp_path)
    change(folder, lambda values: values["latents"].update(file_crops=1, crops=60, batch=1))
    assert snakemake(root, folder, "data").returncode == 0
    command = ["snakemake", "--snakefile", root / "Snakefile", "--directory", folder, "--cores", "1", "latents"]
    shards = folder / "data/latents/public/tiny"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as process:
        deadline = time.monotonic() + 120
        while len(list(shards.glob("train-*.safetensors"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        subprocess.run(["pkill", "-KILL", "--session", str(process.pid)], check=True)
    finished = {file: file.stat().st_mtime_ns for file in shards.glob("train-*.safetensors")}
    assert 3 <= len(finished) < 60
    assert not (shards / "manifest.json").exists()
    assert snakemake(root, folder, "--unlock").returncode == 0
    assert snakemake(root, folder, "latents").returncode == 0
    assert {file: file.stat().st_mtime_ns for file in finished} == finished
    assert len(list(shards.glob("train-*.safetensors"))) == 60


def test_the_same_params_give_the_same_bytes_in_however_many_shards(root, study, tmp_path):
    folder = new_study(root, tmp_path)
    change(folder, lambda values: (values["latents"].update(shards=2), values["benchmark"].update(shards=2)))
    output = snakemake(root, folder, "all")
    assert output.returncode == 0, output.stdout + output.stderr
    assert tables(folder) == tables(study)
    assert len(tables(study)) > 15
    for rule in ("encode_shard", "benchmark_rows"):
        assert len(list((folder / f"results/tiny/logs/{rule}").rglob("*-of-2.benchmark.tsv"))) == 2
