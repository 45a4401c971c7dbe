"""Training jobs on a small cache, and what they leave behind."""

import copy
import sys
import threading
from multiprocessing import get_context
from pathlib import Path

import torch
import yaml
from test_latents import build, image_set
from tiny_models import tiny_model
from tqdm import tqdm

from fsr.autoencoders import FrozenAutoencoder
from fsr.config import Params
from fsr.sections import validated
from fsr.train import TrainFiles, TrainJob, train_field

VALUES = yaml.safe_load((Path(__file__).parent / "tiny/params.yaml").read_text())
CONTEXT = get_context("forkserver")  # imports torch once; every start is a fork of that
CONTEXT.set_forkserver_preload(["jobs", "fsr.train"])
RESULTS = ("model/diffusion_pytorch_model.safetensors", "model/config.json", "log.csv", "cut.json", "grid.png")


def params_of(crop_size: int = 64, scales: tuple[int, ...] = (2, 4), tracking: str = "disabled", **train) -> Params:
    """The tiny study's parameters, with some of `train` changed."""
    values = copy.deepcopy(VALUES) | {"scales": list(scales), "tracking": {"mode": tracking, "project": "fsr"}}
    values["latents"]["crop_size"] = crop_size
    values["train"] |= train
    return validated(Params, values, "test")


def cache_of(params: Params, folder: Path, sizes=((96, 200), (200, 96)), autoencoder=None) -> Path:
    """The manifest of a cache of crops of a few images."""
    photos = image_set(folder / "photos", folder / "raw/manifest.json", sizes=sizes)
    return build(
        params,
        photos,
        autoencoder or FrozenAutoencoder(tiny_model()),
        folder / "cache/manifest.json",
        scales=params.scales,
    )


def job_of(params: Params, manifest: Path, folder: Path, candidates=("f3",)) -> TrainJob:
    """A job whose results and checkpoints go below `folder`."""
    names = {"model": "model", "log": "log.csv", "grid": "grid.png", "runtime": "runtime.json", "cut": "cut.json"}
    files = TrainFiles(**{field: folder / name for field, name in names.items()}, work=folder / "work")
    return TrainJob(params, list(candidates), "probe", manifest, files, 1)


def results(folder: Path) -> dict[str, bytes]:
    """The bytes of everything a finished job leaves that must not depend on how it came about."""
    return {name: (folder / name).read_bytes() for name in RESULTS}


def leftovers(folder: Path) -> list[str]:
    """Temporary files below `folder`."""
    return sorted(path.name for path in folder.rglob(".*") if path.is_file())


def start(action, *arguments) -> int:
    """Exit code of a process that runs `action`."""
    process = CONTEXT.Process(target=alone, args=(action, *arguments))
    process.start()
    process.join(180)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def alone(action, *arguments):
    """What a process that is started runs."""
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # its own is a semaphore, which a kill would leave behind
    action(*arguments)


def train_and_list_modules(path, listing):
    """Run a job; write the names of the packages that are then imported."""
    train_field(TrainJob.read(path), FrozenAutoencoder(tiny_model()))
    listing.write_text("\n".join({name.partition(".")[0] for name in sys.modules}))
