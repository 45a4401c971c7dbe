"""Crops a second of the latents stage on TAEF2: one job on one core, one job on all, a single-threaded job a core.

    python benchmarks/latents.py [--crops 64] [--rounds 3] [--dtype auto]

The ways take turns, so that what else runs on the machine troubles all of them alike. The images are noise and the
weights random: neither changes what is computed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from fsr.autoencoders import FrozenAutoencoder
from fsr.autoencoders.taef2 import Taef2
from fsr.config import Params
from fsr.files import write_json
from fsr.latents import Sources, encode_shard
from fsr.precision import autocast_dtype
from fsr.probe import count_flops
from fsr.sections import validated

ROOT = Path(__file__).parents[1]


def study(shards: int, crops: int, dtype: str) -> Params:
    """taef2.yaml's latents, on crops of 128 pixels."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["runtime"]["dtype"], values["scales"] = dtype, [2]
    values["latents"] |= {"crops": crops, "validation_crops": 1, "crop_size": 128, "batch": 4, "file_crops": 16}
    values["latents"] |= {"dtype": "float16", "shards": shards}
    return validated(Params, values, "params.yaml")


def write_images(folder: Path, count: int) -> Path:
    """A set of `count` noise images of BSDS500's size; returns its manifest."""
    source = np.random.default_rng(0)
    names = [f"{index}.jpg" for index in range(count)]
    for name in names:
        Image.fromarray(source.integers(0, 256, (321, 481, 3), dtype=np.uint8)).save(folder / name)
    files = [{"name": name, "sha256": ""} for name in names]
    return write_json(folder / "manifest.json", {"name": "Noise", "files": files})


def encode(manifest: Path, shard: int, params: Params, threads: int, output: Path) -> float:
    """Seconds that encoding one shard takes, the first file (which warms up) not counted."""
    torch.set_num_threads(threads)
    autoencoder = FrozenAutoencoder(Taef2().to(memory_format=torch.channels_last))
    with torch.inference_mode():
        autoencoder.decode(autoencoder.encode(torch.rand(4, 3, 128, 128)))
    started = time.perf_counter()
    encode_shard(params, Sources([manifest], []), autoencoder, shard, output / f"shards/{shard}.json")
    return time.perf_counter() - started


def run(manifest: Path, jobs: int, threads: int, arguments: argparse.Namespace) -> float:
    """Crops a second of `jobs` processes at once: all crops over the seconds of the slowest."""
    with TemporaryDirectory() as output:
        command = [sys.executable, __file__, "--crops", str(arguments.crops), "--dtype", arguments.dtype]
        command += ["--shards", str(jobs), "--threads", str(threads), "--manifest", str(manifest), "--output", output]
        running = [
            subprocess.Popen([*command, "--shard", str(shard)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            for shard in range(jobs)
        ]
        return arguments.crops / max(float(process.communicate()[0]) for process in running)


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Crops and operations a second of each way, as medians over rounds, and their ratios."""
    cores = os.cpu_count() or 1
    ways = {"1 job, 1 thread": (1, 1), f"1 job, {cores} threads": (1, cores)}
    ways[f"{cores} jobs, 1 thread each"] = (cores, 1)
    with TemporaryDirectory() as folder:
        manifest = write_images(Path(folder), 32)
        rounds = [
            {way: run(manifest, *sizes, arguments) for way, sizes in ways.items()} for _ in range(arguments.rounds)
        ]
    speeds = {way: statistics.median(found[way] for found in rounds) for way in ways}
    flops, base = flops_per_crop(), speeds["1 job, 1 thread"]
    return {
        "dtype": autocast_dtype(study(1, 1, arguments.dtype).runtime),
        "gflop_per_crop": round(flops / 1e9, 2),
        "crops_per_second": {way: round(speed, 2) for way, speed in speeds.items()},
        "gflop_per_second": {way: round(speed * flops / 1e9, 1) for way, speed in speeds.items()},
        "ratio_to_1_job_1_thread": {way: round(speed / base, 2) for way, speed in speeds.items()},
    }


def flops_per_crop() -> int:
    """Operations of encoding and decoding a crop and its low-resolution half."""
    autoencoder, crop = FrozenAutoencoder(Taef2()), torch.rand(1, 3, 128, 128)
    with torch.inference_mode():
        return sum(
            count_flops(lambda x=x: autoencoder.decode(autoencoder.encode(x))) for x in (crop, crop[..., ::2, ::2])
        )


def read_arguments() -> argparse.Namespace:
    """The options; the hidden ones are those of a job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    for name in ("--shard", "--shards", "--threads"):
        parser.add_argument(name, type=int, help=argparse.SUPPRESS)
    for name in ("--manifest", "--output"):
        parser.add_argument(name, type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    given = read_arguments()
    if given.shard is None:
        print(json.dumps(compare(given), indent=2))
    else:
        job = study(given.shards, given.crops, given.dtype)
        print(encode(given.manifest, given.shard, job, given.threads, given.output))
