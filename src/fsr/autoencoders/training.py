"""Training the embedded autoencoder: a small AutoencoderKL with FLUX's stage structure, made for CPUs.

The loss is the squared error of the reconstruction (what PSNR measures) plus a weak penalty that keeps the latents
bounded. Muon (orthogonalised momentum) instead of AdamW: at the same step it is several dB ahead on this network.
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.training_utils import EMAModel
from safetensors.torch import save_file
from torch import Tensor

from fsr.autoencoders.recipe import AutoencoderTraining, CropPhase
from fsr.checkpoint import load_checkpoint, save_checkpoint
from fsr.files import write_atomically, write_text
from fsr.images import read_image, to_bytes
from fsr.metrics.fidelity import psnr
from fsr.progress import progress_bar
from fsr.randomness import generator, integers

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CropSource:
    """Images kept as (3, H, W) uint8, from which square crops are drawn."""

    images: list[Tensor]

    @classmethod
    def read(cls, files: list[Path]) -> "CropSource":
        return cls([to_bytes(read_image(file))[0] for file in files])

    def batch(self, count: int, size: int, source: torch.Generator) -> Tensor:
        """(count, 3, size, size) in [-1, 1]: random image, place, flips and transposition."""
        crops = []
        for index in integers(len(self.images), count, source):
            image = self.images[index]
            height, width = image.shape[-2:]
            top, left = integers(height - size + 1, 1, source)[0], integers(width - size + 1, 1, source)[0]
            crop = image[:, top : top + size, left : left + size]
            for operation in (lambda x: x.flip(2), lambda x: x.flip(1), lambda x: x.transpose(1, 2)):
                if integers(2, 1, source)[0]:
                    crop = operation(crop)
            crops.append(crop)
        return torch.stack(crops).float() / 127.5 - 1


def build_autoencoder(params: AutoencoderTraining) -> AutoencoderKL:
    """An untrained AutoencoderKL of the sizes in `params`, seeded."""
    torch.manual_seed(params.seed)
    stages = len(params.block_out_channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * stages,
        up_block_types=("UpDecoderBlock2D",) * stages,
        block_out_channels=tuple(params.block_out_channels),
        layers_per_block=params.layers_per_block,
        latent_channels=params.latent_channels,
        norm_num_groups=params.norm_num_groups,
        sample_size=params.phases[-1].crop,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def reconstruct(model: AutoencoderKL, images: Tensor) -> tuple[Tensor, Tensor]:
    """Reconstruction in [-1, 1] and the latent means of images in [-1, 1]."""
    means = model.encoder(images).chunk(2, dim=1)[0]
    return model.decoder(means), means


def train_autoencoder(
    params: AutoencoderTraining, files: list[Path], work: Path, *, device: str = "cpu", threads: int = 2
) -> AutoencoderKL:
    """Train (or go on training, from `work`/checkpoint.safetensors) and return the model with averaged weights.

    Raises:
        ValueError: the checkpoint belongs to another model.
        OSError: a checkpoint cannot be written; the previous one survives.
    """
    torch.set_num_threads(threads)
    source, held_out = split_files(files, params.validation_every)
    crops, validation = CropSource.read(source), [read_image(file) for file in held_out]
    model = build_autoencoder(params).to(device, memory_format=torch.channels_last)
    ema = EMAModel(model.parameters(), decay=params.ema_decay)
    optimizer = build_optimizer(model, params)
    checkpoint = work / "checkpoint.safetensors"
    step, seconds = 0, 0.0
    if checkpoint.is_file():
        progress = load_checkpoint(checkpoint, model=model, ema=ema, optimizer=optimizer)
        step, seconds = progress["step"], progress["seconds"]
    total = sum(phase.steps for phase in params.phases)
    started = time.monotonic() - seconds
    with progress_bar("autoencoder", total, step) as advance:
        while step < total:
            phase = phase_at(params.phases, step)
            for group in optimizer.param_groups:
                group["lr"] = params.lr * schedule(step, total, params.warmup_steps, params.decay_from)
                group["weight_decay"] = 0.0 if group["use_fallback"] else phase.weight_decay
            batch = crops.batch(phase.batch, phase.crop, generator(params.seed, "autoencoder", step))
            loss = train_step(model, optimizer, batch.to(device, memory_format=torch.channels_last), params)
            ema.step(model.parameters())
            step += 1
            advance(f"loss {loss:.5f}")
            if step % params.checkpoint_every == 0 or step == total:
                seconds = time.monotonic() - started
                state = {"step": step, "seconds": seconds}
                save_checkpoint(checkpoint, model=model, ema=ema, optimizer=optimizer, progress=state)
                score = validate(model, ema, validation, device)
                logger.info("step %d, %.0f s, loss %.5f, held-out PSNR %.2f dB", step, seconds, loss, score)
    ema.copy_to(model.parameters())
    return set_latent_range(model.eval(), crops, params, device)


def build_optimizer(model: AutoencoderKL, params: AutoencoderTraining) -> torch.optim.Optimizer:
    """Muon on the inner matrices; AdamW, without weight decay, on the end convolutions, norms and biases."""
    from timm.optim import Muon

    inner, others = [], []
    for name, parameter in model.named_parameters():
        is_end = name.split(".")[1] in ("conv_in", "conv_out")
        (others if is_end or parameter.ndim < 2 else inner).append(parameter)
    return Muon(
        [{"params": inner, "use_fallback": False}, {"params": others, "use_fallback": True}],
        lr=params.lr,
        nesterov=True,
        fallback_lr_scale=params.fallback_lr_scale,
    )


def split_files(files: list[Path], every: int) -> tuple[list[Path], list[Path]]:
    """Training files and, each `every`-th, held-out ones."""
    return [f for i, f in enumerate(files) if i % every], files[::every]


def phase_at(phases: list[CropPhase], step: int) -> CropPhase:
    """The phase that `step` falls in."""
    for phase in phases:
        if step < phase.steps:
            return phase
        step -= phase.steps
    raise ValueError("the step lies beyond the last phase")


def schedule(step: int, total: int, warmup: int, decay_from: float) -> float:
    """Learning-rate factor: linear warm-up, constant, then linear to zero from the share `decay_from` of all steps."""
    return min(1.0, (step + 1) / warmup, (1 - step / total) / (1 - decay_from))


def train_step(
    model: AutoencoderKL, optimizer: torch.optim.Optimizer, batch: Tensor, params: AutoencoderTraining
) -> float:
    """One optimiser step on (B, 3, S, S) in [-1, 1]; returns the loss."""
    model.train()
    with torch.autocast(batch.device.type, torch.bfloat16):
        output, means = reconstruct(model, batch)
    loss = F.mse_loss(output.float(), batch) + params.latent_penalty * means.float().square().mean()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), params.clip_grad_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


@torch.inference_mode()
def validate(model: AutoencoderKL, ema: EMAModel, images: list[Tensor], device: str) -> float:
    """Mean PSNR in dB of the averaged weights on held-out images, bf16."""
    ema.store(model.parameters())
    ema.copy_to(model.parameters())
    model.eval()
    scores = []
    for image in images:
        height, width = (side // 16 * 16 for side in image.shape[-2:])
        image = image[..., :height, :width].to(device, memory_format=torch.channels_last)
        with torch.autocast(image.device.type, torch.bfloat16):
            output, _ = reconstruct(model, image * 2 - 1)
        scores.append(psnr(output.float().add(1).div(2).clamp(0, 1), image))
    ema.restore(model.parameters())
    return sum(scores) / len(scores)


@torch.inference_mode()
def set_latent_range(
    model: AutoencoderKL, crops: CropSource, params: AutoencoderTraining, device: str
) -> AutoencoderKL:
    """Set `shift_factor` and `scaling_factor` so that scaled latents of training crops have mean 0, deviation 1."""
    batches = [crops.batch(8, params.phases[-1].crop, generator(params.seed, "latent range", i)) for i in range(8)]
    means = torch.cat([model.encoder(batch.to(device)).chunk(2, dim=1)[0].cpu() for batch in batches])
    model.register_to_config(shift_factor=means.mean().item(), scaling_factor=1 / means.std().item())
    return model


def export_autoencoder(model: AutoencoderKL, folder: Path) -> None:
    """Write config.json and half-precision safetensors to `folder`, as `AutoencoderKL.from_pretrained` reads them."""
    half = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    weights = folder / "diffusion_pytorch_model.safetensors"
    write_atomically(weights, lambda temporary: save_file(half, temporary, {"format": "pt"}))
    write_text(folder / "config.json", model.to_json_string())
