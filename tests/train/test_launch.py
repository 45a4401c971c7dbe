"""A job through `accelerate launch`: what is left when its parent is killed, and what is said when it fails."""

import csv
import os
import sys
import time
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import pytest
from jobs import CONTEXT, alone, cache_of, job_of, leftovers, params_of

import fsr.train.job
from fsr.autoencoders import load_autoencoder
from fsr.train import TrainJob, launch, train_field
from fsr.train.__main__ import _end_with_stdin

# The rate is small, so that rounding, which differs with the number of processes, does not grow from step to step.
SMALL = {"crop_size": 48, "scales": (2,), "steps": 20, "validate_every": 20, "checkpoint_every": 2, "lr": 1e-4}


@pytest.fixture(scope="module")
def embedded():
    return load_autoencoder(params_of().vae, "cpu")


@pytest.fixture(scope="module")
def manifest(embedded, tmp_path_factory):
    return cache_of(params_of(**SMALL), tmp_path_factory.mktemp("cache"), autoencoder=embedded)


def launch_with_messages(path, messages):
    with messages.open("wb") as file:
        os.dup2(file.fileno(), 2)
    launch(TrainJob.read(path))


def running(word) -> dict[int, str]:
    """Command lines, by process, of those that name `word`."""
    commands = {}
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):
            commands[int(file.parent.name)] = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return {process: command for process, command in commands.items() if str(word) in command}


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes through /proc")
def test_its_processes_end_with_their_parent_and_another_run_goes_on(manifest, embedded, tmp_path):
    job, messages = job_of(params_of(**SMALL, processes=2), manifest, tmp_path), tmp_path / "messages.txt"
    job.write(tmp_path / "job.json")
    parent = CONTEXT.Process(target=alone, args=(launch_with_messages, tmp_path / "job.json", messages))
    parent.start()
    wait_until(lambda: list(tmp_path.rglob("checkpoint.safetensors")), 180)
    processes = running(job.files.work)
    assert len(processes) == 3, "a launcher and two processes"
    assert all("--until-stdin-closes" in command for command in processes.values())
    (lifeline,) = {str(Path(f"/proc/{process}/fd/0").readlink()) for process in processes}
    assert lifeline.startswith("pipe:")
    parent.kill()
    wait_until(lambda: not running(job.files.work), 20)
    assert messages.read_text().count("| 0/20 [") == 1, "one process shows its progress"
    assert not job.files.model.exists()

    for folder in (tmp_path, tmp_path / "one"):
        train_field(job_of(params_of(**SMALL), manifest, folder), embedded)
    assert leftovers(tmp_path) == []
    for name in ("loss", "validation_psnr"):
        assert column(tmp_path, name) == pytest.approx(column(tmp_path / "one", name), rel=1e-4)


def test_a_process_ends_when_its_standard_input_does():
    ear, mouth = os.pipe()

    def live():
        os.dup2(ear, 0)
        os.close(mouth)
        _end_with_stdin()

    process = get_context("fork").Process(target=live)
    process.start()
    os.write(mouth, b"still here")
    process.join(0.3)
    assert process.is_alive()
    os.close(mouth)
    process.join(10)
    assert process.exitcode == 1


def column(folder, name):
    return [float(row[name]) for row in csv.DictReader((folder / "log.csv").open()) if row[name]]


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ("going on\nerror: no cut fits; see fsr plan\nerror: again\nTraceback", "failed: no cut fits; see fsr plan$"),
        ("Traceback\nKeyError: 1\n", "failed; what they wrote stands above$"),
    ],
)
def test_a_failure_is_one_line_which_is_the_processs_own_where_it_gave_one(
    manifest, tmp_path, monkeypatch, capfd, messages, message
):
    failing = [sys.executable, "-S", "-c", f"import sys; sys.stderr.write({messages!r}); sys.exit(1)"]
    monkeypatch.setattr(fsr.train.job, "launch_command", lambda job, path: failing)
    with pytest.raises(ValueError, match=f"training in 2 processes {message}"):
        launch(job_of(params_of(processes=2), manifest, tmp_path))
    assert capfd.readouterr().err == messages.partition("\nerror:")[0]


def test_a_job_is_read_as_it_was_written(manifest, tmp_path):
    job = job_of(params_of(processes=2), manifest, tmp_path, ["f3", "f4"])
    job.write(tmp_path / "job.json")
    assert TrainJob.read(tmp_path / "job.json") == job


@pytest.mark.parametrize("content", ["[]", '{"files": {}}', '{"params": {"seed": 1}}'])
def test_another_file_is_no_job(tmp_path, content):
    (tmp_path / "job.json").write_text(content)
    with pytest.raises(ValueError, match=r"job\.json is no training job \(.*\); let the study write it anew"):
        TrainJob.read(tmp_path / "job.json")
