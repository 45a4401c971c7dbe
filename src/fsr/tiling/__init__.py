"""Exact tiles: the frozen autoencoder and the field, a strip of rows at a time, equal to whole images."""

from fsr.tiling.renderer import Renderer, unwatched
from fsr.tiling.settings import Tiling, parse_memory, parse_tile

__all__ = ["Renderer", "Tiling", "parse_memory", "parse_tile", "unwatched"]
