"""Pages to look at pictures: templates that share the report's style and ask the network for nothing, and PNGs."""

import io
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader, StrictUndefined
from PIL import Image
from torch import Tensor

from fsr.images import to_bytes

TEMPLATES = Path(__file__).parent / "templates"
REPORT = Path(__file__).parents[1] / "report/templates"


def rendered(template: str, **values: object) -> str:
    """A page as HTML text; whatever `values` hold is escaped."""
    loader = ChoiceLoader([FileSystemLoader(TEMPLATES), PrefixLoader({"report": FileSystemLoader(REPORT)})])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(**values)


def png(image: Tensor) -> bytes:
    """(1, 3, H, W) in [0, 1] as the bytes that fsr.images.write_image gives a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(to_bytes(image[0]).permute(1, 2, 0).cpu().numpy()).save(buffer, "PNG")
    return buffer.getvalue()
