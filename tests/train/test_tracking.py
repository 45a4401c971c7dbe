"""Weights & Biases: what reaches it, what must not, and that training needs nothing of it."""

import logging
from pathlib import Path

import psutil
import pytest
import wandb
from jobs import cache_of, job_of, params_of, results, start, train_and_list_modules

from fsr.train import Trainer, field_trainer, train_field

SHORT = {"scales": (2,), "steps": 2, "validate_every": 1, "checkpoint_every": 1}
KEY = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return cache_of(params_of(scales=(2,)), tmp_path_factory.mktemp("cache"))


@pytest.fixture
def home(monkeypatch, tmp_path):
    """An empty home, with a key in the environment."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    return home


class FakeRun:
    """A run of wandb's that notes its rows, or fails at one."""

    def __init__(self, fails=None):
        self.rows, self.fails, self.exit_code = [], fails, None

    def log(self, row, step):
        if self.fails and step == 2:
            raise self.fails
        self.rows.append((step, row))

    def finish(self, exit_code):
        self.exit_code = exit_code


@pytest.fixture
def fake(monkeypatch):
    """`fake(run)` makes wandb.init return it, and notes what it was asked for."""
    asked = []

    def install(answer):
        def init(**settings):
            asked.append(settings)
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(wandb, "init", init)
        return asked

    return install


def test_disabled_it_is_not_even_imported(manifest, tmp_path):
    job_of(params_of(**SHORT), manifest, tmp_path).write(tmp_path / "job.json")
    assert start(train_and_list_modules, tmp_path / "job.json", tmp_path / "modules.txt") == 0
    modules = (tmp_path / "modules.txt").read_text().splitlines()
    assert "accelerate" in modules
    assert "wandb" not in modules


def test_offline_each_start_of_a_run_has_a_file_under_the_same_id_and_no_key(
    manifest, autoencoder, tmp_path, home, capfd
):
    trainer = [field_trainer(params_of(**SHORT, tracking="offline"), "f3", manifest, autoencoder, tmp_path / "work")]
    trainer[0].run(1)
    trainer += [field_trainer(params_of(**SHORT, tracking="offline"), "f3", manifest, autoencoder, tmp_path / "work")]
    assert trainer[1].step == 1
    trainer[1].run(2)
    files = sorted(tmp_path.rglob("*.wandb"))
    assert [file.name for file in files] == [f"run-{trainer[0].key[:16]}.wandb"] * 2
    assert all(file.is_relative_to(trainer[0].folder / "wandb") for file in files)
    assert all(b"validation_psnr" in file.read_bytes() for file in files)
    assert not [child for child in psutil.Process().children(recursive=True) if "wandb" in child.name()]
    assert "wandb" not in capfd.readouterr().err
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_offline_it_changes_no_result(manifest, autoencoder, tmp_path, home):
    for mode in ("disabled", "offline"):
        train_field(job_of(params_of(**SHORT, tracking=mode), manifest, tmp_path / mode), autoencoder)
    assert results(tmp_path / "disabled") == results(tmp_path / "offline")


def test_online_a_run_is_resumed_by_an_id_of_its_own(manifest, autoencoder, tmp_path, home, fake):
    run = FakeRun()
    asked = fake(run)
    params = params_of(**SHORT, tracking="online")
    train_field(job_of(params, manifest, tmp_path), autoencoder)
    key = field_trainer(params, "f3", manifest, autoencoder, tmp_path / "work").key
    (settings,) = asked
    assert (settings["mode"], settings["resume"], settings["project"]) == ("online", "allow", "fsr")
    assert (settings["id"], settings["name"]) == (key[:16], "tiny-f3")
    assert Path(settings["dir"]) == tmp_path / "work" / key[:16]
    assert settings["config"]["train"]["lr"] == params.train.lr
    assert KEY not in str(settings)
    assert [(step, row["step"]) for step, row in run.rows] == [(1, 1), (2, 2)]
    assert run.exit_code == 0


def test_online_needs_a_key_before_anything_is_done(manifest, autoencoder, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    job = job_of(params_of(**SHORT, tracking="online"), manifest, tmp_path / "run")
    with pytest.raises(ValueError, match=r"tracking\.mode online needs WANDB_API_KEY in the environment; set it"):
        train_field(job, autoencoder)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("refusal", [wandb.errors.AuthenticationError("bad key"), wandb.errors.UsageError("bad key")])
def test_a_key_that_is_refused_ends_the_run(manifest, autoencoder, tmp_path, home, fake, refusal):
    fake(refusal)
    with pytest.raises(ValueError, match=r"wandb refuses this run \(bad key\); correct WANDB_API_KEY, or set"):
        train_field(job_of(params_of(**SHORT, tracking="online"), manifest, tmp_path), autoencoder)


@pytest.mark.parametrize(
    "answer",
    [
        wandb.errors.CommError("no network"),
        FakeRun(fails=wandb.Error("no network")),
        FakeRun(fails=ConnectionResetError("no network")),
    ],
)
def test_training_goes_on_where_wandb_fails_and_says_so_once(
    manifest, autoencoder, tmp_path, home, fake, caplog, answer
):
    params = params_of(**SHORT | {"steps": 3})
    train_field(job_of(params, manifest, tmp_path / "alone"), autoencoder)
    fake(answer)
    with caplog.at_level(logging.WARNING, logger="fsr.train.tracking"):
        train_field(job_of(params_of(**SHORT | {"steps": 3}, tracking="online"), manifest, tmp_path), autoencoder)
    said = [record.getMessage() for record in caplog.records if record.name == "fsr.train.tracking"]
    assert said == ["wandb failed (no network); training goes on without it, and its own log is complete"]
    assert results(tmp_path / "alone") == results(tmp_path)


def test_a_run_that_fails_is_closed_as_failed(manifest, autoencoder, tmp_path, home, fake, monkeypatch):
    run = FakeRun()
    fake(run)
    monkeypatch.setattr(Trainer, "optimise", lambda self, feed: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_field(job_of(params_of(**SHORT, tracking="online"), manifest, tmp_path), autoencoder)
    assert run.exit_code == 1
