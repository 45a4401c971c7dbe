"""The training of the embedded autoencoder, on a few tiny steps."""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

pytest.importorskip("timm", reason="training an autoencoder needs the extra 'autoencoder'")

from fsr.autoencoders import training
from fsr.autoencoders.card import measure_reconstruction, write_card
from fsr.autoencoders.frozen import FrozenAutoencoder
from fsr.autoencoders.recipe import AutoencoderTraining, CropPhase
from fsr.sections import read_yaml


@pytest.fixture
def params(root) -> AutoencoderTraining:
    phases = [
        CropPhase(steps=3, batch=2, crop=32, weight_decay=0),
        CropPhase(steps=3, batch=1, crop=48, weight_decay=0.1),
    ]
    return read_yaml(AutoencoderTraining, root / "experiments/embedded_autoencoder.yaml").model_copy(
        update={"block_out_channels": [8, 8, 16, 16], "latent_channels": 4, "phases": phases, "checkpoint_every": 2,
                "validation_every": 3, "warmup_steps": 2}
    )  # fmt: skip


@pytest.fixture
def files(tmp_path):
    for index in range(6):
        pixels = np.random.default_rng(index).integers(0, 256, (8, 10, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((80, 64), Image.BICUBIC).save(tmp_path / f"{index}.png")
    return sorted(tmp_path.glob("*.png"))


def test_an_interrupted_training_ends_with_the_same_weights(params, files, tmp_path, monkeypatch):
    whole = training.train_autoencoder(params, files, tmp_path / "whole", threads=1)
    step, calls = training.train_step, []

    def killed(*arguments):
        calls.append(None)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(training, "train_step", killed)
    with pytest.raises(KeyboardInterrupt):
        training.train_autoencoder(params, files, tmp_path / "stopped", threads=1)
    resumed = training.train_autoencoder(params, files, tmp_path / "stopped", threads=1)
    assert len(calls) == 4 + 4, "it went on from the checkpoint at step 2"
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert whole.config.scaling_factor == resumed.config.scaling_factor


def test_what_is_exported_is_an_autoencoder_with_unit_latents_and_a_measured_card(params, files, tmp_path):
    model = training.train_autoencoder(params, files, tmp_path / "work", threads=1)
    training.export_autoencoder(model, tmp_path / "out")
    loaded = AutoencoderKL.from_pretrained(tmp_path / "out")
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))
    frozen = FrozenAutoencoder(loaded)
    crops = training.CropSource.read(files).batch(32, 48, torch.Generator().manual_seed(0))
    z = frozen.encode(crops / 2 + 0.5)
    assert z.mean().item() == pytest.approx(0, abs=0.2)
    assert z.std().item() == pytest.approx(1, abs=0.2)
    write_card(tmp_path / "out", params, frozen, [measure_reconstruction(frozen, "Six", files)])
    card = (tmp_path / "out/README.md").read_text()
    assert "| Six | 6 |" in card
    assert (tmp_path / "out/reconstruction.csv").read_text().startswith("set,images,psnr")


def test_training_lowers_the_loss(params, files):
    model = training.build_autoencoder(params)
    optimizer = training.build_optimizer(model, params)
    batch = training.CropSource.read(files).batch(2, 32, torch.Generator().manual_seed(0))
    losses = [training.train_step(model, optimizer, batch, params) for _ in range(20)]
    assert losses[-1] < 0.7 * losses[0]


def test_the_schedule_and_the_phases(params):
    assert training.schedule(0, 100, 10, 0.4) == pytest.approx(0.1)
    assert training.schedule(30, 100, 10, 0.4) == 1.0
    assert training.schedule(70, 100, 10, 0.4) == pytest.approx(0.5)
    assert [training.phase_at(params.phases, step).crop for step in (0, 2, 3, 5)] == [32, 32, 48, 48]
    with pytest.raises(ValueError, match="beyond the last phase"):
        training.phase_at(params.phases, 6)


def test_held_out_files_are_not_trained_on(files):
    source, held_out = training.split_files(files, 3)
    assert not set(source) & set(held_out)
    assert set(source) | set(held_out) == set(files)
