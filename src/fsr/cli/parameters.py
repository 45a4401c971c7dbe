"""Parameter files, merged one over the other as --configfile does."""

from pathlib import Path

from fsr.config import Params
from fsr.sections import validated


def merged_params(paths: list[Path]) -> Params:
    """Parameters of files merged one over the other.

    Raises:
        ValueError: a file is not YAML, or a key is wrong; names each.
    """
    import yaml

    merged: dict = {}
    for path in paths:
        try:
            merge(merged, yaml.safe_load(path.read_text(encoding="utf-8")) or {})
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    return validated(Params, merged, " + ".join(map(str, paths)))


def merge(values: dict, changes: dict) -> None:
    """Merge `changes` over `values` in place, section by section, as --configfile does."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            merge(values[key], value)
        else:
            values[key] = value
