"""The field on a coarser grid: with the scale as its patch, that of the low-resolution features."""

import pytest
import torch
import torch.nn.functional as F
from test_field import awake, tensor


@pytest.mark.parametrize("patch", [2, 4])
def test_patches_are_moved_into_channels_and_back(patch):
    """Channel c p^2 + i p + j of the coarse grid is pixel (i, j) of each patch of channel c."""
    f = tensor(0, 2, 3, 8, 12)
    coarse = F.pixel_unshuffle(f, patch)
    expected = f.reshape(2, 3, 8 // patch, patch, 12 // patch, patch).permute(0, 1, 3, 5, 2, 4)
    assert torch.equal(coarse, expected.reshape(2, 3 * patch**2, 8 // patch, 12 // patch))
    assert torch.equal(F.pixel_shuffle(coarse, patch), f)


@pytest.mark.parametrize("gate", ["none", "channel"])
@pytest.mark.parametrize("block", ["depthwise", "residual"])
@pytest.mark.parametrize("patch", [2, 4])
def test_it_is_the_plain_field_on_patches(patch, block, gate):
    """Its weights are those of a field without patches, of patch^2 times the channels."""
    coarse = awake(patch=patch, block=block, gate=gate)
    plain = awake(channels=6 * patch**2, block=block, gate=gate)
    learned = dict(coarse.named_parameters())
    plain.load_state_dict({name: learned.get(name, value) for name, value in plain.state_dict().items()})
    f_t, f_B, t = tensor(0, 2, 6, 16, 8), tensor(1, 2, 6, 16, 8), torch.tensor([0.2, 0.9])
    found = coarse(f_t, t, f_B, 2)
    expected = plain(F.pixel_unshuffle(f_t, patch), t, F.pixel_unshuffle(f_B, patch), 2)
    assert torch.equal(found.velocity, F.pixel_shuffle(expected.velocity, patch))
    if gate == "channel":
        assert torch.equal(found.gate, F.pixel_shuffle(expected.gate, patch))


@pytest.mark.parametrize("block", ["depthwise", "residual"])
@pytest.mark.parametrize("patch", [1, 2, 4])
def test_it_follows_shifts_by_whole_patches(patch, block):
    """What lies far from the border on an empty ground moves, and its velocity with it."""
    model, t = awake(patch=patch, block=block, blocks=1), torch.tensor([0.3])
    f_t, f_B = torch.zeros(2, 1, 6, 16 * patch, 16 * patch)
    middle = slice(7 * patch, 9 * patch)
    f_t[..., middle, middle], f_B[..., middle, middle] = tensor(0, 2, 1, 6, 2 * patch, 2 * patch)
    velocity = model(f_t, t, f_B, 2).velocity

    def moved(by: int) -> torch.Tensor:
        shift = {"shifts": (by, -by), "dims": (2, 3)}
        back = {"shifts": (-by, by), "dims": (2, 3)}
        return model(f_t.roll(**shift), t, f_B.roll(**shift), 2).velocity.roll(**back)

    inside = slice(4 * patch, 12 * patch)
    assert torch.allclose(moved(patch)[..., inside, inside], velocity[..., inside, inside], atol=1e-5)
    if patch > 1:
        assert not torch.allclose(moved(1)[..., inside, inside], velocity[..., inside, inside], atol=1e-3)
