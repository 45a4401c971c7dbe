import math

import pytest
import torch

from fsr.flow.solver import euler, heun, stochastic_start

F0 = torch.tensor([1.0, -2.0], dtype=torch.float64)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_constant_field_is_integrated_exactly(steps):
    velocity = torch.tensor([0.5, 3.0], dtype=torch.float64)
    assert torch.allclose(euler(lambda f, t: velocity, F0, steps), F0 + velocity, atol=1e-15)
    assert torch.allclose(heun(lambda f, t: velocity, F0, steps), F0 + velocity, atol=1e-15)


@pytest.mark.parametrize(("solver", "order"), [(euler, 1), (heun, 2)])
def test_the_error_falls_with_the_stated_order(solver, order):
    def error(steps: int) -> float:
        return (solver(lambda f, t: f * math.cos(t), F0, steps) - F0 * math.exp(math.sin(1.0))).abs().max().item()

    assert math.log2(error(32) / error(64)) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("solver", [euler, heun])
def test_no_steps_are_refused(solver):
    with pytest.raises(ValueError, match="at least one step"):
        solver(lambda f, t: f, F0, 0)


def test_the_stochastic_start_adds_noise_where_the_mask_is_and_repeats():
    f, mask = torch.zeros(1, 2, 30, 30), torch.zeros(1, 1, 30, 30)
    mask[..., :15] = 1
    starts = [stochastic_start(f, mask, 0.1, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*starts)
    assert starts[0][..., 15:].abs().max() == 0
    assert starts[0][..., :15].std().item() == pytest.approx(0.1, rel=0.1)
