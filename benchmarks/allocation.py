"""A row of a benchmark with and without an allocator that keeps its memory: seconds of an image, and what it costs.

    python benchmarks/allocation.py [--side 768] [--rounds 3] [--dtype bfloat16]

glibc gives every large tensor back to the system at once, which then has to clear the pages of the next one. Jobs of a
workflow have an environment in which it does not (workflow/rules/common.smk). Processes with and without it take turns,
so that what else runs on the machine troubles both alike. TAEF2's architecture and the field of experiments/taef2.yaml
at cut f4, with random weights: values do not matter to the time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from shared import Peak

from fsr.allocation import KEPT
from fsr.autoencoders import FrozenAutoencoder
from fsr.autoencoders.taef2 import Taef2
from fsr.benchmark.cells import measure, targets_of
from fsr.benchmark.rows import render
from fsr.cli import merged_params
from fsr.flow.field import build_field
from fsr.metrics.perceptual import load_perceptual
from fsr.metrics.protocol import PROTOCOLS
from fsr.upscalers import Fsr

ROOT = Path(__file__).parents[1]
WAYS = {"given back": {}, "kept": KEPT}


@torch.inference_mode()
def measured(side: int, dtype: str) -> dict[str, float]:
    """Seconds that the targets, a row's output and its metrics take, and this process's peak memory."""
    torch.set_num_threads(1)
    params = merged_params([ROOT / "params.yaml", ROOT / "experiments/taef2.yaml"])
    params = params.model_copy(update={"benchmark": params.benchmark.model_copy(update={"dtype": dtype})})
    autoencoder = FrozenAutoencoder(Taef2().to(memory_format=torch.channels_last))
    row, protocol = Fsr(build_field(params, "f4", autoencoder).eval()), PROTOCOLS["strict"]
    perceptual = load_perceptual(params.benchmark.perceptual, "cpu", dtype)
    seconds, peak = {}, Peak()
    for _ in range(2):  # the first warms up
        sample, started = protocol.sample(torch.rand(1, 3, side, side), autoencoder, 2), time.perf_counter()
        rendering, f_H = render(row, sample, params)
        seconds["output and target features"] = time.perf_counter() - started
        started = time.perf_counter()
        targets = targets_of(sample, protocol, perceptual)
        seconds["targets"] = time.perf_counter() - started
        started = time.perf_counter()
        list(measure(rendering, f_H, sample, targets, protocol, perceptual))
        seconds["metrics"] = time.perf_counter() - started
    return seconds | {"all": sum(seconds.values()), "peak GiB": peak.reached() / 2**30}


def compare(side: int, rounds: int, dtype: str) -> dict[str, dict[str, float]]:
    """Medians over rounds of each way, and the ratio of the two."""
    command = [sys.executable, __file__, "--one", "--side", str(side), "--dtype", dtype]
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, environment in WAYS.items():
            plain = {name: value for name, value in os.environ.items() if name not in KEPT}
            answer = subprocess.run(command, env=plain | environment, check=True, capture_output=True, text=True)
            found[way].append(json.loads(answer.stdout))
    medians = {
        way: {name: statistics.median(values[name] for values in runs) for name in runs[0]}
        for way, runs in found.items()
    }
    given_back, kept = medians.values()
    return medians | {"ratio": {name: given_back[name] / kept[name] for name in kept}}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measured(given.side, given.dtype)))
    else:
        print(json.dumps(compare(given.side, given.rounds, given.dtype), indent=2))
