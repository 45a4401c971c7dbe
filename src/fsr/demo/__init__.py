"""A page on this machine alone that enlarges pictures and shows them before and after."""

from fsr.demo.server import Demo, serve
from fsr.demo.workbench import Workbench

__all__ = ["Demo", "Workbench", "serve"]
