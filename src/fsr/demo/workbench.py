"""What the page asks for: pictures checked before they are decoded, enlarged one at a time, kept for a while."""

import io
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from fsr.demo.page import png
from fsr.images import enlarge, rgb_pixels
from fsr.jobs import watched
from fsr.memory import memory_explained
from fsr.pipeline import ImagePipeline

FORMATS = ("PNG", "JPEG", "WEBP")
PIXEL_BYTES = 8  # of an uncompressed picture: four channels of 16 bits
OVERHEAD_BYTES = 2**20  # headers, colour profile, a camera's preview
KEPT = 4  # results in memory, each with its before
RETRY_AFTER = 5  # seconds


class RefusedError(Exception):
    """A request that is not done: the HTTP status, one line for its reader, and headers of the answer."""

    def __init__(self, status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, dict(headers or {})


@dataclass(frozen=True)
class Result:
    """A picture enlarged: the PNGs of before (bicubic) and after, both width x height pixels, and how long it took."""

    before: bytes
    after: bytes
    width: int
    height: int
    scale: int
    seconds: float


@dataclass
class Workbench:
    """Enlarges uploaded pictures of at most `max_pixels`, one at a time; the last `KEPT` results stay in memory.

    Attributes:
        progress: the share (0 to 1) of the present picture that is done.
    """

    pipeline: ImagePipeline
    max_pixels: int
    progress: float = 0.0
    _busy: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _pipelines: dict[int, ImagePipeline] = field(default_factory=dict, repr=False)
    _results: OrderedDict[str, Result] = field(default_factory=OrderedDict, repr=False)

    @property
    def scales(self) -> list[int]:
        """Those the field was trained for."""
        return list(self.pipeline.field.config.scales)

    @property
    def max_bytes(self) -> int:
        """Of an upload: what `max_pixels` take uncompressed."""
        return PIXEL_BYTES * self.max_pixels + OVERHEAD_BYTES

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The right to upload and compute, which one has at a time.

        Raises:
            RefusedError: another has it.
        """
        if not self._busy.acquire(blocking=False):
            text = "another picture is being enlarged; try again when it is done"
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, text, {"Retry-After": str(RETRY_AFTER)})
        try:
            yield
        finally:
            self._busy.release()

    def make(self, upload: bytes, scale: int) -> str:
        """The key of the result of an image file's bytes.

        Raises:
            RefusedError: no picture that is taken, an unknown scale, no memory left, or the result is not finite.
        """
        if scale not in self.scales:
            known = ", ".join(map(str, self.scales))
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"scale {scale} is not one of this model; choose one of {known}")
        self.progress = 0.0
        x_L, began = decoded(upload, self.max_pixels), time.perf_counter()
        height, width = x_L.shape[-2:]
        try:
            with memory_explained(f"a picture of {width}x{height} pixels", "take a smaller one, or set --memory"):
                after = png(self._enlarged(x_L, scale))
        except MemoryError as error:
            raise RefusedError(HTTPStatus.INSUFFICIENT_STORAGE, str(error)) from error
        except ValueError as error:
            raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
        seconds = round(time.perf_counter() - began, 2)
        key = secrets.token_urlsafe(16)
        self._results[key] = Result(png(enlarge(x_L, scale)), after, scale * width, scale * height, scale, seconds)
        while len(self._results) > KEPT:
            self._results.popitem(last=False)
        return key

    def _enlarged(self, x_L: Tensor, scale: int) -> Tensor:
        """(1, 3, scale h, scale w) of x_L (1, 3, h, w) in [0, 1], at whichever scale."""
        if scale not in self._pipelines:
            same = scale == self.pipeline.scale
            self._pipelines[scale] = self.pipeline if same else replace(self.pipeline, scale=scale)
        pipeline = self._pipelines[scale]
        with watched(pipeline.renderer, self._tell, (1, scale**2)):
            return pipeline(x_L)

    def _tell(self, share: float) -> None:
        self.progress = share

    def result(self, key: str) -> Result:
        """What `make` gave this key.

        Raises:
            RefusedError: nothing, or so long ago that it is no longer kept.
        """
        try:
            return self._results[key]
        except KeyError:
            text = "no such result is kept; enlarge the picture again"
            raise RefusedError(HTTPStatus.NOT_FOUND, text) from None


def decoded(upload: bytes, max_pixels: int) -> Tensor:
    """(1, 3, h, w) in [0, 1] of an image file's bytes, as fsr.images.read_image reads files.

    Raises:
        RefusedError: another format, more pixels (by its header, before they are decoded), animated, or damaged.
    """
    try:
        with Image.open(io.BytesIO(upload), formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                text = f"the picture has {width}x{height} pixels; at most {max_pixels / 1e6:g} megapixels are taken"
                raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
            if getattr(image, "is_animated", False) and image.format != "MPO":
                text = "the picture is animated; save the one of its frames that you want"
                raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, text)
            image.load()
            rgb = rgb_pixels(ImageOps.exif_transpose(image))
            return torch.from_numpy(rgb).permute(2, 0, 1)[None].contiguous()
    except Image.DecompressionBombError as error:
        text = f"the picture has too many pixels; at most {max_pixels / 1e6:g} megapixels are taken"
        raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text) from error
    except UnidentifiedImageError as error:
        text = f"this is no picture that is taken; choose a file of {', '.join(FORMATS)}"
        raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, text) from error
    except (OSError, SyntaxError, ValueError) as error:
        text = "the picture is truncated or damaged; save it again and try once more"
        raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, text) from error
