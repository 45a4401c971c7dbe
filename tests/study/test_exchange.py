"""Snakemake and DVC together, by their real commands, on the tiny study in clones of the repository."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from commands import STAGES, WEIGHTS, call, change, commit, copy, planned, stages, started, wait_for, weights
from exchange import changes, private_sets
from PIL import Image

from fsr.datasets import read_registry

UP_TO_DATE = "Data and pipelines are up to date."


def exchange(folder: Path, name: str, fails: bool = False) -> str:
    return call(folder, "python", "workflow/exchange.py", name, fails=fails)


def test_what_dvc_made_is_made_for_both(copied):
    assert (copied / "results/tiny/report/index.html").is_file()
    assert UP_TO_DATE in call(copied, "dvc", "repro")
    assert planned(copied) == set()
    assert not call(copied, "git", "status", "--porcelain"), "git has what DVC notes, and ignores the rest"


def test_dvc_shows_numbers_and_curves(copied):
    shown = json.loads(call(copied, "dvc", "metrics", "show", "--json"))
    metrics = shown[""]["data"]["results/tiny/metrics.json"]["data"]
    assert metrics["strict"]["x2"]["EmbeddedTiny"]["fsr"]["psnr"] > 10
    assert metrics["train"]["validation_psnr"] > 10
    plots = json.loads(call(copied, "dvc", "plots", "show", "--json"))["data"]
    points = {name: plots[name][0]["content"]["data"]["values"] for name in ("loss", "validation", "probe")}
    assert len(points["loss"]) == len((copied / "results/tiny/train/log.csv").read_text().splitlines()) - 1
    assert {point["cut"] for point in points["probe"]} == {"f3", "f5"}
    assert any(name.endswith("zooms.png") for name in plots)


@pytest.fixture(scope="module")
def tried(made) -> Path:
    """`made` after an experiment with a key of `train` changed, by name in its folder: not to be changed either."""
    clone = copy(made, made.with_name("tried"))
    said = call(clone, "dvc", "exp", "run", "--name", "faster", "--set-param", "train.lr=0.002")
    assert stages(said, "Running stage") == STAGES[3:]
    assert stages(said, "didn't change") == STAGES[:3]
    return clone


def test_a_key_of_train_trains_and_changed_back_brings_the_old_results_back(made, tried):
    assert planned(tried) == set()
    assert weights(tried) != weights(made)
    changed = json.loads(call(tried, "dvc", "metrics", "diff", "--json"))["results/tiny/metrics.json"]
    assert changed["strict.x2.EmbeddedTiny.fsr.psnr"]["diff"]
    assert "strict.x2.EmbeddedTiny.bicubic.psnr" not in changed
    clone = copy(tried, made.with_name("back"))
    change(clone, lambda values: values["train"].update(lr=0.001))
    said = call(clone, "dvc", "repro")
    assert stages(said, "is cached") == ["train", "rivals", "benchmark"]
    assert stages(said, "Running stage") == ["report"]
    assert weights(clone) == weights(made)
    assert planned(clone) == set(), "Snakemake knows that it is the old study"
    change(clone, lambda values: values["train"].update(lr=0.5))
    assert "train_field" in planned(clone), "and goes on to see changes"


def test_a_key_the_rivals_do_not_read_leaves_them_as_they_were(made, tried):
    """Their jobs ran, and found their checkpoints finished."""
    for model in ("lua_steps", "lsrna_steps"):
        file = f"results/tiny/rivals/{model}/model/{WEIGHTS}"
        assert (tried / file).read_bytes() == (made / file).read_bytes()
    runs = [{place.name for place in (clone / ".cache/rivals").iterdir()} for clone in (made, tried)]
    assert runs[0] == runs[1], "no run was begun"


def test_an_experiment_waits_in_the_queue_and_both_are_shown(tried):
    clone = copy(tried, tried.with_name("queued"))
    call(clone, "dvc", "exp", "run", "--queue", "--name", "zooms", "--set-param", "report.zooms=2")
    call(clone, "dvc", "exp", "run", "--run-all")
    rows = call(clone, "dvc", "exp", "show", "--csv").splitlines()
    assert {"faster", "zooms"} <= {row.split(",")[0] for row in rows}
    zooms = next(row for row in rows if row.startswith("zooms,"))
    assert "Success" in zooms
    header = rows[next(index for index, row in enumerate(rows) if row.startswith("Experiment,"))]
    assert "report.zooms" in header
    assert "strict.x2.EmbeddedTiny.fsr.psnr" in header


def test_an_experiment_of_another_name_has_a_folder_of_its_own(made):
    clone = copy(made, made.with_name("named"))
    change(clone, lambda values: values.update(experiment="wide"))
    said = json.loads(call(clone, "dvc", "status", "--json"))
    outs = {path for entries in said.values() for entry in entries for path in entry.get("changed outs", {})}
    assert {"results/wide/train", "results/wide/report", "data/latents/public/wide"} <= outs
    assert not any("tiny" in path for path in outs)


def test_a_key_of_report_trains_nothing(made):
    clone = copy(made, made.with_name("report"))
    change(clone, lambda values: values["report"].update(zooms=2))
    status = json.loads(call(clone, "dvc", "status", "--json"))
    assert set(status) == {"report"}
    assert planned(clone) == {"build_report"}


def test_code_reruns_what_runs_it(made):
    clone = copy(made, made.with_name("code"))
    for module, changed, rules in (
        ("cli/app.py", set(), set()),
        ("selection.py", {"probe", "report"}, {"select_cut", "train_field", "build_report"}),
    ):
        file = clone / "src/fsr" / module
        file.write_text(file.read_text() + "\n# a comment\n")
        assert set(json.loads(call(clone, "dvc", "status", "--json"))) == changed, module
        assert planned(clone) >= rules
        assert bool(planned(clone)) == bool(rules)
        assert not planned(clone) & {"probe_cut", "encode_shard"}


def test_plain_snakemake_is_adopted_pushed_and_pulled(made, tmp_path):
    """The whole way of a result: made without DVC, put into it, given to others, used by them."""
    clone = copy(made, made.with_name("adopted"))
    change(clone, lambda values: values["report"].update(zooms=2))
    call(clone, "snakemake", "--cores", "1", "all")
    assert set(json.loads(call(clone, "dvc", "status", "--json"))) == {"report"}
    exchange(clone, "adopt")
    assert UP_TO_DATE in call(clone, "dvc", "repro")
    call(clone, "dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    commit(clone)
    exchange(clone, "push")

    pulled = tmp_path / "pulled"
    call(tmp_path, "git", "clone", "--quiet", str(clone), str(pulled))
    exchange(pulled, "pull")
    assert UP_TO_DATE in call(pulled, "dvc", "status")
    assert planned(pulled) == set()
    assert UP_TO_DATE in call(pulled, "dvc", "repro")
    assert weights(pulled) == weights(made)
    assert not call(pulled, "git", "status", "--porcelain")
    change(pulled, lambda values: values["train"].update(lr=0.5))
    assert planned(pulled) & {"train_field", "dataset", "encode_shard"} == {"train_field"}
    told = json.loads(call(pulled, "fsr", "info", "--json", "results/tiny/train/model/config.json"))
    assert told["rule"] == "train_field"

    checkpoint = tmp_path / "checkpoint"
    call(tmp_path, "git", "clone", "--quiet", str(clone), str(checkpoint))
    call(checkpoint, "dvc", "pull", "train")
    assert [place.name for place in (checkpoint / "results/tiny").iterdir() if place.is_dir()] == ["train"]
    Image.new("RGB", (33, 20), (200, 100, 50)).save(tmp_path / "small.png")
    places = ("--model", "results/tiny/train/model", "--output", str(tmp_path / "large"))
    call(checkpoint, "fsr", "upscale", str(tmp_path / "small.png"), *places)
    assert Image.open(tmp_path / "large/small.png").size == (66, 40)


def test_what_differs_from_the_lock_is_named_and_not_settled(made):
    clone = copy(made, made.with_name("differs"))
    (clone / "results/tiny/train/log.csv").write_text("step\n")
    (clone / "data/raw/private/mine.png").write_bytes(b"an image")
    said = exchange(clone, "settle", fails=True)
    assert "error: not as dvc.lock says: data/raw/private (modified); results/tiny/train (modified)" in said
    assert b"an image" not in [file.read_bytes() for file in (clone / ".dvc/cache").rglob("*") if file.is_file()]
    assert "Traceback" not in said


def test_there_is_nothing_to_pull_without_a_lock_or_a_remote(made):
    clone = copy(made, made.with_name("nothing"))
    assert "error: no remote is known to pull from; dvc remote add --default" in exchange(clone, "pull", fails=True)
    (clone / "dvc.lock").unlink()
    assert "error: there is no dvc.lock" in exchange(clone, "pull", fails=True)


def test_a_set_that_may_not_be_given_to_others_is_not_pushed(made, tmp_path):
    """Set5, say, tested on: by itself it stays here; where it would not, nothing is pushed."""
    clone = copy(made, made.with_name("private"))
    registry = read_registry(clone / "data/datasets.csv")
    place = clone / "data/raw/private/Set5"
    place.mkdir()
    (place / "baby.png").write_bytes(b"an image")
    (place / "manifest.json").write_text(json.dumps({"name": "Set5", "access": "private", "licence": "research"}))
    call(clone, "dvc", "commit", "--force", "data")
    call(clone, "dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    said = exchange(clone, "push")
    assert "stays here: data/raw/private (Set5: research)" in said
    objects = [file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file()]
    assert objects
    assert b"an image" not in objects
    commit(clone)
    pulled = tmp_path / "pulled"
    call(tmp_path, "git", "clone", "--quiet", str(clone), str(pulled))
    for _ in range(2):
        assert "not here: data/raw/private (never pushed" in exchange(pulled, "pull")
        assert planned(pulled) == set()
        assert stages(call(pulled, "dvc", "repro", "--dry", "--allow-missing"), "Running stage") == []

    shutil.move(place, clone / "data/raw/public/Set5")
    call(clone, "dvc", "commit", "--force", "data")
    said = exchange(clone, "push", fails=True)
    assert "error: data/raw/public would be pushed, and holds images that may not be given to others (Set5" in said
    assert private_sets(clone / "data/raw/private", registry) == {}
    shutil.rmtree(clone / "data/raw/public/Set5")
    said = exchange(clone, "push", fails=True)
    assert "error: not as dvc.lock says: data/raw/public." in said, "of what is not here, nothing is known"
    objects = [file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file()]
    assert b"an image" not in objects


def test_crops_and_pictures_of_private_sets_are_known_as_theirs(tmp_path, root):
    registry = read_registry(root / "data/datasets.csv")
    made_by = {"made_by": {"datasets": {"BSDS500": "0", "EmbeddedTrain": "1", "Mine": "2"}}}
    (tmp_path / "latents/taef2").mkdir(parents=True)
    (tmp_path / "latents/taef2/manifest.json").write_text(json.dumps(made_by))
    (tmp_path / "pictures/x2/Set14/fsr").mkdir(parents=True)
    (tmp_path / "pictures/x2/Urban100/fsr").mkdir(parents=True)
    expected = {"BSDS500": registry["BSDS500"].licence, "Mine": "not known"}
    assert private_sets(tmp_path / "latents", registry) == expected, "a set of your own is private too"
    assert private_sets(tmp_path / "pictures", registry) == {"Set14": registry["Set14"].licence}


def test_what_dvc_status_says_in_its_several_ways():
    status = {
        "data": [{"changed outs": {"data/raw/private": "not in cache"}}],
        "train": [{"changed deps": {"data/raw/private": "deleted", "src/fsr/train": "modified"}}, "changed command"],
        "report": [{"changed deps": {"params.yaml": {"report.zooms": "modified"}}}],
    }
    assert list(changes(status, {"data/raw/private"})) == [
        "src/fsr/train (modified)",
        "train (changed command)",
        "params.yaml ({'report.zooms': 'modified'})",
    ]


def test_two_at_once_are_refused_and_lose_nothing(made, tmp_path):
    """DVC empties a stage's folders before it runs: not while Snakemake is at work there; nor the other way round."""
    clone = copy(made, made.with_name("busy"))
    change(clone, lambda values: values["report"].update(zooms=2))
    log = tmp_path / "snakemake.log"
    with started(clone, "snakemake", "--cores", "1", "all", log=log) as process:
        wait_for(lambda: "rule build_report:" in log.read_text())
        os.killpg(process.pid, signal.SIGSTOP)  # at work for as long as the others take to come and go
        said = call(clone, "dvc", "repro", fails=True)
        assert "is busy, it is being blocked by:" in said
        assert f"(PID {process.pid}): snakemake" in said
        again = call(clone, "snakemake", "--cores", "1", "all", fails=True)
        assert "cannot be locked" in again
        assert "Traceback" not in again
    assert weights(clone) == weights(made)
    call(clone, "snakemake", "--unlock")
    # As DVC holds it before and after the jobs of a stage, when Snakemake itself holds nothing.
    held = {"write": {str(clone / "results/tiny/train"): {"pid": os.getpid(), "cmd": "dvc repro"}}, "read": {}}
    (clone / ".dvc/tmp/rwlock").write_text(json.dumps(held))
    said = call(clone, "snakemake", "--cores", "1", "all", fails=True)
    assert f"(PID {os.getpid()}): dvc repro" in said
    assert "Traceback" not in said
    (clone / ".dvc/tmp/rwlock").unlink()
    with started(clone, "dvc", "repro", log=tmp_path / "dvc.log") as process:
        wait_for(lambda: list((clone / ".snakemake/locks").glob("*.output.lock")))
        os.killpg(process.pid, signal.SIGSTOP)
        assert "cannot be locked" in call(clone, "snakemake", "--cores", "1", "all", fails=True)
        said = call(clone, "dvc", "repro", fails=True)
        assert "is busy, it is being blocked by:" in said or "Unable to acquire lock" in said
        os.killpg(process.pid, signal.SIGCONT)
        process.wait()
    assert process.returncode == 0, (tmp_path / "dvc.log").read_text()
    assert planned(clone) == set()
