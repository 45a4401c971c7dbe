"""The vector field v_theta(f_t, t, f_B): a small residual network on decoder features."""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fsr.autoencoders import FrozenAutoencoder, weights_sha256
from fsr.config import Params
from fsr.flow.solver import Velocity
from fsr.flow.stats import FeatureStatistics

GROUPS = 8
GATE_BIAS = -1.0
TIME_SCALE = 1000.0  # sinusoids are made for steps up to 1000; t is in [0, 1]


@dataclass(frozen=True)
class FieldOutput:
    """velocity is v_eff, gate included; gate is in (0, 1), (B, 1 or C, H, W), or None where there is no gate."""

    velocity: Tensor
    gate: Tensor | None


class _Block(nn.Module):
    """Residual block, shifted and scaled by the time embedding; its last convolution starts at zero."""

    def __init__(self, hidden: int, embedding: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(GROUPS, hidden)
        self.time = nn.Linear(embedding, 2 * hidden)

    def modulated(self, y: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.time(embedding)[..., None, None].chunk(2, dim=1)
        return F.silu(self.norm_in(y) * (1 + 0.1 * scale) + 0.1 * shift)


class DepthwiseBlock(_Block):
    """The prototype's block: depthwise 3x3, pointwise to twice the width, GLU, norm, SiLU, pointwise from zero."""

    def __init__(self, hidden: int, embedding: int) -> None:
        super().__init__(hidden, embedding)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.expand = nn.Conv2d(hidden, 2 * hidden, 1)
        self.norm_out = nn.GroupNorm(GROUPS, hidden)
        self.out = nn.Conv2d(hidden, hidden, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        y = F.glu(self.expand(self.depthwise(self.modulated(x, embedding))), dim=1)
        return x + self.out(F.silu(self.norm_out(y)))


class ResidualBlock(_Block):
    """Two plain 3x3 convolutions, the second from zero."""

    def __init__(self, hidden: int, embedding: int) -> None:
        super().__init__(hidden, embedding)
        self.conv = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.norm_out = nn.GroupNorm(GROUPS, hidden)
        self.out = nn.Conv2d(hidden, hidden, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return x + self.out(F.silu(self.norm_out(self.conv(self.modulated(x, embedding)))))


BLOCKS = {"depthwise": DepthwiseBlock, "residual": ResidualBlock}


class VectorField(ModelMixin, ConfigMixin):
    """Velocity of normalised features (B, C, H, W); H and W are multiples of `patch`.

    It starts at zero velocity, that is, at feature bicubic. The statistics that define normalised coordinates are its
    buffers, so that a saved field is complete.

    Args:
        channels: C of the cut's features.
        cut, scales, autoencoder: what it was trained for; `autoencoder` is the SHA-256 of the frozen weights. Several
            scales are told apart by an embedding of each, added to that of the time.
        patch: the network works on patches of patch x patch feature pixels, as channels of a coarser grid.
        gate: "none", or a learned mask in (0, 1) on the velocity: one for all channels ("scalar"), or one each
            ("channel").

    Raises:
        ValueError: unknown block or gate.
    """

    @register_to_config
    def __init__(
        self,
        channels: int,
        cut: str,
        scales: list[int],
        autoencoder: str,
        hidden: int,
        blocks: int,
        block: str,
        patch: int,
        gate: str,
    ) -> None:
        super().__init__()
        if block not in BLOCKS:
            raise ValueError(f"block {block!r} is unknown; choose one of {', '.join(BLOCKS)}")
        gates = {"none": 0, "scalar": 1, "channel": channels}
        if gate not in gates:
            raise ValueError(f"gate {gate!r} is unknown; choose one of {', '.join(gates)}")
        embedding = 4 * hidden
        self.in_proj = nn.Conv2d(2 * channels * patch**2, hidden, 3, padding=1)
        self.time_sinusoids = Timesteps(hidden, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(hidden, embedding)
        self.scale_embedding = nn.Embedding(len(scales), embedding) if len(scales) > 1 else None
        self.body = nn.ModuleList(BLOCKS[block](hidden, embedding) for _ in range(blocks))
        self.norm_out = nn.GroupNorm(GROUPS, hidden)
        self.out_velocity = nn.Conv2d(hidden, channels * patch**2, 3, padding=1)
        nn.init.zeros_(self.out_velocity.weight)
        nn.init.zeros_(self.out_velocity.bias)
        self.out_gate = nn.Conv2d(hidden, gates[gate] * patch**2, 3, padding=1) if gates[gate] else None
        if self.out_gate is not None:
            nn.init.constant_(self.out_gate.bias, GATE_BIAS)
        self.register_buffer("feature_mean", torch.zeros(channels))
        self.register_buffer("feature_std", torch.ones(channels))
        self.checkpoint_blocks = False

    def set_statistics(self, statistics: FeatureStatistics) -> None:
        """Take over the coordinates; a constant channel keeps its scale."""
        self.feature_mean.copy_(statistics.mean)
        self.feature_std.copy_(torch.where(statistics.std > 0, statistics.std, torch.ones_like(statistics.std)))

    def normalise(self, features: Tensor) -> Tensor:
        """Features to normalised coordinates, float32."""
        return (features.float() - self.feature_mean.view(1, -1, 1, 1)) / self.feature_std.view(1, -1, 1, 1)

    def denormalise(self, f: Tensor) -> Tensor:
        """Normalised coordinates back to features, float32."""
        return f.float() * self.feature_std.view(1, -1, 1, 1) + self.feature_mean.view(1, -1, 1, 1)

    def moved(self, features: Tensor, f_start: Tensor, f_end: Tensor) -> Tensor:
        """Features, float32, moved as normalised coordinates were; where these have not moved, exactly as they were."""
        return features.float() + (f_end - f_start) * self.feature_std.view(1, -1, 1, 1)

    def velocity_from(self, f_B: Tensor, scale: int) -> Velocity:
        """v_eff as a solver asks for it, of (f, t) with one t for the whole batch; float32."""

        def velocity(f: Tensor, t: float) -> Tensor:
            return self(f, torch.full((len(f),), t, device=f.device), f_B, scale).velocity.float()

        return velocity

    def embed(self, t: Tensor, scale: int) -> Tensor:
        """What modulates the blocks, (B, 4 hidden): the embedding of the times t (B,), plus that of the scale.

        Raises:
            ValueError: the field was not trained for this scale.
        """
        scales = list(self.config.scales)
        if scale not in scales:
            raise ValueError(f"scale {scale} is not one this field was trained for; choose one of {scales}")
        sinusoids = self.time_sinusoids(t * TIME_SCALE)
        embedding = self.time_embedding(sinusoids.to(self.time_embedding.linear_1.weight.dtype))
        if self.scale_embedding is None:
            return embedding
        return embedding + self.scale_embedding(torch.full_like(t, scales.index(scale), dtype=torch.long))

    def _projected(self, f_t: Tensor, f_B: Tensor) -> Tensor:
        """in_proj of every f_t beside its f_B, whose part is computed once however many points share it.

        Where the point is its condition itself, as in one step, the sum of both halves of the weights does.
        """
        patch = self.config.patch
        of_f_t, of_f_B = self.in_proj.weight.chunk(2, dim=1)
        condition = F.pixel_unshuffle(f_B, patch)
        if f_t is f_B:
            return F.conv2d(condition, of_f_t + of_f_B, self.in_proj.bias, padding=1)
        condition = F.conv2d(condition, of_f_B, self.in_proj.bias, padding=1)
        points = F.conv2d(F.pixel_unshuffle(f_t, patch), of_f_t, padding=1)
        return points + condition.repeat(len(f_t) // len(f_B), 1, 1, 1)

    def check_sides(self, height: int, width: int) -> None:
        """Pass if features of height x width can be cut into the field's patches.

        Raises:
            ValueError: they cannot.
        """
        patch = self.config.patch
        if height % patch or width % patch:
            raise ValueError(
                f"features of {width}x{height} are no multiples of the field's patch {patch}; crop the image, or train "
                "with a smaller train.field.patch"
            )

    def forward(self, f_t: Tensor, t: Tensor, f_B: Tensor, scale: int) -> FieldOutput:
        """v_eff at f_t (kB, C, H, W), time t (kB,) in [0, 1], conditioned on f_B (B, C, H, W); normalised coordinates.

        With k over 1, f_t and t hold k points of each sample: first one of every sample, then the next of every sample.

        Raises:
            ValueError: the field was not trained for `scale`, or a side is no multiple of `patch`.
        """
        patch, embedding, (height, width) = self.config.patch, self.embed(t, scale), f_B.shape[-2:]
        self.check_sides(height, width)
        x = self._projected(f_t, f_B)
        for block in self.body:
            if self.checkpoint_blocks and self.training:
                x = checkpoint(block, x, embedding, use_reentrant=False)
            else:
                x = block(x, embedding)
        x = F.silu(self.norm_out(x))
        velocity = F.pixel_shuffle(self.out_velocity(x), patch)
        if self.out_gate is None:
            return FieldOutput(velocity, None)
        gate = torch.sigmoid(F.pixel_shuffle(self.out_gate(x), patch))
        return FieldOutput(gate * velocity, gate)


def training_layout(device: torch.device | str, dtype: str) -> torch.memory_format:
    """How a field and its features lie in memory in training: channels first in float32 on a CPU, else channels last.

    On a CPU the gradient of a convolution's weights takes twice as long with channels last in float32, and twice as
    long with channels first in bfloat16.

    Args:
        dtype: that of autocast.
    """
    first = torch.device(device).type == "cpu" and dtype == "float32"
    return torch.contiguous_format if first else torch.channels_last


def build_field(params: Params, cut: str, autoencoder: FrozenAutoencoder) -> VectorField:
    """The untrained field of `train.field`'s size for a cut, seeded.

    Raises:
        ValueError: the decoder has no such cut.
    """
    channels = autoencoder.decoder.cut(cut).channels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        return VectorField(channels, cut, params.scales, weights_sha256(autoencoder), **params.train.field.model_dump())


def load_field(folder: Path | str, autoencoder: FrozenAutoencoder) -> VectorField:
    """A saved field in eval mode, on the autoencoder's device.

    Raises:
        FileNotFoundError: no field in `folder`.
        ValueError: it was trained for other frozen weights, or its configuration or weights are not whole.
    """
    try:
        field = VectorField.from_pretrained(folder, use_safetensors=True)
    except OSError as error:
        raise FileNotFoundError(f"no trained field in {folder}; it must hold config.json and safetensors") from error
    except TypeError as error:
        raise ValueError(f"{folder}/config.json is not that of a trained field ({error}); train again") from error
    if any(tensor.is_meta for tensor in field.state_dict().values()):
        raise ValueError(f"the field in {folder} lacks weights that its config.json asks for; get it again, or train")
    if field.config.autoencoder != weights_sha256(autoencoder):
        raise ValueError(f"the field in {folder} was trained for another autoencoder; load that one, or train again")
    return field.to(autoencoder.device, memory_format=torch.channels_last).eval()
