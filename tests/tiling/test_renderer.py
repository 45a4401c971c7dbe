"""Tiles are exact: whatever the family, cut, size and tile, what comes out is what whole tensors give."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import tiny_model, tiny_of
from torch import nn

from fsr.autoencoders import CUTS, FrozenAutoencoder, weights_sha256
from fsr.flow.field import VectorField
from fsr.tiling import Renderer, Tiling, workspace
from fsr.tiling.lowering import lower
from fsr.tiling.program import Program

FAMILIES = ("AutoencoderKL", "AutoencoderKLFlux2", "AutoencoderTiny", "TAEF2")
WHOLE = Tiling(whole=True)
FLOAT32, BFLOAT16 = 1e-4, 1 / 255


def moving_field(
    autoencoder: FrozenAutoencoder, cut: str, block: str = "residual", patch: int = 1, gate: str = "none"
) -> VectorField:
    """A random field for scales 2 and 4 whose every weight matters; coordinates are not the features' own."""
    torch.manual_seed(1)
    channels, hash_ = autoencoder.decoder.cut(cut).channels, weights_sha256(autoencoder)
    field = VectorField(channels, cut, [2, 4], hash_, hidden=8, blocks=2, block=block, patch=patch, gate=gate)
    for parameter in field.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.15)
    nn.init.normal_(field.feature_mean, std=0.3)
    nn.init.uniform_(field.feature_std, 0.5, 1.5)
    return field.eval()


def latents(autoencoder: FrozenAutoencoder, height: int, width: int, seed: int = 0, batch: int = 1) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(batch, autoencoder.latent_channels, height, width, generator=source)


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    assert a.std() > 0.01, "all alike: nothing is compared"
    return (a.float() - b.float()).abs().max().item()


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_upscaling_in_tiles_is_upscaling_whole(family, cut):
    autoencoder = FrozenAutoencoder(tiny_of(family))
    plain = Renderer(autoencoder, moving_field(autoencoder, cut))
    gated = Renderer(autoencoder, moving_field(autoencoder, cut, "depthwise", patch=2, gate="channel"))

    @settings(max_examples=6, deadline=None)
    @given(
        height=st.integers(1, 7), width=st.integers(1, 7), rows=st.integers(1, 60), scale=st.sampled_from([2, 4]),
        renderer=st.sampled_from([plain, gated]), seed=st.integers(0, 9),
    )  # fmt: skip
    def check(height, width, rows, scale, renderer, seed):
        z = latents(autoencoder, height, width, seed)
        assert apart(renderer.upscale(z, scale, Tiling(rows=rows)), renderer.upscale(z, scale, WHOLE)) <= FLOAT32

    check()


@pytest.mark.parametrize("family", FAMILIES)
def test_encoding_and_decoding_in_tiles_are_whole_ones(family):
    renderer = Renderer(FrozenAutoencoder(tiny_of(family)))
    factor = renderer.autoencoder.factor

    @settings(max_examples=12, deadline=None)
    @given(height=st.integers(1, 9), width=st.integers(1, 9), rows=st.integers(1, 80))
    def check(height, width, rows):
        images = torch.rand(2, 3, height * factor, width * factor, generator=torch.Generator().manual_seed(height))
        z = renderer.encode(images, WHOLE)
        assert apart(renderer.encode(images, Tiling(rows=rows)), z) <= FLOAT32
        assert apart(renderer.decode(z, Tiling(rows=rows)), renderer.decode(z, WHOLE)) <= FLOAT32

    check()


@pytest.mark.parametrize("quant", [False, True])
def test_an_autoencoder_with_convolutions_around_the_latent(quant):
    renderer = Renderer(FrozenAutoencoder(tiny_model(quant=quant)))
    images = torch.rand(1, 3, 40, 24)
    z = renderer.encode(images, Tiling(rows=5))
    assert apart(z, renderer.encode(images, WHOLE)) <= FLOAT32
    assert apart(renderer.decode(z, Tiling(rows=5)), renderer.decode(z, WHOLE)) <= FLOAT32


def test_widths_at_which_products_are_saved():
    """Where convolutions take the faster way: FLUX's own widths, of fewer layers."""
    torch.manual_seed(0)
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 128, 128, 160), layers_per_block=1, latent_channels=4, norm_num_groups=8,
    )  # fmt: skip
    autoencoder = FrozenAutoencoder(model)
    renderer = Renderer(autoencoder, moving_field(autoencoder, "f2"))
    z = latents(autoencoder, 5, 3)
    for rows in (3, 16, 99):
        assert apart(renderer.upscale(z, 2, Tiling(rows=rows)), renderer.upscale(z, 2, WHOLE)) <= FLOAT32


@pytest.mark.parametrize("family", ["AutoencoderKL", "TAEF2"])
def test_in_bfloat16_tiles_differ_by_less_than_a_level(family):
    """The field stays in float32, as where bfloat16 is asked for."""
    autoencoder = FrozenAutoencoder(nn.Module.to(tiny_of(family), torch.bfloat16))
    renderer = Renderer(autoencoder, moving_field(autoencoder, "f3", patch=2))
    z = latents(autoencoder, 5, 4)
    untiled = renderer.upscale(z, 2, Tiling(rows=10**6))
    for rows in (1, 6, 16):
        assert apart(renderer.upscale(z, 2, Tiling(rows=rows)), untiled) <= BFLOAT16
    assert apart(untiled, renderer.upscale(z, 2, WHOLE)) <= 12 * BFLOAT16  # roundings of every layer fall otherwise


def test_tiles_of_diffusers_are_not_exact_where_these_are():
    model = tiny_model(widths=(16, 16, 32, 32))
    autoencoder = FrozenAutoencoder(model)
    z = latents(autoencoder, 24, 24) * torch.linspace(0.1, 3, 24)  # contrast grows from left to right
    whole = autoencoder.decode(z)
    model.enable_tiling()
    model.tile_latent_min_size, model.tile_sample_min_size = 8, 64
    blended = autoencoder.images(model.decode(autoencoder.raw(z)).sample)
    model.disable_tiling()
    exact = Renderer(autoencoder).decode(z, Tiling(rows=64))
    assert apart(exact, whole) <= FLOAT32
    assert apart(blended, whole) > 100 * FLOAT32


def test_features_in_files_are_the_same_to_the_bit_and_leave_nothing_behind(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("fsr.tiling.workspace.resident", lambda device: 0)
    monkeypatch.setattr("fsr.tiling.workspace.SPARE", 0)
    autoencoder = FrozenAutoencoder(tiny_model())
    renderer = Renderer(autoencoder, moving_field(autoencoder, "f3", patch=2, gate="scalar"))
    z = latents(autoencoder, 6, 5)
    kept, limits, files = renderer.upscale(z, 2, Tiling(rows=8)), [], []
    store = workspace.FileStore
    monkeypatch.setattr(workspace, "FileStore", lambda shape, dtype: files.append(shape) or store(shape, dtype))
    for memory in (2_500_000, 1_200_000, 700_000):
        try:
            assert torch.equal(renderer.upscale(z, 2, Tiling(rows=8, memory=memory)), kept)
            limits.append(memory)
        except ValueError as error:
            assert "is too small for this image, which takes" in str(error)
    assert limits, "no limit was kept to"
    assert files, "everything fitted"
    assert list(tmp_path.iterdir()) == []


MEASURED = """
import sys, torch
from pathlib import Path
sys.path.insert(0, {tests!r})
from diffusers import AutoencoderKL
from test_renderer import moving_field
from fsr.autoencoders import FrozenAutoencoder
from fsr.tiling import Renderer, Tiling, workspace
from fsr.tiling.workspace import resident
torch.set_num_threads(1)
torch.manual_seed(0)
model = AutoencoderKL(
    down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    block_out_channels=(16, 16, 16, 16), layers_per_block=1, latent_channels=4, norm_num_groups=4,
)
autoencoder = FrozenAutoencoder(model)
renderer = Renderer(autoencoder, moving_field(autoencoder, "f3"))
side, extra = {side}, {extra}
memory = resident(torch.device("cpu")) + extra
images = torch.rand(1, 3, side, side)
made = renderer.upscale(renderer.encode(images, Tiling(memory=memory)), 2, Tiling(memory=memory))
made = (made.clamp(0, 1) * 255).round().to(torch.uint8)
status = Path("/proc/self/status").read_text()
peak = 1024 * int(status.split("VmHWM:")[1].split()[0])
print(memory, peak, made.shape[-1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak of a process is read off Linux's /proc")
@pytest.mark.parametrize(("side", "extra"), [(768, 320), (896, 360), (1152, 480)])
def test_the_peak_stays_below_the_memory_allowed(root, side, extra):
    """Feature maps of the output's size are 151, 206 and 340 MB; without a limit several wait at once."""
    code = MEASURED.format(tests=str(root / "tests/tiling"), side=side, extra=extra * 2**20)
    environment = {"PYTHONPATH": str(root / "tests")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    memory, peak, width = map(int, done.stdout.split())
    assert width == 2 * side
    assert peak <= memory


def test_what_tiles_cannot_do_is_an_error_and_not_something_else():
    autoencoder = FrozenAutoencoder(tiny_model())
    renderer = Renderer(autoencoder, moving_field(autoencoder, "f1", patch=4))
    with pytest.raises(ValueError, match="features of 6x2 are no multiples of the field's patch 4"):
        renderer.upscale(latents(autoencoder, 1, 3), 2, Tiling(rows=8))
    with pytest.raises(ValueError, match="an image of 30x16 must be cropped to multiples of 8"):
        renderer.encode(torch.rand(1, 3, 16, 30))
    with pytest.raises(ValueError, match="scale 3 is not one this field was trained for"):
        renderer.upscale(latents(autoencoder, 4, 4), 3)
    program = Program(torch.device("cpu"), torch.float32)
    others = [nn.Conv2d(4, 4, 3, **kind) for kind in ({}, {"stride": 2}, {"padding": 1, "dilation": 2}, {"padding": 2})]
    others += [nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), nn.Conv2d(4, 4, 5, padding=2)]
    for module in (*others, nn.Conv2d(4, 4, (3, 1), padding=(1, 0)), nn.BatchNorm2d(4)):
        with pytest.raises(ValueError, match="cannot be made in strips; decode with tile off"):
            lower(program, program.start(4), module)


def test_weights_that_were_moved_or_cast_are_seen():
    autoencoder = FrozenAutoencoder(tiny_model())
    renderer, z = Renderer(autoencoder), latents(autoencoder, 3, 3)
    before = renderer.decode(z)
    autoencoder.model.to(torch.float64)
    assert renderer.decode(z.double()).dtype == torch.float32
    assert apart(renderer.decode(z.double()), before) <= FLOAT32


def test_progress_rises_to_one_in_every_call_whatever_the_batch():
    autoencoder = FrozenAutoencoder(tiny_model())
    renderer, shares = Renderer(autoencoder, moving_field(autoencoder, "f3")), []
    renderer.progress = shares.append
    for batch in (1, 2):
        renderer.upscale(latents(autoencoder, 5, 4, batch=batch), 2, Tiling(rows=8))
        assert shares == sorted(shares)
        assert shares[-1] == 1 > shares[-2], "1 is said at the end alone"
        assert len(shares) > 20 * batch
        shares.clear()


def test_what_the_caller_computes_in_does_not_reach_inside():
    """Under autocast, as pipelines are often called, float32 networks would else be rounded in every layer."""
    autoencoder = FrozenAutoencoder(tiny_model(widths=(32, 128, 128, 128)))
    renderer, z = Renderer(autoencoder), latents(autoencoder, 3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        inside = renderer.decode(z)
    assert torch.equal(inside, renderer.decode(z))


@pytest.mark.parametrize(
    ("tiling", "strips"),
    [
        (Tiling(), False),
        (Tiling(whole=True), False),
        (Tiling(whole=False), True),
        (Tiling(rows=8), True),
        (Tiling(memory=2**40), True),
    ],
)
def test_on_a_gpu_strips_are_made_where_any_are_asked_for(monkeypatch, tiling, strips):
    autoencoder, made = FrozenAutoencoder(tiny_model()), []
    renderer, run = Renderer(autoencoder), Renderer._run
    monkeypatch.setattr(Renderer, "_run", lambda self, *given: made.append(given) or run(self, *given))
    monkeypatch.setattr(FrozenAutoencoder, "device", torch.device("cuda"))
    renderer.decode(latents(autoencoder, 2, 2), tiling)
    assert bool(made) == strips
