"""Small real models and images shared by the tests."""

import copy
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.state import AcceleratorState
from diffusers import AutoencoderKL

from fsr.autoencoders import FrozenAutoencoder
from fsr.config import Params, validated

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _fresh_process_state():
    """One CPU thread, and no precision left over from another test's accelerator."""
    torch.set_num_threads(1)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


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


def tiny_model(
    *, quant: bool = False, widths: tuple[int, ...] = (8, 8, 16, 16), shift: float | None = 0.1
) -> AutoencoderKL:
    """A random AutoencoderKL with FLUX's stage structure at a fraction of its width."""
    torch.manual_seed(0)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.4,
        shift_factor=shift,
        use_quant_conv=quant,
        use_post_quant_conv=quant,
    )


@pytest.fixture(scope="session")
def autoencoder() -> FrozenAutoencoder:
    """A tiny random frozen autoencoder."""
    return FrozenAutoencoder(tiny_model())
