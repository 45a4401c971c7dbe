"""The tiny study, run once for all processes that test."""

import os
from pathlib import Path

import pytest
from commands import STAGES, call, commit, copy, new_clone, once, stages


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """The tiny study as `dvc repro` makes it in a clean clone, committed: to be looked at and copied, not changed."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(clone: Path) -> None:
        assert stages(call(new_clone(clone), "dvc", "repro"), "Running stage") == STAGES
        commit(clone)

    return once(shared / "study/made", make)


@pytest.fixture
def copied(made, tmp_path_factory) -> Path:
    """A copy of the finished study, free to change."""
    return copy(made, tmp_path_factory.mktemp("copied") / "made")
