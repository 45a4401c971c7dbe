"""The `fsr` command: commands of the study, and those for who uses its result."""

from fsr.cli import doctor, hub, images, pages, study
from fsr.cli.app import app, main
from fsr.cli.parameters import merge, merged_params

__all__ = ["app", "doctor", "hub", "images", "main", "merge", "merged_params", "pages", "study"]
