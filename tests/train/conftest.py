"""A small cache, and what training on it is asked for."""

from collections.abc import Callable
from pathlib import Path

import pytest
from test_latents import build, photos  # noqa: F401 - a fixture

from fsr.config import Params
from fsr.sections import validated


@pytest.fixture
def manifest(params, photos, autoencoder, tmp_path) -> Path:  # noqa: F811
    """The tiny study's cache."""
    return build(params, photos, autoencoder, tmp_path / "cache/manifest.json")


@pytest.fixture(scope="session")
def changed() -> Callable[..., Params]:
    """`changed(values, lr=0.1)`: the parameters in `values`, with some of `train` changed."""

    def change(values: dict, **train) -> Params:
        return validated(Params, values | {"train": values["train"] | train}, "test")

    return change
