import errno
import os
import resource
import signal
import subprocess
from multiprocessing import get_context

import pytest
import torch
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file

import fsr.checkpoint
from fsr.checkpoint import claimed, load_checkpoint, remove_leftovers, save_checkpoint, save_tensors
from fsr.files import write_atomically

FORK = get_context("fork")


def state(width: int = 4):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Linear(width, 2))
    return model, EMAModel(model.parameters(), decay=0.9), torch.optim.AdamW(model.parameters(), lr=0.1)


def advance(model, ema, optimizer, steps):
    for step in steps:
        x = torch.randn(5, 3, generator=torch.Generator().manual_seed(step))
        model(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        ema.step(model.parameters())


def named(run):
    return dict(zip(("model", "ema", "optimizer"), run, strict=True))


def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(tmp_path):
    whole = state()
    advance(*whole, range(7))
    first = state()
    advance(*first, range(4))
    save_checkpoint(tmp_path / "c.safetensors", **named(first), progress={"step": 4})
    second = state()
    assert load_checkpoint(tmp_path / "c.safetensors", **named(second)) == {"step": 4}
    advance(*second, range(4, 7))
    for a, b in ((whole[0].parameters(), second[0].parameters()), (whole[1].shadow_params, second[1].shadow_params)):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_checkpoint_holds_no_pickle(tmp_path):
    run = state()
    advance(*run, range(1))
    save_checkpoint(tmp_path / "c.safetensors", **named(run), progress={})
    assert b"pickle" not in (tmp_path / "c.safetensors").read_bytes()
    assert len(list(tmp_path.iterdir())) == 1


def test_another_models_checkpoint_is_refused(tmp_path):
    save_checkpoint(tmp_path / "c.safetensors", **named(state(4)), progress={})
    with pytest.raises(ValueError, match="c.safetensors belongs to another model; delete it"):
        load_checkpoint(tmp_path / "c.safetensors", **named(state(8)))


def truncated(path):
    path.write_bytes(path.read_bytes()[:-10])


def text(path):
    path.write_text("not a checkpoint")


def empty(path):
    path.write_bytes(b"")


def weights_alone(path):
    save_file({"model.0.weight": torch.zeros(4, 3)}, path)


@pytest.mark.parametrize("damage", [truncated, text, empty, weights_alone])
def test_a_damaged_or_foreign_file_is_refused_in_one_line(tmp_path, damage):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, **named(state()), progress={})
    damage(path)
    with pytest.raises(ValueError, match=r"c\.safetensors is (damaged|no checkpoint).*; delete it to start") as raised:
        load_checkpoint(path, **named(state()))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("code", "remedy"), [(errno.ENOSPC, "the disk is full; free some space"), (errno.EIO, "Input/output error")]
)
def test_a_failed_write_keeps_the_checkpoint_before_and_says_why(tmp_path, monkeypatch, code, remedy):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, **named(state()), progress={"step": 1})
    before = path.read_bytes()

    def full(handle):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fsr.checkpoint.os, "fsync", full)
    with pytest.raises(OSError, match=remedy) as raised:
        save_checkpoint(path, **named(state()), progress={"step": 2})
    assert raised.value.errno == code
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_the_system_lets_grow_no_further_does_so_too(tmp_path):
    """A limit on the size of files: the write fails after a megabyte of four."""
    path = tmp_path / "c.safetensors"
    save_tensors(path, {"a": torch.zeros(3)}, {"step": "1"})

    def limited(say):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            save_tensors(path, {"a": torch.ones(1 << 20)}, {"step": "2"})
        except OSError as error:
            say.send(error.errno)

    ear, say = FORK.Pipe(duplex=False)
    child = FORK.Process(target=limited, args=(say,))
    child.start()
    assert ear.poll(30)
    assert ear.recv() == errno.EFBIG
    child.join()
    assert torch.equal(load_file(path)["a"], torch.zeros(3))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_does_so_too(tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted: {mounted.stderr.decode().strip()}")
    try:
        path = tmp_path / "c.safetensors"
        save_tensors(path, {"a": torch.zeros(3)}, {"step": "1"})
        with pytest.raises(OSError, match=r"cannot write .*c\.safetensors: the disk is full; free some space"):
            save_tensors(path, {"a": torch.ones(1 << 20)}, {"step": "2"})
        assert torch.equal(load_file(path)["a"], torch.zeros(3))
        assert list(tmp_path.iterdir()) == [path]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def hold(folder, say):
    with claimed(folder):
        say.send("mine")
        signal.pause()


def test_a_folder_is_one_processs_until_that_ends_however_it_does(tmp_path, monkeypatch):
    ear, say = FORK.Pipe(duplex=False)
    holder = FORK.Process(target=hold, args=(tmp_path / "run", say))
    holder.start()
    assert ear.poll(30)
    monkeypatch.setattr(fsr.checkpoint, "PATIENCE", 0.1)
    with pytest.raises(OSError, match="another process trains in .*run; wait until it is done, or end it"):
        claimed(tmp_path / "run").__enter__()
    holder.kill()
    holder.join()
    with claimed(tmp_path / "run"):
        pass


def test_claiming_a_folder_clears_what_killed_writes_left_there_and_nothing_else(tmp_path):
    kept = ["checkpoint.safetensors", "trial-2.json", ".gitignore"]
    for name in [*kept, ".checkpoint-0a1b2c_3.safetensors", ".trial-2-abcdefgh.json"]:
        (tmp_path / name).write_text("")
    with claimed(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {*kept, "lock"}


def test_leftovers_of_one_file_are_told_from_those_of_others(tmp_path):
    for name in (".log-12345678.csv", ".log-x-12345678.csv", ".grid-12345678.png", "log.csv"):
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path, "log")
    assert {path.name for path in tmp_path.iterdir()} == {".log-x-12345678.csv", ".grid-12345678.png", "log.csv"}


def test_leftovers_are_named_as_atomic_writes_name_them(tmp_path):
    def write(temporary):
        temporary.write_text("")
        remove_leftovers(tmp_path, "log")
        assert not temporary.exists()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "log.csv", write)
