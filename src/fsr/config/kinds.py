"""Types several sections share."""

from typing import Annotated, Literal

from pydantic import Field

Cut = Literal["f1", "f2", "f3", "f4", "f5"]
ProtocolName = Literal["strict", "prototype"]
Dtype = Literal["float32", "bfloat16"]
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
PositiveReal = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


def unique(names: list) -> list:
    """The list itself.

    Raises:
        ValueError: something is in it twice.
    """
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} is named twice; list each once")
    return names
