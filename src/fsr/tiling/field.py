"""One Euler step of the vector field from t = 0, as steps of a program."""

import torch
from torch import nn

from fsr.flow.field import DepthwiseBlock, ResidualBlock, VectorField
from fsr.tiling.kernels import PatchConvolution, VelocityConvolution
from fsr.tiling.program import Addend, Affine, Norm, Program, Value, group_norm, silu


def lower_field(program: Program, f_B: Value, field: VectorField, scale: int) -> Value:
    """f_hat of f_B, both features as the decoder has them; computed in the program's dtype.

    At t = 0 the point and its condition are the same feature, so that in_proj needs the sum of its two halves only;
    the time's scale and shift are numbers, and go into the norms'.

    Raises:
        ValueError: the field was not trained for `scale`.
    """
    with torch.no_grad():
        embedding = field.embed(torch.zeros(1, device=field.feature_mean.device), scale)
        patch = field.config.patch
        std = field.feature_std.float()
        of_point, of_condition = field.in_proj.weight.chunk(2, dim=1)
        kernel = PatchConvolution(
            (of_point + of_condition).to(program.dtype), field.in_proj.bias.to(program.dtype), patch
        )
        coordinates = Affine(1 / std, -field.feature_mean.float() / std)
        x = program.step(Value(f_B.register, f_B.channels, coordinates), kernel)
        for block in field.body:
            x = _block(program, x, block, embedding)
        x = Value(x.register, x.channels, group_norm(field.norm_out), (silu,))
        velocity = VelocityConvolution(field.out_velocity, field.out_gate, std, patch, program.dtype)
        return program.step(x, velocity, (Addend(f_B.register),))


def _block(program: Program, x: Value, block: ResidualBlock | DepthwiseBlock, embedding: torch.Tensor) -> Value:
    scale, shift = (part[0] for part in block.time(embedding).float().chunk(2, dim=1))
    norm = group_norm(block.norm_in)
    modulated = Norm(
        norm.groups, norm.eps, norm.weight * (1 + 0.1 * scale), norm.bias * (1 + 0.1 * scale) + 0.1 * shift
    )
    y = Value(x.register, x.channels, modulated, (silu,))
    if isinstance(block, DepthwiseBlock):
        y = program.convolve(program.convolve(y, block.depthwise), block.expand, after=(_glu,), channels=x.channels)
        y = Value(y.register, x.channels, group_norm(block.norm_out), (silu,))
    else:
        y = program.convolve(y, block.conv)
        y = Value(y.register, y.channels, group_norm(block.norm_out), (silu,))
    return program.convolve(y, block.out, (Addend(x.register),))


def _glu(y: torch.Tensor) -> torch.Tensor:
    return nn.functional.glu(y, dim=-1)
