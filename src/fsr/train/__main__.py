"""`accelerate launch --multi_gpu --num_processes N -m fsr.train job.json`: one process of a training job."""

import argparse
import logging
import os
import sys
import threading
from pathlib import Path

import torch
from accelerate import PartialState

from fsr.autoencoders import load_autoencoder
from fsr.train.job import ERROR, TrainJob
from fsr.train.run import train_field


def main() -> None:
    """Run the job a file describes; an expected error becomes one line on stderr and exit code 1."""
    parser = argparse.ArgumentParser(prog="fsr.train", description="One process of a training job.")
    parser.add_argument("job", type=Path, help="a job as fsr.train.launch writes it")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end with the process that holds the pipe")
    arguments = parser.parse_args()
    if arguments.until_stdin_closes:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        run(TrainJob.read(arguments.job))
    except (OSError, ValueError, FloatingPointError, MemoryError) as error:
        sys.stderr.write(f"{ERROR}{error}\n")
        raise SystemExit(1) from None


def run(job: TrainJob) -> None:
    """This process's part of a job, on the device that is its own.

    Raises:
        ValueError: the job is for another number of processes.
    """
    params = job.params
    state = PartialState(cpu=torch.device(params.runtime.device).type == "cpu")
    level = logging.INFO if state.is_main_process else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    wanted = params.train.processes
    if state.num_processes != wanted:
        raise ValueError(
            f"train.processes is {wanted}, but {state.num_processes} run; start them with accelerate launch "
            f"--multi_gpu --num_processes {wanted}"
        )
    train_field(job, load_autoencoder(params.vae, str(state.device), params.data.mirror))


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
