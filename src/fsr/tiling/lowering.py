"""The frozen autoencoders' and the field's modules as steps of a program."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_blocks import (
    AutoencoderTinyBlock,
    DownEncoderBlock2D,
    UNetMidBlock2D,
    UpDecoderBlock2D,
)
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from fsr.autoencoders.split import Stage
from fsr.autoencoders.taef2 import LatentClamp, TinyBlock
from fsr.tiling.kernels import Convolution
from fsr.tiling.program import Addend, Affine, Pointwise, Program, Value, group_norm, relu, silu

QUERIES = 16 * 2**20  # numbers in the matrix of weights that attention makes at once


def lower_stages(program: Program, value: Value, stages: Sequence[Stage]) -> Value:
    """Stages of an encoder or decoder, in order. What is no module is a function of each number alone.

    Raises:
        ValueError: a module that strips cannot make.
    """
    for stage in stages:
        value = lower(program, value, stage.run) if isinstance(stage.run, nn.Module) else _acted(value, stage.run)
    return value


def lower(program: Program, value: Value, module: nn.Module) -> Value:
    """One module, by its class.

    Raises:
        ValueError: a class that strips cannot make.
    """
    for kind, make in LOWERINGS.items():
        if isinstance(module, kind):
            return make(program, value, module)
    raise ValueError(f"{type(module).__name__} cannot be made in strips; decode with tile off")


def _in_turn(program: Program, value: Value, modules: Sequence[nn.Module]) -> Value:
    for module in modules:
        value = lower(program, value, module)
    return value


def _acted(value: Value, act: Pointwise) -> Value:
    return Value(value.register, value.channels, value.norm, (*value.acts, act), value.enlarged)


def _normed(program: Program, value: Value, layer: nn.GroupNorm) -> Value:
    value = program.written(value)
    return Value(value.register, value.channels, group_norm(layer))


def _enlarged(program: Program, value: Value, module: nn.Upsample) -> Value:
    if module.mode != "nearest" or module.scale_factor not in (2, 2.0):
        raise ValueError(f"{module} cannot be made in strips; decode with tile off")
    return Value(value.register, value.channels, value.norm, value.acts, enlarged=True)


def _activation(module: nn.Module) -> Pointwise:
    return {nn.SiLU: silu, nn.ReLU: relu}.get(type(module), module)


def _resnet(program: Program, value: Value, block: ResnetBlock2D) -> Value:
    plain = block.upsample is None and block.downsample is None and block.time_emb_proj is None
    if not plain or block.output_scale_factor != 1:
        raise ValueError("a residual block that resizes, rescales or knows the time cannot be made in strips")
    act = _activation(block.nonlinearity)
    x = program.written(value)
    hidden = program.convolve(_acted(_normed(program, x, block.norm1), act), block.conv1)
    shortcut = block.conv_shortcut
    skip = Addend(x.register, None if shortcut is None else Convolution(shortcut.weight, shortcut.bias, leading=0))
    return program.convolve(_acted(_normed(program, hidden, block.norm2), act), block.conv2, (skip,))


def _upsample(program: Program, value: Value, module: Upsample2D) -> Value:
    if not module.use_conv or module.use_conv_transpose or module.norm is not None:
        raise ValueError("an enlargement without a plain convolution cannot be made in strips; decode with tile off")
    x = program.written(value)
    layer = module.conv if module.name == "conv" else module.Conv2d_0
    return program.convolve(Value(x.register, x.channels, enlarged=True), layer)


def _downsample(program: Program, value: Value, module: Downsample2D) -> Value:
    if not isinstance(module.conv, nn.Conv2d) or module.conv.kernel_size != (3, 3) or module.norm is not None:
        raise ValueError("a reduction without a plain convolution cannot be made in strips; encode with tile off")
    layer, x = module.conv, program.written(value)
    if module.padding == 0:  # then zeros to the right and below are its own
        return program.step(x, Convolution(layer.weight, layer.bias, stride=2, leading=0))
    return program.convolve(x, layer)


def _up_block(program: Program, value: Value, block: UpDecoderBlock2D) -> Value:
    return _in_turn(program, value, [*block.resnets, *(block.upsamplers or [])])


def _down_block(program: Program, value: Value, block: DownEncoderBlock2D) -> Value:
    return _in_turn(program, value, [*block.resnets, *(block.downsamplers or [])])


def _mid_block(program: Program, value: Value, block: UNetMidBlock2D) -> Value:
    first, *others = block.resnets
    value = lower(program, value, first)
    for attention, resnet in zip(block.attentions, others, strict=True):
        value = value if attention is None else lower(program, value, attention)
        value = lower(program, value, resnet)
    return value


def _attention(program: Program, value: Value, module: Attention) -> Value:
    odd = module.spatial_norm is not None or module.norm_q is not None or module.norm_k is not None
    if odd or module.group_norm is None or not module.residual_connection:
        raise ValueError("this kind of attention cannot be made in strips; decode with tile off")
    return program.whole(_normed(program, value, module.group_norm), lambda x, affine: attend(module, x, affine))


def attend(module: Attention, x: Tensor, affine: Affine) -> Tensor:
    """x (H, W, C) after self-attention over all its pixels, some queries at a time."""
    tokens = torch.addcmul(affine.bias, x.reshape(-1, x.shape[-1]).float(), affine.weight).to(x.dtype)
    heads = module.heads

    def apart(projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (heads, -1)).transpose(0, 1)[None]

    keys, values = apart(module.to_k(tokens)), apart(module.to_v(tokens))
    made = torch.empty_like(tokens)
    some = max(1, QUERIES // (heads * len(tokens)))
    for start in range(0, len(tokens), some):
        queries = apart(module.to_q(tokens[start : start + some]))
        seen = F.scaled_dot_product_attention(queries, keys, values)[0].transpose(0, 1).flatten(1)
        made[start : start + some] = module.to_out[0](seen)
    return made.view(x.shape).add_(x).div_(module.rescale_output_factor)


def _tiny_block(program: Program, value: Value, block: AutoencoderTinyBlock | TinyBlock) -> Value:
    """relu(convolutions of x + x), before which a pooled block of TAEF2's adds its normalised branch."""
    x = program.written(value)
    if getattr(block, "pool", None) is not None:
        narrow, norm, act, wide = block.pool
        branch = program.convolve(x, narrow)
        branch = _acted(_normed(program, branch, norm), _activation(act))
        x = program.convolve(branch, wide, (Addend(x.register),))
    skip = getattr(block, "skip", None)
    shortcut = Convolution(skip.weight, skip.bias, leading=0) if isinstance(skip, nn.Conv2d) else None
    *modules, last = block.conv
    hidden = _in_turn(program, x, modules)
    return program.convolve(hidden, last, (Addend(x.register, shortcut),), (relu,))


LOWERINGS: dict[type[nn.Module], Callable[[Program, Value, nn.Module], Value]] = {
    nn.Conv2d: lambda program, value, layer: program.convolve(value, layer),
    nn.GroupNorm: _normed,
    nn.Upsample: _enlarged,
    ResnetBlock2D: _resnet,
    Upsample2D: _upsample,
    Downsample2D: _downsample,
    UpDecoderBlock2D: _up_block,
    DownEncoderBlock2D: _down_block,
    UNetMidBlock2D: _mid_block,
    Attention: _attention,
    AutoencoderTinyBlock: _tiny_block,
    TinyBlock: _tiny_block,
    nn.SiLU: lambda program, value, _: _acted(value, silu),
    nn.ReLU: lambda program, value, _: _acted(value, relu),
    LatentClamp: lambda program, value, module: _acted(value, module),
}
