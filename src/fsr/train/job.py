"""A training job as a file, so that `accelerate launch` can start it in several processes."""

import json
import logging
import subprocess
import sys
from dataclasses import asdict, dataclass
from io import BufferedReader
from pathlib import Path

from fsr.config import Params
from fsr.files import read_json, write_json
from fsr.sections import validated
from fsr.train.tracking import check_tracking

logger = logging.getLogger(__name__)

ERROR = "\nerror: "  # how a process begins to say why it ended
PIPE_SIZE = 1 << 16


@dataclass(frozen=True)
class RunFiles:
    """Where a run leaves its results: the model's folder, and files."""

    model: Path
    log: Path
    grid: Path
    runtime: Path


@dataclass(frozen=True)
class TrainFiles(RunFiles):
    """Those of a field, with its cut, and `work`, where it keeps the checkpoint it resumes from."""

    cut: Path
    work: Path


@dataclass(frozen=True)
class TrainJob:
    """Everything `train_field` needs.

    Attributes:
        candidates: cuts to choose among, best first; with several, each is tried.
        decided_by: what made the list: "probe" or "params".
        threads: CPU threads of each process.
    """

    params: Params
    candidates: list[str]
    decided_by: str
    manifest: Path
    files: TrainFiles
    threads: int

    def write(self, path: Path) -> None:
        """Write the job as JSON; it holds no keys or passwords."""
        plain = json.loads(json.dumps(asdict(self) | {"params": None}, default=str))
        write_json(path, plain | {"params": self.params.model_dump(by_alias=True)})

    @classmethod
    def read(cls, path: Path) -> "TrainJob":
        """Read what `write` wrote.

        Raises:
            FileNotFoundError, ValueError: no such file, or not such a job.
        """
        plain = read_json(path)
        try:
            files = TrainFiles(**{name: Path(file) for name, file in plain["files"].items()})
            return cls(
                validated(Params, plain["params"], str(path)),
                plain["candidates"],
                plain["decided_by"],
                Path(plain["manifest"]),
                files,
                plain["threads"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is no training job ({error!r}); let the study write it anew") from error


def launch(job: TrainJob) -> None:
    """Run a job in `train.processes` processes of this machine, through `accelerate launch`.

    They end when this process does, however that ends.

    Raises:
        ValueError: a process failed; the message is its own where it gave one.
    """
    check_tracking(job.params.tracking)
    path = job.files.work / f"{job.params.experiment}-job.json"
    job.write(path)
    with subprocess.Popen(launch_command(job, path), stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        reason = _relay(process.stderr)
    if process.returncode:
        why = f": {reason}" if reason else "; what they wrote stands above"
        raise ValueError(f"training in {job.params.train.processes} processes failed{why}")


def launch_command(job: TrainJob, path: Path) -> list[str]:
    """The command that runs the job in `path`; --multi_gpu is accelerate's word for several processes of any kind."""
    processes = job.params.train.processes
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    command += ["--num_cpu_threads_per_process", str(job.threads)]
    return [*command, "-m", "fsr.train", str(path), "--until-stdin-closes"]


def _relay(messages: BufferedReader) -> str | None:
    """Pass messages on until one says why a process ended, and return that; what follows goes to this process's log.

    A short write to a pipe arrives whole in a read of the pipe's size.
    """
    reason = None
    while chunk := messages.read1(PIPE_SIZE):
        text = chunk.decode(errors="replace")
        if reason is None:
            said, mark, text = text.partition(ERROR)
            print(said, end="", file=sys.stderr, flush=True)
            reason, _, text = text.partition("\n") if mark else (None, "", "")
        if text:
            logger.info("%s", text.rstrip())
    return reason
