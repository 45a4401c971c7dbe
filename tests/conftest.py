"""Small real models and images shared by the tests."""

import copy
import signal
import sys
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.state import AcceleratorState
from tiny_models import tiny_model

from fsr import cli
from fsr.autoencoders import FrozenAutoencoder
from fsr.config import Params
from fsr.sections import validated

ROOT = Path(__file__).parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole studies first, so that several processes (make test) end at about the same time."""
    items.sort(key=lambda item: item.path.parent.name != "study")


@pytest.fixture(autouse=True)
def _fresh_process_state():
    """One CPU thread, and no precision left over from another test's accelerator."""
    torch.set_num_threads(1)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session", autouse=True)
def _interruptible():
    """Ctrl-C reaches what tests interrupt, also where a shell that runs the tests in the background has it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture
def values() -> dict:
    """The tiny study's parameters as a plain dict, free to change."""
    return copy.deepcopy(yaml.safe_load((ROOT / "tests/tiny/params.yaml").read_text()))


@pytest.fixture
def params(values) -> Params:
    """The tiny study's parameters."""
    return validated(Params, values, "tests/tiny/params.yaml")


@pytest.fixture(scope="session")
def autoencoder() -> FrozenAutoencoder:
    """A tiny random frozen autoencoder."""
    return FrozenAutoencoder(tiny_model())


@pytest.fixture
def fsr(monkeypatch, capsys):
    """The command, as installed: its exit code, and what it wrote to stdout and stderr."""

    def run(*arguments: Path | str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fsr", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, *capsys.readouterr()

    return run
