"""Where memory is limited: a cut that does not fit is passed over, and where none fits the error says what to do."""

import ctypes
import resource
import sys
from pathlib import Path

import pytest
import torch
from jobs import cache_of, job_of, params_of, start
from tiny_models import tiny_model

from fsr.autoencoders import FrozenAutoencoder
from fsr.files import read_json
from fsr.flow.field import load_field
from fsr.train import Trainer, TrainJob, train_field

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits and reads memory as Linux does")

M_MMAP_THRESHOLD = -3  # of <malloc.h>
ONE_STEP = {name: float(name == "one_step") for name in params_of().train.losses.model_dump()}
FIELD = {"hidden": 32, "blocks": 2, "block": "residual", "patch": 1, "gate": "none"}  # at f4 on four times f3's grid


@pytest.fixture(scope="module")
def params():
    return params_of(
        crop_size=128, scales=(2,), batch=2, losses=ONE_STEP, field=FIELD, trial_steps=1, steps=2, validate_every=2
    )


@pytest.fixture(scope="module")
def manifest(params, tmp_path_factory):
    return cache_of(params, tmp_path_factory.mktemp("cache"), sizes=((160, 320),))


def data_bytes() -> int:
    """What RLIMIT_DATA counts of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmData:"))) << 10


def train_within(path, mebibytes, message):
    """Run a job that may take so much more memory than it has at first; `message` gets its error.

    Without oneDNN, so that it is torch that runs out of memory; what torch frees is the system's again at once.
    """
    assert ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 16)
    torch.backends.mkldnn.set_flags(False)
    job, autoencoder = TrainJob.read(path), FrozenAutoencoder(tiny_model())
    limit = data_bytes() + (mebibytes << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        train_field(job, autoencoder)
    except MemoryError as error:
        message.write_text(str(error))


@pytest.fixture
def train_limited(params, manifest, tmp_path):
    """`train_limited(n)` trains at f4 or f3 within n MiB: f4 takes about 110, f3 about 35."""

    def train(mebibytes) -> str | None:
        job_of(params, manifest, tmp_path, ["f4", "f3"]).write(tmp_path / "job.json")
        assert start(train_within, tmp_path / "job.json", mebibytes, tmp_path / "message.txt") == 0
        return (tmp_path / "message.txt").read_text() if (tmp_path / "message.txt").exists() else None

    return train


def test_the_cut_that_does_not_fit_is_recorded_and_the_other_is_trained(train_limited, autoencoder, tmp_path):
    assert train_limited(75) is None
    decision = read_json(tmp_path / "cut.json")
    larger, smaller = decision["trials"]
    assert (decision["cut"], decision["decided_by"]) == ("f3", "trial")
    assert (larger["cut"], larger["status"], larger["validation_rgb_l1"]) == ("f4", "oom", None)
    assert "can't allocate memory" in larger["reason"]
    assert (smaller["cut"], smaller["status"], smaller["steps"]) == ("f3", "ok", 1)
    assert read_json(tmp_path / "runtime.json")["steps"] == 2
    assert load_field(tmp_path / "model", autoencoder).config.cut == "f3"


def test_where_none_fits_the_error_is_a_line_that_names_the_remedy(train_limited, tmp_path):
    message = train_limited(15)
    assert message.startswith("no cut fits into memory (f4: ")
    assert "fsr plan" in message
    assert "\n" not in message
    assert not (tmp_path / "cut.json").exists()


def test_one_of_several_processes_that_has_none_left_ends_the_job_in_a_line(
    manifest, autoencoder, tmp_path, monkeypatch
):
    def exhausted(trainer, until):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB")

    monkeypatch.setattr(Trainer, "run", exhausted)
    params = params_of(crop_size=128, scales=(2,), processes=2)
    with pytest.raises(MemoryError, match="the trial of f4 ran out of memory; set train.cut to another, or fsr plan"):
        train_field(job_of(params, manifest, tmp_path, ["f4", "f3"]), autoencoder)
