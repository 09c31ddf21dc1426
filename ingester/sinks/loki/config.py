"""`loki` of a sink: how it is pushed to, and how many streams a cluster may have."""

from typing import Annotated

from pydantic import Field

from pipeline.config import Seconds
from pipeline.send.loki.config import LokiConfig


class LokiSinkConfig(LokiConfig):
    """A Loki that an ingester delivers to."""

    max_streams: Annotated[int, Field(ge=1)] = 20_000
    """How many streams of one cluster may be active; entries of further ones go to the dead letters."""
    active_for: Annotated[Seconds, Field(gt=0)] = 3_600.0
    """How long a stream counts as active after its last entry."""
