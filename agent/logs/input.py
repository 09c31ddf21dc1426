"""What an input of logs is given, and what it has to be."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from agent.logs.chunk import Keep
from agent.logs.pipeline import MakePipeline
from pipeline.telemetry import LogInputMetrics

Relabel = Callable[[Mapping[str, str]], "dict[str, str] | None"]
"""A job's relabel rules, from what was discovered of a source or an entry to its labels; None where it is dropped.

Labels that begin with `__` are gone from the result.
"""


@dataclass(frozen=True, slots=True)
class InputTools:
    """What the inputs of one job work with. `clock` gives Unix seconds."""

    job: str
    make: MakePipeline
    relabel: Relabel
    keep: Keep
    metrics: LogInputMetrics
    clock: Callable[[], float] = time.time


class Input(Protocol):
    """One source of entries at work."""

    async def run(self) -> None:
        """Read until cancelled; what goes wrong is logged, counted and tried again. Raises for bugs only."""

    def trouble(self) -> str | None:
        """Return None while it reads, or one sentence that says why it cannot."""
