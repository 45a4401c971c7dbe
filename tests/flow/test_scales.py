"""One field for several scales: what tells them apart, and that nothing else does."""

import pytest
import torch
from test_field import awake, field, tensor

F_T, F_B, T = tensor(0, 2, 6, 8, 8), tensor(1, 2, 6, 8, 8), torch.tensor([0.1, 0.7])


def test_a_field_of_two_scales_learns_what_none_blind_to_them_can():
    """The same input asks for 2 at scale 2 and 0 at scale 4: without the scale, the mean error cannot fall below 1."""
    model = field(scales=(2, 4), gate="none")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        errors = [(model(F_T, T, F_B, scale).velocity - v).square().mean() for scale, v in ((2, 2.0), (4, 0.0))]
        optimizer.zero_grad()
        sum(errors).backward()
        optimizer.step()
    assert sum(errors).item() / 2 < 0.2


@pytest.mark.parametrize("block", ["depthwise", "residual"])
def test_only_the_embedding_of_the_scale_separates_them(block):
    model = awake(scales=(2, 4), block=block)
    with torch.no_grad():
        model.scale_embedding.weight.mul_(100)
        at_2, at_4 = (model(F_T, T, F_B, scale).velocity for scale in (2, 4))
        assert not torch.allclose(at_2, at_4, atol=1e-3)
        model.scale_embedding.weight.copy_(model.scale_embedding.weight.flip(0))
        assert torch.equal(model(F_T, T, F_B, 2).velocity, at_4)
        model.scale_embedding.weight[0] = model.scale_embedding.weight[1]
        assert torch.equal(model(F_T, T, F_B, 2).velocity, model(F_T, T, F_B, 4).velocity)


def test_the_scale_is_added_to_the_time():
    model = awake(scales=(2, 4))
    difference = model.embed(T, 4) - model.embed(T, 2)
    rows = model.scale_embedding.weight
    assert torch.allclose(difference, (rows[1] - rows[0]).expand_as(difference), atol=1e-5)


@pytest.mark.parametrize(("scales", "wrong"), [((2,), 4), ((4,), 2), ((2, 4), 3)])
def test_a_scale_it_was_not_made_for_is_refused(scales, wrong):
    message = rf"scale {wrong} is not one this field was trained for; choose one of \[{', '.join(map(str, scales))}\]"
    with pytest.raises(ValueError, match=message):
        field(scales=scales)(F_T, T, F_B, wrong)


def test_a_field_of_one_scale_has_nothing_to_tell_it():
    alone, both = (set(field(scales=scales).state_dict()) for scales in ((4,), (2, 4)))
    assert both - alone == {"scale_embedding.weight"}
    assert alone < both
