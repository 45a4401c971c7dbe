"""Reading typed sections of YAML files, with errors of one line that name the key and the remedy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError


class Section(BaseModel):
    """A mapping of known keys: any other is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


T = TypeVar("T", bound=Section)


def validated(model: type[T], values: Mapping[str, Any], name: str) -> T:
    """`values` as a typed section.

    Raises:
        ValueError: one line that names the file, each wrong key and what is expected of it.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{name}: " + "; ".join(_explained(item) for item in error.errors())) from None


def read_yaml(model: type[T], path: Path | str) -> T:
    """A YAML file as a typed section.

    Raises:
        ValueError: not YAML, or not a mapping of known keys with values in range.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    return validated(model, values, str(path))


def _explained(item: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in item["loc"])
    match item["type"]:
        case "extra_forbidden":
            return f"{place} is not a known key; check its spelling against params.yaml, or remove it"
        case "missing":
            return f"{place} is missing; copy it from params.yaml"
        case "value_error":
            return f"{place}: {item['ctx']['error']}" if place else str(item["ctx"]["error"])
        case _:
            return f"{place} is {item['input']!r}: {item['msg'][0].lower()}{item['msg'][1:]}"
