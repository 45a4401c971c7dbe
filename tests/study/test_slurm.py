"""The study as jobs of a real Slurm, which the test starts on this machine and stops again."""

import contextlib
import hashlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from commands import change, new_study, snakemake

plugin = pytest.importorskip("snakemake_executor_plugin_slurm", reason="needs the extra slurm")

PATH = f"{os.environ['PATH']}:/usr/sbin"
FLAGS = {"gpus": r"--gpus=(\d+)", "threads": r"--cpus-per-task=(\d+)", "mem_mb": r"--mem (\d+)", "runtime": r"-t (\d+)"}

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
MailProg=/bin/true
MinJobAge=3600
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=16000 Gres=gpu:2
PartitionName=main Nodes=ALL Default=YES State=UP
"""
GPUS = "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n"  # two files that Slurm counts as GPUs


def configure(folder: Path) -> dict[str, str]:
    """Slurm's files in `folder`, and the environment in which its commands find them."""
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir(parents=True)
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        ports = one.getsockname()[1], other.getsockname()[1]
    host = socket.gethostname().split(".")[0]
    (folder / "slurm.conf").write_text(CONFIGURATION.format(folder=folder, host=host, ports=ports))
    (folder / "gres.conf").write_text(GPUS)
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    # The executor's jobs forget SLURM_CONF before they call srun; a cluster has its file in /etc.
    srun = folder / "bin/srun"
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun", path=PATH)} "$@"\n')
    srun.chmod(0o755)
    return os.environ | {"PATH": f"{folder}/bin:{PATH}", "SLURM_CONF": f"{folder}/slurm.conf"}


def on_slurm(root: Path, folder: Path, *arguments: str, environment: dict | None = None) -> subprocess.CompletedProcess:
    command = ["snakemake", "--snakefile", root / "Snakefile", "--directory", folder, "--jobs", "2"]
    command += ["--profile", root / "profiles/slurm", "--slurm-init-seconds-before-status-checks", "5", *arguments]
    run = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, "timeout": 1800}
    return subprocess.run(command, env=environment, **run)


def slurm(environment: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60).stdout


def wait_for(condition, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)
    return condition()


def stop(daemon: subprocess.Popen) -> None:
    daemon.terminate()
    try:
        daemon.wait(timeout=30)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def end_jobs(environment: dict[str, str]) -> None:
    slurm(environment, "scancel", "--user=root")
    wait_for(lambda: not slurm(environment, "squeue", "--noheader"), 60)


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """A Slurm of one node, and the environment to use it in; it is stopped at the end, whatever happens."""
    environment = configure(folder)

    def start(name: str, *options: str) -> None:
        # Tied to this process: should it be killed, the daemon goes with it.
        command = ["setpriv", "--pdeathsig", "TERM", shutil.which(name, path=PATH), *options]
        with (folder / f"{name}.log").open("wb") as log:
            stack.callback(stop, subprocess.Popen(command, env=environment, stdout=log, stderr=log))

    def ready(condition) -> None:
        assert wait_for(condition, 60), "".join(log.read_text() for log in folder.glob("*.log"))

    with contextlib.ExitStack() as stack:
        munge = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid", "seed-file": "munge.seed"}
        start("munged", "--foreground", "--force", *(f"--{option}={folder}/{name}" for option, name in munge.items()))
        ready((folder / "munge.socket").exists)
        start("slurmctld", "-D", "-c")
        start("slurmd", "-D", "-c")
        stack.callback(end_jobs, environment)
        ready(lambda: slurm(environment, "sinfo", "--noheader", "--format=%t").strip() == "idle")
        yield environment


def records(environment: dict[str, str]) -> list[dict[str, str]]:
    """What Slurm remembers of every job: its rule as Comment, JobState, NumCPUs, TimeLimit, TresPerJob and more."""
    lines = slurm(environment, "scontrol", "--oneliner", "show", "jobs").splitlines()
    return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]


def declared(root: Path, folder: Path, *arguments: str) -> dict[str, SimpleNamespace]:
    """Rule -> threads and resources of its jobs, as a dry run with the profile for Slurm says."""
    output = on_slurm(root, folder, "--dry-run", "--cores", "8", *arguments)
    assert output.returncode == 0, output.stdout + output.stderr
    jobs = {}
    for block in re.split(r"^rule ", output.stdout + output.stderr, flags=re.MULTILINE)[1:]:
        threads = re.search(r"^ +threads: (\d+)$", block, flags=re.MULTILINE)
        resources = re.search(r"^ +resources: (.*)$", block, flags=re.MULTILINE)[1]
        counts = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)(?:,|$)", resources)}
        jobs[block.split(":")[0]] = SimpleNamespace(threads=int(threads[1]) if threads else 1, resources=counts)
    return {rule: job for rule, job in jobs.items() if rule != "all"}


class Attributes(dict):
    """A dict whose entries are attributes too, as Snakemake gives a job's resources to an executor."""

    __getattr__ = dict.__getitem__


def flags(job: SimpleNamespace) -> dict[str, int]:
    """What the call of sbatch for a job says, which is the executor's to put together."""
    asking = SimpleNamespace(resources=Attributes(job.resources), threads=job.threads)
    place = dict.fromkeys(("run_uuid", "slurm_logfile", "comment_str", "account", "partition", "workdir"), "")
    call = plugin.get_submit_command(asking, place) + plugin.set_gres_string(asking)
    assert "--nodes=1" in call
    found = {name: re.search(pattern, call) for name, pattern in FLAGS.items()}
    return {name: int(match[1]) if match else 0 for name, match in found.items()}


def rule_of(job: dict[str, str]) -> str:
    return re.match(r"rule_([a-z_]+?)(_wildcards_|$)", job["Comment"])[1]


def digests(folder: Path) -> dict[str, str]:
    """Every file of the cache and the probe that names no time and no commit."""
    files = [*folder.glob("data/latents/public/tiny/*.safetensors"), *folder.glob("results/tiny/probe/*.png")]
    files += [folder / "data/latents/public/tiny" / name for name in ("definition.json", "manifest.json")]
    files += [folder / "results/tiny/probe" / name for name in ("probe.csv", "selected_cut.json")]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def _slurm() -> None:
    """Skip where there is none."""
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(name, path=PATH)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: apt-get install munge slurmctld slurmd slurm-client")
    if os.geteuid():
        pytest.skip("Slurm's daemons are started as root")


@pytest.fixture(scope="module")
def ran(_slurm, root, made, tmp_path_factory) -> SimpleNamespace:
    """The tiny study up to its probe, as it was made here and on Slurm, in two shards of which each asks for a GPU."""
    base = tmp_path_factory.mktemp("slurm")
    there = new_study(base / "there")
    change(there, lambda values: values["latents"].update(shards=2))
    snakemake(there, "data")
    arguments = ("--set-resources", "encode_shard:gpu=1", "--", "probe")
    asked = declared(root, there, *arguments)
    with cluster(base / "cluster") as environment:
        output = on_slurm(root, there, *arguments, environment=environment)
        logs = "".join(log.read_text() for log in there.glob(".snakemake/slurm_logs/**/*.log"))
        assert output.returncode == 0, output.stdout + output.stderr + logs
        return SimpleNamespace(here=made, there=there, asked=asked, jobs=records(environment))


def test_every_rule_ran_as_a_job_of_its_own(ran):
    expected = {"define_crops": 1, "encode_shard": 2, "encode": 1, "probe_cut": 2, "select_cut": 1}
    assert Counter(map(rule_of, ran.jobs)) == expected
    assert {job["JobState"] for job in ran.jobs} == {"COMPLETED"}


def test_a_job_is_given_what_its_rule_asks_for(ran):
    for job in ran.jobs:
        asked = ran.asked[rule_of(job)]
        assert int(job["NumCPUs"]) == asked.threads
        assert job["MinMemoryNode"] == f"{asked.resources['mem_mb']}M"
        assert job["TimeLimit"] == f"{asked.resources['runtime'] // 60:02}:{asked.resources['runtime'] % 60:02}:00"
        assert job.get("TresPerJob") == ("gres:gpu:1" if rule_of(job) == "encode_shard" else None)


def test_slurm_makes_the_bytes_this_machine_makes(ran):
    assert digests(ran.there) == digests(ran.here)
    assert len(digests(ran.there)) >= 6


@pytest.mark.parametrize(("device", "gpus"), [("cpu", False), ("cuda", True)])
def test_a_rule_that_computes_on_the_device_asks_slurm_for_it(root, tmp_path, device, gpus):
    folder = new_study(tmp_path)
    many = {"device": device, "threads": 3}
    change(folder, lambda values: (values["runtime"].update(many), values["train"].update(processes=2)))
    asked = {rule: flags(job) for rule, job in declared(root, folder, "all").items()}
    on_device = dict.fromkeys(("encode_shard", "probe_cut", "search_rate", "train_rival", "benchmark_rows"), 1)
    on_device |= {"train_field": 2, "measure_runtime": 1}
    on_gpu = {rule: flag["gpus"] for rule, flag in asked.items() if flag["gpus"]}
    assert on_gpu == {rule: number for rule, number in on_device.items() if gpus}
    assert asked["probe_cut"]["threads"] == 3
    assert asked["train_field"]["runtime"] > asked["probe_cut"]["runtime"] > 0
    assert all(flag["mem_mb"] >= 1000 for flag in asked.values())


def test_a_set_enlarged_as_it_is_takes_as_much_more_memory_as_it_has_pixels(root, tmp_path):
    folder = new_study(tmp_path)
    change(folder, lambda values: values["data"].update(base_only=["EmbeddedTiny"]))
    tables = [f"results/tiny/benchmark/{mode}x2/EmbeddedTiny.csv" for mode in ("", "base_only/")]
    paired, enlarged = (declared(root, folder, table)["benchmark_rows"].resources["mem_mb"] for table in tables)
    assert enlarged == 2**2 * paired
