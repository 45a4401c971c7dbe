"""Several processes, or accumulation, train as one process does with the same batch in one pass."""

import csv
import os
import socket
import sys

import pytest
import torch
from jobs import CONTEXT, alone, cache_of, job_of, params_of
from safetensors.torch import load_file
from tiny_models import tiny_model

import fsr.train.trainer
from fsr.autoencoders import FrozenAutoencoder
from fsr.images import read_image
from fsr.train import TrainJob, train_field

SMALL = {"crop_size": 48, "scales": (2,), "batch": 4}
LONG = {"steps": 50, "validate_every": 25, "checkpoint_every": 20}
WEIGHTS = "model/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return cache_of(params_of(**SMALL), tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _every_step_is_logged(monkeypatch):
    monkeypatch.setattr(fsr.train.trainer, "LOG_EVERY", 1)


def train_as(rank, port, path):
    """One of two processes; the second must not write."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"}
    fsr.train.trainer.LOG_EVERY = 1
    job = TrainJob.read(path)
    if rank:
        sys.addaudithook(lambda event, arguments: forbid_writing(job.files.work.parent, event, arguments))
    train_field(job, FrozenAutoencoder(tiny_model()))


def forbid_writing(folder, event, arguments):
    """End this process where it writes below `folder`."""
    changes = event in ("os.mkdir", "os.remove", "os.rename")
    opens = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if (changes or opens) and str(arguments[0]).startswith(str(folder)):
        os._exit(3)


def in_two_processes(job):
    """Run a job in two processes."""
    path = job.files.work.parent / "job.json"
    job.write(path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    processes = [CONTEXT.Process(target=alone, args=(train_as, rank, port, path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(180)
    assert [process.exitcode for process in processes] == [0, 0]


def log(folder):
    return list(csv.DictReader((folder / "log.csv").open()))


def losses(folder):
    return [float(row["loss"]) for row in log(folder)]


def apart(a, b):
    """Distance of the weights of two fields, relative to their norm (Adam makes a step of noise in a tiny gradient)."""
    a, b = (torch.cat([w.flatten() for _, w in sorted(load_file(x / WEIGHTS).items())]) for x in (a, b))
    return ((a - b).norm() / a.norm()).item()


@pytest.mark.parametrize("statistics", ["cache", "running"])
def test_two_processes_have_the_loss_curve_of_one(manifest, autoencoder, tmp_path, statistics):
    params = params_of(**SMALL, statistics=statistics, **LONG)
    one, two = tmp_path / "one", tmp_path / "two"
    train_field(job_of(params, manifest, one), autoencoder)
    in_two_processes(job_of(params_of(**SMALL, processes=2, **LONG, statistics=statistics), manifest, two))
    assert len(log(two)) == 50
    for name in log(one)[-1].keys() - {"validation_margin"}:
        curves = [[float(row[name]) for row in log(folder) if row[name]] for folder in (one, two)]
        # The norm of gradients is no loss: near a kink of the objective, rounding shows in it first.
        assert curves[0] == pytest.approx(curves[1], rel=5e-3 if name == "grad_norm" else 1e-4), name
    assert apart(one, two) < 5e-4
    assert read_image(one / "grid.png").sub(read_image(two / "grid.png")).abs().max() <= 1 / 255


def test_accumulation_stands_for_a_larger_batch(manifest, autoencoder, tmp_path):
    folders = []
    for batch, accumulation in ((4, 1), (2, 2), (1, 4)):
        folders.append(tmp_path / str(batch))
        params = params_of(**SMALL | {"batch": batch}, accumulation=accumulation, steps=8)
        train_field(job_of(params, manifest, folders[-1]), autoencoder)
    for folder in folders[1:]:
        assert losses(folder) == pytest.approx(losses(folders[0]), rel=1e-5)
        assert apart(folder, folders[0]) < 1e-5
