"""FSR's nodes: sockets and widgets around core.py."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import comfy.model_management
import comfy.utils
import folder_paths
from comfy_api.latest import ComfyExtension, io

from . import core

FOLDER = "fsr"  # models/fsr/<name>, as fsr publish writes them
LOADED = core.Loaded()

folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir, FOLDER)))


def _model() -> io.Combo.Input:
    known = list(core.models_in(folder_paths.get_folder_paths(FOLDER)))
    return io.Combo.Input("model", options=known, tooltip="A folder in models/fsr, made by fsr publish.")


def _scale() -> io.Int.Input:
    return io.Int.Input("scale", default=2, min=2, max=8, tooltip="One of those the model was trained for.")


def _loaded(model: str, vae: object | None) -> core.FSRDecoder:
    folders = core.models_in(folder_paths.get_folder_paths(FOLDER))
    if model not in folders:
        raise ValueError(f"model {model!r} is not in models/{FOLDER}; put what fsr publish wrote there, and reload")
    return LOADED.get(folders[model], vae)


def _ticker(count: int) -> Callable[[], None]:
    """Moves the node's progress on, and ends the work where the user asks for that."""
    bar, done = comfy.utils.ProgressBar(count), iter(range(count))

    def tick() -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(next(done))

    return tick


def _on_device(decoder: core.FSRDecoder, pixels: int) -> AbstractContextManager[None]:
    management = comfy.model_management
    device = management.vae_device()
    management.free_memory(core.memory_needed(decoder, pixels), device)
    return core.on_device(decoder, device, management.vae_offload_device())


class FSRDecode(io.ComfyNode):
    """Latents to images larger than the VAE's own."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FSRDecode",
            display_name="FSR Decode",
            category="latent",
            description="Decodes latents to images larger by the scale, in place of VAE Decode. The model must have "
            "been trained for this VAE.",
            inputs=[io.Latent.Input("samples"), io.Vae.Input("vae"), _model(), _scale()],
            outputs=[io.Image.Output(display_name="IMAGE")],
        )

    @classmethod
    def execute(cls, samples: dict, vae: object, model: str, scale: int) -> io.NodeOutput:
        latents, decoder = samples["samples"], _loaded(model, vae)
        height, width = (core.factor(decoder) * scale * side for side in latents.shape[-2:])
        with _on_device(decoder, height * width):
            return io.NodeOutput(core.decode(decoder, latents, scale, _ticker(len(latents))))


class FSRUpscaleImage(io.ComfyNode):
    """Images to larger ones."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FSRUpscaleImage",
            display_name="FSR Upscale Image",
            category="image/upscaling",
            description="Encodes images and decodes them larger by the scale. Without a VAE it is the one that the "
            "model names, from this machine or the hub.",
            inputs=[io.Image.Input("image"), _model(), _scale(), io.Vae.Input("vae", optional=True)],
            outputs=[io.Image.Output(display_name="IMAGE")],
        )

    @classmethod
    def execute(cls, image: core.Tensor, model: str, scale: int, vae: object | None = None) -> io.NodeOutput:
        decoder = _loaded(model, vae)
        height, width = (scale * side for side in image.shape[1:3])
        with _on_device(decoder, height * width):
            return io.NodeOutput(core.upscale(decoder, image, scale, _ticker(len(image))))


class FSRExtension(ComfyExtension):
    """What ComfyUI asks for."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [FSRDecode, FSRUpscaleImage]
