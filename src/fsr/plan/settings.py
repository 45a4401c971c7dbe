"""Parameters changed one by one, by their dotted names."""

from collections.abc import Mapping
from typing import Any

import yaml

from fsr.config import Params
from fsr.sections import validated


def parse_setting(text: str) -> tuple[str, Any]:
    """("train.batch", 2) of "train.batch=2"; the value is YAML.

    Raises:
        ValueError: no name, or a value that is not YAML.
    """
    name, found, value = text.partition("=")
    if not found or not name:
        raise ValueError(f"setting {text!r} must be a name and a value, such as train.field.hidden=64")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError:
        raise ValueError(f"setting {text!r} has a value that is not YAML; quote it") from None


def shown_setting(name: str, value: Any) -> str:
    """What `parse_setting` takes."""
    return f"{name}={'true' if value is True else value}"


def changed(params: Params, settings: Mapping[str, Any]) -> Params:
    """`params` with values by dotted names, such as {"train.field.hidden": 64}.

    Raises:
        ValueError: a name is no key, or a value does not fit; says which.
    """
    values = params.model_dump(by_alias=True)
    for name, value in settings.items():
        *sections, key = name.split(".")
        place = values
        for section in sections:
            place = place.get(section)
            if not isinstance(place, dict):
                raise ValueError(f"setting {name}: {section} is no section of params.yaml; check its spelling there")
        place[key] = value
    return validated(Params, values, " ".join(shown_setting(*item) for item in settings.items()))
