"""The benchmark of tiles runs and compares like with like; how fast anything is, it does not test."""

import argparse
import importlib.util
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_model, tiny_of

from fsr.autoencoders import FrozenAutoencoder
from fsr.autoencoders.tiles import run_in_tiles
from fsr.images import read_image, write_image
from fsr.tiling import Tiling


@pytest.fixture(scope="module")
def loaded(root):
    """The benchmark as a module."""
    spec = importlib.util.spec_from_file_location("benchmark_of_tiling", root / "benchmarks/tiling.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def tiling(loaded, monkeypatch):
    """The benchmark with small random networks."""
    small = loaded.read_params("flux").train.field.model_copy(update={"hidden": 8, "blocks": 1})
    params = loaded.read_params("flux")
    params = params.model_copy(update={"train": params.train.model_copy(update={"field": small})})
    monkeypatch.setattr(loaded, "read_params", lambda vae: params)
    monkeypatch.setattr(loaded, "load_frozen", frozen)

    def in_this_process(given, *options):
        apart = {"inputs": Path(options[1]), "only": options[3:]}
        return loaded.run_once(argparse.Namespace(**vars(given) | apart))

    monkeypatch.setattr(loaded, "in_a_process", in_this_process)
    monkeypatch.delenv("FSR_MIRROR", raising=False)
    return loaded


def frozen(vae: str) -> FrozenAutoencoder:
    kinds = {"flux": "AutoencoderKL", "embedded": "AutoencoderKL", "taef1": "AutoencoderTiny", "taef2": "TAEF2"}
    return FrozenAutoencoder(tiny_of(kinds[vae]))


def arguments(tiling, *given: str):
    return tiling.read_arguments(["--side", "64", "--rows", "32", "72", "--rounds", "1", "--no-peaks", *given])


def subject(tiling, tmp_path, *given: str):
    tiling.write_inputs(arguments(tiling, *given), tmp_path / "inputs.safetensors")
    return tiling.load_subject(arguments(tiling, *given), tmp_path / "inputs.safetensors")


def cells(text: str) -> list[list[str]]:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    return [row for row in rows if row[0] not in ("way", "---", "from", "---:")]


@pytest.mark.parametrize("vae", ["flux", "taef1", "taef2"])
def test_it_prints_every_way_beside_whole_tensors(tiling, vae, capsys, tmp_path):
    options = ["--vae", vae, "--memory", "1TB", *(["--pictures", str(tmp_path)] if vae == "flux" else [])]
    tiling.main(arguments(tiling, *options))
    printed = capsys.readouterr().out
    decode, upscale = (cells(part) for part in printed.split("**upscale**"))
    exact = ["exact, automatic", "exact, 32 rows", "exact, 72 rows", "exact, within 1024.00 GiB"]
    others = ["`vae.tile` 64", "`vae.tile` 96"]
    if vae != "taef2":
        others = ["diffusers, 64 x 64", "`vae.tile` 64", "diffusers, 96 x 96", "`vae.tile` 96"]
    assert [row[0] for row in decode] == ["whole tensors", *exact, *others]
    assert [row[0] for row in upscale] == ["whole tensors", *exact]
    assert ("diffusers has no tiles for Taef2" in printed) == (vae == "taef2")
    for table in (decode, upscale):
        assert table[0][2:5] == ["1.00 (1.00-1.00)", "0", "0"]
        for name, seconds, _, most, mean, *_ in table[1:]:
            assert float(seconds) >= 0
            assert 0 <= float(mean) <= float(most)
            assert (float(most) <= 1e-4) == name.startswith("exact")
    assert printed.count("they differ by at most 0.0001: kept") == 2
    assert printed.count("they keep within 1048576 MiB: kept") == 2
    pictures = sorted(file.name for file in tmp_path.glob("*.png"))
    assert len(pictures) == (4 if vae == "flux" else 0)
    if pictures:
        picture = read_image(tmp_path / pictures[0])
        assert picture.shape[-2:] == (2 * 128, 2 * 128)
        errors = picture[..., 128 + 32 :, :].std(dim=-2).mean(dim=(0, 1))
        assert errors[:128].max() < 1 / 255 < errors[128:].mean(), "grey beside what is amplified"


def test_all_ways_of_a_table_make_the_same_image_of_the_same_latents(tiling, tmp_path):
    """But for what tiles lose: of a model that sees no further than they overlap, nothing."""
    near = subject(tiling, tmp_path, "--vae", "taef1")
    autoencoder = near.autoencoder
    for module in autoencoder.model.decoder.modules():  # 1x1 convolutions, as far as an image's values go
        if isinstance(module, torch.nn.Conv2d) and module.kernel_size == (3, 3):
            weight = torch.zeros_like(module.weight)
            weight[..., 1, 1] = module.weight[..., 1, 1]
            module.weight.data = weight
    ways = tiling.decode_ways(near, [32, 72], None)
    assert [way.exact for way in ways] == [False, True, True, True, False, False, False, False]
    images = [way.run() for way in ways]
    assert images[0].std() > 0.01
    for way, image in zip(ways, images, strict=True):
        assert torch.allclose(image, images[0], atol=1e-5), way.name


def test_a_way_leaves_nothing_changed_for_the_next(tiling, tmp_path):
    found = subject(tiling, tmp_path, "--vae", "flux")
    model, ways = found.autoencoder.model, tiling.decode_ways(found, [32], None)
    before, kept = ways[0].run(), (model.tile_sample_min_size, model.tile_latent_min_size)
    for way in ways:
        way.run()
        assert torch.equal(ways[0].run(), before), way.name
    assert (model.tile_sample_min_size, model.tile_latent_min_size, model.use_tiling) == (*kept, False)


def test_the_field_moves_what_is_upscaled(tiling, tmp_path):
    found = subject(tiling, tmp_path, "--vae", "flux")
    moved = found.renderer.upscale(found.z_L, 2, Tiling(whole=True))
    torch.nn.init.zeros_(found.renderer.field.out_velocity.weight)
    unmoved = found.renderer.upscale(found.z_L, 2, Tiling(whole=True))
    assert moved.shape == unmoved.shape == (1, 3, *found.sides)
    assert (moved - unmoved).abs().mean() > 1e-3


def test_a_tile_has_as_many_pixels_as_a_strip(tiling):
    for rows, width in ((32, 512), (64, 512), (128, 512), (32, 256), (128, 4096)):
        tile = tiling.tile_of(rows, width)
        assert tile % tiling.COARSE == 0
        assert abs(tile - math.sqrt(rows * width)) <= tiling.COARSE / 2


@pytest.mark.parametrize("vae", ["flux", "taef1"])
def test_overlaps_are_where_diffusers_has_them(tiling, vae):
    """A tile whose latents change alters its own pixels and those it shares, and no others."""
    autoencoder = frozen(vae)
    length, tile, overlap = 20, 64, autoencoder.model.tile_overlap_factor
    overlaps = tiling.diffusers_overlaps(8 * length, tile, 8, overlap)
    torch.manual_seed(0)
    z = torch.randn(1, 4, length, 8)
    other = z.clone()
    first = overlaps[1][1] // 8  # latents of the third tile alone
    other[..., first:, :] = torch.randn(1, 4, length - first, 8)
    before, after = (tiling.diffusers_decode(autoencoder, latents, tile) for latents in (z, other))
    differs = (before - after).abs().amax((0, 1, 3)) > 0
    assert not differs[: overlaps[1][0]].any()
    assert differs[overlaps[1][1] :].all()


def test_overlaps_are_where_vae_tile_has_them(tiling):
    seen = []
    run_in_tiles(lambda x: seen.append(x) or x, torch.arange(20.0).view(1, 1, 20, 1), 8, 1, 1)
    starts = [int(part.min()) for part in seen]
    expected = tuple((start, stop + 8) for stop, start in pairwise(starts))
    assert tiling.faded_overlaps(20, 8) == expected == ((6, 8), (12, 14))
    assert tiling.faded_overlaps(8, 8) == ()


GRID = ((32, 32), (64, 64), (96, 96))
SHARED = ((48, 64), (96, 112))


def noise(height: int = 128, width: int = 160) -> torch.Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))


def plateaus(overlaps, tones, length: int = 128, width: int = 160) -> torch.Tensor:
    """Rows of one tone a tile, faded into the next where they overlap."""
    rows = torch.full((length,), float(tones[0]))
    for (start, stop), before, tone in zip(overlaps, tones, tones[1:], strict=False):
        rows[start:stop] = torch.linspace(before, tone, stop - start + 2)[1:-1]
        rows[stop:] = tone
    return rows.view(1, 1, length, 1).expand(1, 3, length, width)


@pytest.mark.parametrize("overlaps", [GRID, SHARED])
def test_seams_show_in_seam_energy_and_nothing_else_does(loaded, overlaps):
    borders, texture = loaded.Borders(overlaps), noise()
    seams = plateaus(overlaps, (0, 1, 0, 1))
    assert loaded.seam_energy(texture, borders) == pytest.approx(1, abs=0.35)
    assert loaded.seam_energy(texture + 3 * torch.linspace(0, 1, 160), borders) == pytest.approx(1, abs=0.35)
    assert loaded.seam_energy(texture + torch.linspace(0, 1, 128).view(-1, 1), borders) == pytest.approx(1, abs=0.35)
    assert loaded.seam_energy(texture + seams, borders) > 8
    assert loaded.seam_energy(texture / 1e6 + seams, borders) > 1e6
    shifted = plateaus(tuple((start + 16, stop + 16) for start, stop in overlaps), (0, 1, 0, 1))
    assert loaded.seam_energy(texture + shifted, borders) < 1.5, "steps elsewhere are no seams"


def test_seam_energy_is_the_ratio_it_says(loaded):
    """Steps of 2 at one border of a slope that rises by 0.5 a pixel: (2.5 / 0.5) squared."""
    slope = (0.5 * torch.arange(64.0)).view(1, 1, 64, 1).expand(1, 3, 64, 64)
    step = plateaus(((32, 32),), (0, 2), 64, 64)
    borders = loaded.Borders(((32, 32),))
    assert loaded.seam_energy(slope + step, borders) == pytest.approx(25)
    turned = loaded.Borders((), borders.rows)
    assert loaded.seam_energy((slope + step).transpose(-1, -2), turned) == pytest.approx(25)
    assert loaded.seam_energy(slope + step, turned) != pytest.approx(25)
    assert loaded.seam_energy(step, borders) == math.inf
    assert math.isnan(loaded.seam_energy(0 * step, borders))
    assert math.isnan(loaded.seam_energy(slope, loaded.Borders()))


def test_what_an_enlargement_repeats_is_no_seam(loaded):
    """Every eighth row is a step up or down; borders are among them."""
    repeated = noise(16).repeat_interleave(8, dim=2)
    assert loaded.seam_energy(repeated, loaded.Borders(GRID)) == pytest.approx(1, abs=0.5)


def test_tone_step_is_how_far_tiles_drift_apart(loaded):
    assert loaded.tone_step(plateaus(GRID, (0, 1, 0, 3)), loaded.Borders(GRID)) == pytest.approx((1 + 1 + 3) / 3)
    assert loaded.tone_step(plateaus(SHARED, (0, 1, -1)), loaded.Borders(SHARED)) == pytest.approx((1 + 2) / 2)
    assert loaded.tone_step(plateaus(SHARED, (5, 5, 5)), loaded.Borders(SHARED)) == pytest.approx(0)
    checked = plateaus(((64, 64),), (0, 1)) + plateaus(((80, 80),), (0, 4), 160, 128).transpose(-1, -2)
    both = loaded.Borders(((64, 64),), ((80, 80),))
    assert loaded.tone_step(checked, both) == pytest.approx((1 + 1 + 4 + 4) / 4)
    assert loaded.tone_step(noise(), both) < 0.05, "texture has no tone"
    assert math.isnan(loaded.tone_step(noise(), loaded.Borders()))


def test_too_little_memory_is_a_reason_in_the_table(tiling, capsys):
    tiling.main(arguments(tiling, "--memory", "1MB"))
    rows = [row for row in cells(capsys.readouterr().out) if row[0].startswith("exact, within")]
    assert len(rows) == 2
    for row in rows:
        assert set(row[1:-1]) == {"–"}
        assert "is too small for this image" in row[-1]


def test_the_verdict_is_about_exact_ways(loaded):
    def measured(seconds, error, exact):
        way = loaded.Way("a way", lambda: None, exact=exact)
        return loaded.Measured(way, torch.full((1, 3, 8, 8), error), [seconds])

    base = measured(1.0, 0.0, False)
    good = loaded.verdict([base, measured(1.3, 5e-5, True), measured(9.0, 1.0, False)], "float32")
    assert good.count("kept") == 2 and "NOT" not in good
    assert "1.35 × the time of whole tensors: NOT kept" in loaded.verdict([base, measured(1.4, 0, True)], "float32")
    limited = loaded.Measured(loaded.Way("a way", lambda: None, exact=True, memory=2**30), base.image, [1.0])
    for limited.peak, kept in ((2**30, "1024 MiB: kept"), (2**30 + 1, "1024 MiB: NOT kept")):
        assert kept in loaded.verdict([base, limited], "float32")
    assert "0.0001: NOT kept" in loaded.verdict([base, measured(1, 2e-4, True)], "float32")
    assert "differ" not in loaded.verdict([base, measured(1, 2e-4, True)], "bfloat16")


def test_memory_is_that_of_a_process_of_its_own(loaded, tmp_path):
    """The image is of 384 x 384 pixels: the last features of the embedded decoder take 18 MiB, and several wait."""
    given = loaded.read_arguments(["--vae", "embedded", "--cut", "f4", "--side", "192", "--rows", "16"])
    inputs = tmp_path / "inputs.safetensors"
    loaded.write_inputs(given, inputs)
    whole, strips = (
        loaded.in_a_process(given, "--inputs", str(inputs), "--only", "decode", name)
        for name in ("whole tensors", "exact, 16 rows")
    )
    assert whole["taken"] > 2 * 18 * 2**20
    assert strips["taken"] < 0.8 * whole["taken"]
    for found in (whole, strips):
        assert found["taken"] < 0.5 * found["peak"], "libraries and networks are not in what a way takes"


def test_memory_stands_beside_its_way_or_the_reason_why_not(tiling, monkeypatch, capsys):
    def measured(_, *options):
        table, name = options[-2:]
        if name == "exact, 32 rows":
            raise ValueError("killed")
        return {"seconds": [], "taken": 2**20 * len(name), "peak": 2**30 if table == "decode" else 2**31}

    monkeypatch.setattr(tiling, "in_a_process", measured)
    tiling.main(arguments(tiling, "--peaks", "--vae", "flux"))
    decode, upscale = (cells(part) for part in capsys.readouterr().out.split("**upscale**"))
    for rows, peak in ((decode, "1024"), (upscale, "2048")):
        for row in rows:
            failed = row[0] == "exact, 32 rows"
            assert row[-3:] == (["–", "–", "killed"] if failed else [str(len(row[0])), peak, ""])
            assert float(row[1]) >= 0


def test_what_fails_in_its_process_says_why(loaded, monkeypatch):
    given = loaded.read_arguments(["--large", "--side", "16", "--memory", "1MB"])
    fails = [sys.executable, "-c", "raise ValueError('it is too small')"]
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda command, **options: run(fails, **options))
    with pytest.raises(ValueError, match="^it is too small"):
        loaded.in_a_process(given, "--large-one")
    assert {row[4] for row in cells(loaded.large(given))} == {"it is too small"}


def test_large_images_are_upscaled_within_a_memory(tiling, monkeypatch):
    given = tiling.read_arguments(["--large", "--side", "16", "--memory", "1TB"])
    monkeypatch.setattr(tiling, "in_a_process", lambda case, *_: tiling.upscale_once(case))
    rows = cells(tiling.large(given))
    assert [row[:2] for row in rows] == [["16", "64"], ["32", "64"]]
    assert [row[4] for row in rows] == ["yes", "yes"]
    default = tiling.read_arguments(["--large"])
    assert (default.side, default.memory, default.vae) == (1024, 6 * 2**30, "flux")
    monkeypatch.setattr(tiling, "in_a_process", lambda case, *_: {"peak": given.memory + 1, "seconds": 1})
    assert {row[4] for row in cells(tiling.large(given))} == {"NO"}


def test_images_are_the_given_ones_the_mirrors_or_synthetic(tiling, tmp_path, monkeypatch):
    torch.manual_seed(0)
    file = write_image(tmp_path / "mirror" / tiling.PHOTOGRAPH, torch.rand(1, 3, 40, 48))
    image, what = tiling.photograph(None, 32)
    assert what == "a synthetic image"
    assert image.shape == (1, 3, 32, 32)
    halves = image[..., :16].mean(), image[..., 16:].mean()
    assert halves[1] - halves[0] > 0.2
    monkeypatch.setenv("FSR_MIRROR", str(tmp_path / "mirror"))
    image, what = tiling.photograph(None, 32)
    assert what == file.name
    assert torch.equal(image, read_image(file)[..., 4:36, 8:40])
    assert tiling.photograph(None, 64)[1] == "a synthetic image"
    with pytest.raises(ValueError, match="smaller than 64x64; give a larger image, or a smaller --side"):
        tiling.photograph(file, 64)
    with pytest.raises(ValueError, match="a side of 20 is no multiple of 8"):
        tiling.write_inputs(tiling.read_arguments(["--side", "20"]), tmp_path / "inputs.safetensors")


def test_random_weights_are_of_the_real_architecture(loaded):
    with torch.device("meta"):
        model = loaded.random_flux()
    assert sum(parameter.numel() for parameter in model.parameters()) == 83_819_683  # as published
    assert tiny_model().config.keys() == model.config.keys()
