"""Killed (SIGKILL) at any moment and started again, a job ends as one that was left alone does, to the byte."""

import json
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest
from jobs import cache_of, job_of, leftovers, params_of, results, start
from tiny_models import tiny_model

import fsr
import fsr.checkpoint
from fsr.autoencoders import FrozenAutoencoder
from fsr.files import read_json
from fsr.train import TrainJob, train_field

SMALL = {"crop_size": 48, "scales": (2,)}
SOURCES = str(Path(fsr.__file__).parent)
MOMENTS = (
    "run.try_cut",
    "trainer.Trainer.__init__",
    "trainer.Trainer.optimise",
    "data.Feed.next",
    "loss.StepLoss.draw",
    "objective.charbonnier",
    "validation.Validator._measure",
    "checkpoint.save_checkpoint",
    "files.write_atomically",
    "validation.Validator.grid",
)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def train(path, calls_file, moment=None, count=0):
    """Run a job up to the `count`-th call of a function of fsr, or to its end; write how often each was called."""
    job, autoencoder, calls = TrainJob.read(path), FrozenAutoencoder(tiny_model()), Counter()

    def watch(frame, event, _):
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(SOURCES):
            name = f"{Path(file).stem}.{frame.f_code.co_qualname}"
            calls[name] += 1
            if name == moment and calls[name] == count:
                die()

    sys.setprofile(watch)
    train_field(job, autoencoder)
    sys.setprofile(None)
    calls_file.write_text(json.dumps(calls))


def train_and_die_in_a_write(path, which, part):
    """Run a job until it writes its `which`-th checkpoint; die with half of it written, or before it has its name."""
    write, left = fsr.checkpoint._write_through, which

    def last(temporary, content):
        nonlocal left
        left -= 1
        if left:
            return write(temporary, content)
        write(temporary, content[: len(content) // 2] if part == "half" else content)
        return die()

    fsr.checkpoint._write_through = last
    train_field(TrainJob.read(path), FrozenAutoencoder(tiny_model()))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return cache_of(params_of(**SMALL), tmp_path_factory.mktemp("cache"))


def written(params, manifest, folder, candidates) -> Path:
    path = folder / "job.json"
    job_of(params, manifest, folder, candidates).write(path)
    return path


def test_at_ten_random_moments(manifest, tmp_path):
    params = params_of(**SMALL, steps=8, checkpoint_every=2, validate_every=3)
    whole, killed = (written(params, manifest, tmp_path / name, ["f3", "f4"]) for name in ("whole", "killed"))
    assert start(train, whole, tmp_path / "calls.json") == 0
    calls, source = read_json(tmp_path / "calls.json"), random.Random(0)
    for moment in MOMENTS:
        count = source.randint(1, max(1, calls[moment] // 8))
        assert start(train, killed, tmp_path / "none", moment, count) == -signal.SIGKILL
    assert start(train, killed, tmp_path / "calls.json") == 0
    assert results(tmp_path / "whole") == results(tmp_path / "killed")
    assert leftovers(tmp_path / "killed") == []


@pytest.fixture(scope="module")
def left_alone(manifest, tmp_path_factory):
    """Results of a short job that nothing killed."""
    folder = tmp_path_factory.mktemp("whole")
    assert start(train, written(short(), manifest, folder, ["f3"]), folder / "calls.json") == 0
    return results(folder)


def short():
    return params_of(**SMALL, steps=4, checkpoint_every=2, validate_every=4)


@pytest.mark.parametrize("part", ["half", "whole"])
@pytest.mark.parametrize("which", [1, 2])
def test_inside_the_write_of_a_checkpoint(manifest, left_alone, tmp_path, which, part):
    path = written(short(), manifest, tmp_path, ["f3"])
    assert start(train_and_die_in_a_write, path, which, part) == -signal.SIGKILL
    assert len(leftovers(tmp_path)) == 1
    assert any(tmp_path.rglob("checkpoint.safetensors")) == (which > 1), "the one before is what stands there"
    assert start(train, path, tmp_path / "calls.json") == 0
    assert leftovers(tmp_path) == []
    assert results(tmp_path) == left_alone
