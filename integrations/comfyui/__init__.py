"""FSR for ComfyUI: a decoder that gives larger images, and an upscaler."""

from .nodes import FSRExtension


async def comfy_entrypoint() -> FSRExtension:
    """Where ComfyUI begins."""
    return FSRExtension()
