"""The `fsr` command: commands of the study, and those for who uses its result."""

from fsr.cli import images, study
from fsr.cli.app import app, main
from fsr.cli.parameters import merge, merged_params

__all__ = ["app", "images", "main", "merge", "merged_params", "study"]
