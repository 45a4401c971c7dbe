"""FSR: one Euler step of the vector field from f_B, rendered by the frozen tail; and the diagnostic solvers."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fsr.filters import high_pass
from fsr.flow.field import VectorField
from fsr.flow.solver import Velocity, euler, heun, stochastic_start
from fsr.randomness import generator
from fsr.upscalers.base import Capabilities, Clock, Rendering, Sample, untimed

Solver = Callable[[Velocity, Tensor], Tensor]


def one_step(velocity: Velocity, f: Tensor) -> Tensor:
    """The reported method."""
    return euler(velocity, f, steps=1)


@dataclass(frozen=True)
class Fsr:
    """f_B carried to f_hat by `solver`, after a stochastic start where eta > 0.

    Raises:
        ValueError: the field was trained for another scale.
    """

    field: VectorField
    solver: Solver = one_step
    eta: float = 0.0
    seed: int = 0
    name: str = "fsr"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(scales=tuple(self.field.config.scales), networks=(self.field,))

    def __call__(self, sample: Sample, clock: Clock = untimed) -> Rendering:
        cut = self.field.config.cut
        with clock("encode"):
            sample.z_L  # noqa: B018 - made here, once
        with clock("head"):
            features = sample.f_B(cut)
        with clock("model"):
            f_hat = self.carried(features, sample.scale)
        with clock("tail"):
            return Rendering(sample.autoencoder.tail(f_hat, cut), f_hat, cut)

    def carried(self, features: Tensor, scale: int) -> Tensor:
        """f_hat of f_B, both as features of the cut."""
        f_B = self.field.normalise(features)
        start = f_B
        if self.eta:
            start = stochastic_start(f_B, self.mask(f_B, scale), self.eta, generator(self.seed, self.name))
        return self.field.moved(features, f_B, self.solver(self.field.velocity_from(f_B, scale), start))

    def mask(self, f_B: Tensor, scale: int) -> Tensor:
        """Where the stochastic start adds noise: the gate at t = 0, or the high-pass energy scaled to at most 1."""
        gate = self.field(f_B, torch.zeros(len(f_B), device=f_B.device), f_B, scale).gate
        if gate is not None:
            return gate.float()
        energy = high_pass(f_B, 1.0).abs().mean(dim=1, keepdim=True)
        return energy / energy.amax(dim=(2, 3), keepdim=True).clamp(min=1e-6)


def diagnostics() -> dict[str, tuple[Solver, float]]:
    """Solver and eta of each row that is not the method."""
    solvers: dict[str, tuple[Solver, float]] = {
        "fsr_euler2": (lambda velocity, f: euler(velocity, f, steps=2), 0.0),
        "fsr_euler4": (lambda velocity, f: euler(velocity, f, steps=4), 0.0),
        "fsr_heun4": (lambda velocity, f: heun(velocity, f, steps=4), 0.0),
    }
    return solvers | {f"fsr_eta{eta:.2f}": (one_step, eta) for eta in (0.03, 0.05, 0.10)}
