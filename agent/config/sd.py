"""What the sections of several discoveries share."""

from typing import Annotated

from pydantic import AfterValidator, Field

from pipeline.config import Seconds
from pipeline.http_config import NullableSection


def _positive(seconds: float) -> float:
    if seconds <= 0:
        raise ValueError("must be longer than 0s")
    return seconds


Interval = Annotated[Seconds, AfterValidator(_positive)]
"""How often something is asked for."""
Port = Annotated[int, Field(ge=0, le=65535)]


class Filter(NullableSection):
    """One of `filters`: what is asked for has one of these values (the other side's own filters, by their names)."""

    name: str = ""
    """The filter's name, as the other side knows it."""
    values: tuple[str, ...] = ()
    """What passes has one of these values."""
