"""FSR: one Euler step of the vector field from f_B, rendered by the frozen tail; and the diagnostic solvers."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fsr.filters import high_pass
from fsr.flow.field import VectorField
from fsr.flow.solver import Velocity, euler, heun, stochastic_start
from fsr.randomness import generator
from fsr.upscalers.base import Rendering, Sample

Solver = Callable[[Velocity, Tensor], Tensor]


def one_step(velocity: Velocity, f: Tensor) -> Tensor:
    """The reported method."""
    return euler(velocity, f, steps=1)


@dataclass(frozen=True)
class Fsr:
    """f_B carried to f_hat by `solver`, after a stochastic start where eta > 0.

    Raises:
        ValueError: the field was trained for another autoencoder or scale.
    """

    field: VectorField
    solver: Solver = one_step
    eta: float = 0.0
    seed: int = 0
    name: str = "fsr"

    def __call__(self, sample: Sample) -> Rendering:
        cut, scales = self.field.config.cut, self.field.config.scales
        if sample.scale not in scales:
            listed = ", ".join(map(str, scales))
            raise ValueError(f"this field was trained for scale {listed}, not {sample.scale}; ask for one it knows")
        features = sample.f_B(cut)
        f_B = self.field.normalise(features)

        start = f_B
        if self.eta:
            mask = self.mask(f_B, sample.scale)
            start = stochastic_start(f_B, mask, self.eta, generator(self.seed, self.name))
        f_hat = self.field.moved(features, f_B, self.solver(self.field.velocity_from(f_B, sample.scale), start))
        return Rendering(sample.autoencoder.tail(f_hat, cut), f_hat)

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
