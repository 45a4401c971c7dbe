import pytest
import torch
from diffusers.training_utils import EMAModel

from fsr.checkpoint import load_checkpoint, save_checkpoint


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


def named(run):
    return dict(zip(("model", "ema", "optimizer"), run, strict=True))


def test_another_models_checkpoint_is_refused(tmp_path):
    save_checkpoint(tmp_path / "c.safetensors", **named(state(4)), progress={})
    with pytest.raises(ValueError, match="belongs to another model; delete it"):
        load_checkpoint(tmp_path / "c.safetensors", **named(state(8)))


def test_a_checkpoint_holds_no_pickle(tmp_path):
    run = state()
    advance(*run, range(1))
    save_checkpoint(tmp_path / "c.safetensors", **named(run), progress={})
    assert b"pickle" not in (tmp_path / "c.safetensors").read_bytes()
    assert len(list(tmp_path.iterdir())) == 1
