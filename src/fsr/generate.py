"""The generated test set (FLUX179): images of text prompts, each with the latent it was decoded from.

Its folder holds, per image, `<name>.png` (8 bits), `latents/<name>.safetensors` and `prompts/<name>.txt`; and, once the
set is whole, `generation.json`, which names the images that belong to it.

A latent file has one tensor, `latent`, in `generate.dtype`: what the last denoising step left, unpacked from FLUX's 2x2
patches to (1, 16, size/8, size/8). It is scaled, as the transformer and `FrozenAutoencoder.decode` take it: the
autoencoder's scale and shift are not yet undone. Its metadata has one entry, `generation`, since safetensors keeps
several in no fixed order: JSON of the prompt, the seed of the image's noise, model, revision, size, steps, guidance,
dtype, and the versions of the libraries that made it.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fsr.config import Generate
from fsr.files import check_writable, sha256_of_file, write_atomically, write_json, write_text
from fsr.progress import progress_bar
from fsr.prompts import Prompt
from fsr.randomness import generator

if TYPE_CHECKING:
    from diffusers import FluxPipeline

PUBLISHED_PROMPTS_URL = (
    "https://raw.githubusercontent.com/standard-jh/FSR/main/results/tables/paper_style_openimages_x2_per_image.csv"
)
LIBRARIES = ("torch", "diffusers", "transformers")
SHAPED_BY = {"model", "revision", "size", "steps", "guidance", "dtype"}


@dataclass(frozen=True)
class GeneratedImage:
    """An 8-bit RGB picture and its scaled latent (1, C, H/8, W/8), on the CPU."""

    picture: Image.Image
    latent: Tensor


def load_pipeline(params: Generate, device: str) -> "FluxPipeline":
    """The pipeline `params` names, on `device` or with its parts offloaded to the CPU; only safetensors are read.

    Raises:
        FileNotFoundError: it is not there, not readable, or its licence is not accepted; says what to do.
        ValueError: there is nothing to offload from.
    """
    from diffusers import FluxPipeline

    if params.offload != "none" and torch.device(device).type == "cpu":
        raise ValueError(
            f"generate.offload {params.offload!r} is of no use on runtime.device {device!r}; set it to none"
        )
    try:
        pipeline = FluxPipeline.from_pretrained(
            params.model, revision=params.revision, torch_dtype=getattr(torch, params.dtype), use_safetensors=True
        )
    except (OSError, ValueError, HfHubHTTPError) as error:
        cause = next(iter(str(error).splitlines()), type(error).__name__)
        raise FileNotFoundError(
            f"no FLUX pipeline at generate.model {params.model!r} (revision {params.revision}): accept its licence on "
            "the hub and set HF_TOKEN, give generate.model a local folder, or list FLUX179 in data.optional to go on "
            f"without it; the cause: {cause}"
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    match params.offload:
        case "none":
            pipeline.to(device)
        case "model":
            pipeline.enable_model_cpu_offload(device=device)
        case "sequential":
            pipeline.enable_sequential_cpu_offload(device=device)
    return pipeline


def generate_image(
    pipeline: "FluxPipeline", params: Generate, prompt: Prompt, noise: torch.Generator
) -> GeneratedImage:
    """The pipeline's own picture of `prompt` from `noise`, and the latent its last step left.

    Raises:
        FloatingPointError: the latent is not finite.
    """
    last: dict[str, Tensor] = {}

    def keep(_pipeline: Any, _step: int, _timestep: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        last.update(tensors)
        return tensors

    picture = pipeline(
        prompt=prompt.text,
        height=params.size,
        width=params.size,
        num_inference_steps=params.steps,
        guidance_scale=params.guidance,
        generator=noise,
        callback_on_step_end=keep,
        callback_on_step_end_tensor_inputs=["latents"],
    ).images[0]
    latent = pipeline._unpack_latents(last["latents"], params.size, params.size, pipeline.vae_scale_factor)
    if not latent.isfinite().all():
        raise FloatingPointError(
            f"the latent of image {prompt.name} is not finite; set generate.dtype to float32 or check the model"
        )
    return GeneratedImage(picture, latent.cpu().contiguous())


def generate_set(
    params: Generate,
    prompts: list[Prompt],
    folder: Path | str,
    *,
    seed: int,
    device: str,
    load: Callable[[Generate, str], "FluxPipeline"] = load_pipeline,
) -> None:
    """Generate what is missing of the set in `folder` (the module's docstring says what that holds).

    An image whose latent names the same prompt, seed and parameters is kept; any other is made again. The pipeline is
    loaded only where an image is missing, and an interruption loses at most the one in the making.

    Raises:
        FileNotFoundError: there is no pipeline; says what to do.
        ValueError: the pipeline cannot make images of `generate.size`.
        OSError: memory is short, or `folder` cannot be written; says what to do.
        FloatingPointError: a latent is not finite.
    """
    folder = Path(folder)
    description = folder / "generation.json"
    records = [_Record(folder, prompt, _made_from(params, prompt, seed)) for prompt in prompts]
    missing = [record for record in records if not record.is_whole()]
    if missing:
        check_writable(folder)
        description.unlink(missing_ok=True)
        with _memory_explained(params, device):
            pipeline = load(params, device)
            _check_size(params, pipeline.vae_scale_factor * 2)
            with progress_bar("generate", len(records), len(records) - len(missing)) as advance:
                for record in missing:
                    record.save(generate_image(pipeline, params, record.prompt, _noise(seed, record.prompt)))
                    advance(record.prompt.name)
    write_json(description, _description(params, records, seed))


def _noise(seed: int, prompt: Prompt) -> torch.Generator:
    return generator(seed, f"generate/{prompt.name}")


def _made_from(params: Generate, prompt: Prompt, seed: int) -> dict[str, Any]:
    """All that a picture depends on but the versions of libraries and the device."""
    chosen = params.model_dump(include=SHAPED_BY)
    return {"prompt": prompt.text, "seed": _noise(seed, prompt).initial_seed(), **chosen}


@dataclass(frozen=True)
class _Record:
    """The files of one image and what they are to be made from."""

    folder: Path
    prompt: Prompt
    made_from: dict[str, Any]

    @property
    def png(self) -> Path:
        return self.folder / f"{self.prompt.name}.png"

    @property
    def latent(self) -> Path:
        return self.folder / "latents" / f"{self.prompt.name}.safetensors"

    def metadata(self) -> dict[str, Any]:
        """What the latent file says of its making; nothing where it is missing or damaged."""
        try:
            with safe_open(self.latent, framework="pt") as file:
                return json.loads((file.metadata() or {}).get("generation", "{}"))
        except (FileNotFoundError, SafetensorError):
            return {}

    def is_whole(self) -> bool:
        found = self.metadata()
        return self.png.is_file() and {key: found.get(key) for key in self.made_from} == self.made_from

    def save(self, image: GeneratedImage) -> None:
        """Write the files, the picture last; one that stands there goes first, lest it pass for the new latent's."""
        made = self.made_from | {name: version(name) for name in LIBRARIES}
        content = save({"latent": image.latent}, {"generation": json.dumps(made)})
        self.png.unlink(missing_ok=True)
        write_atomically(self.latent, lambda temporary: temporary.write_bytes(content))
        write_text(self.folder / "prompts" / f"{self.prompt.name}.txt", f"{self.prompt.text}\n")
        write_atomically(self.png, image.picture.save)


def _check_size(params: Generate, multiple: int) -> None:
    if params.size % multiple:
        raise ValueError(
            f"generate.size {params.size} must be a multiple of {multiple} for {params.model}; set it to "
            f"{params.size // multiple * multiple or multiple}"
        )


@contextmanager
def _memory_explained(params: Generate, device: str) -> Iterator[None]:
    remedies = {"none": "set generate.offload to model", "model": "set generate.offload to sequential"}
    remedy = remedies.get(params.offload, "lower generate.size")
    if torch.device(device).type == "cpu":
        remedy = "lower generate.size, or take a machine with more"
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise OSError(f"out of memory on {device} while generating; {remedy} (images made so far are kept)") from error


def _description(params: Generate, records: list[_Record], seed: int) -> dict[str, Any]:
    """What generation.json says; `libraries` has every version that made one of the images."""
    made = [record.metadata() for record in records]
    return {
        **params.model_dump(include=SHAPED_BY),
        "seed": seed,
        "libraries": {name: sorted({item[name] for item in made}) for name in LIBRARIES},
        "images": [
            {
                "name": record.prompt.name,
                "seed": record.made_from["seed"],
                "prompt": record.prompt.text,
                "png_sha256": sha256_of_file(record.png),
                "latent_sha256": sha256_of_file(record.latent),
            }
            for record in records
        ],
    }
