"""What an input of logs is given, and what it has to be."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from agent.logs.chunk import Keep
from agent.logs.parts import Parts
from agent.logs.pipeline import MakePipeline
from pipeline.telemetry import LogInputMetrics

Relabel = Callable[[Mapping[str, str]], "dict[str, str] | None"]
"""A job's relabel rules, from what was discovered of a source or an entry to its labels; None where it is dropped.

Labels that begin with `__` are gone from the result.
"""
BY_RULES: Final = "relabel_configs"
"""The reason that is counted for what the rules drop."""


@dataclass(frozen=True, slots=True)
class InputTools:
    """What the inputs of one job work with. `clock` gives Unix seconds."""

    job: str
    make: MakePipeline
    relabel: Relabel
    keep: Keep
    metrics: LogInputMetrics
    clock: Callable[[], float] = time.time

    def now_ns(self) -> int:
        """Return what time it is, Unix nanoseconds."""
        return int(self.clock() * 1_000_000_000)

    def drop(self, reason: str, lines: int = 1) -> None:
        """Count lines that go no further."""
        self.metrics.dropped_lines.labels(self.job, reason).inc(lines)

    def cut(self, lines: int) -> None:
        """Count lines that were cut at the limit of their length, if any."""
        if lines:
            self.metrics.cut_lines.labels(self.job).inc(lines)


class Input(Protocol):
    """One source of entries at work."""

    async def run(self) -> None:
        """Read until cancelled; what goes wrong is logged, counted and tried again. Raises for bugs only."""

    def trouble(self) -> str | None:
        """Return None while it reads, or one sentence that says why it cannot."""


@dataclass(frozen=True, slots=True)
class Source:
    """What discovery found and relabelling kept of one source of a job.

    `labels` are what its streams begin with (none begins with `__`), `found` all labels after relabelling
    (`__path__`, `__meta_docker_container_id`, …). `path` and `exclude` are `__path__` and `__path_exclude__`: file
    patterns in which `**` stands for any folders; both are empty where an input needs none. `key` is the target's.
    """

    labels: Mapping[str, str]
    found: Mapping[str, str]
    path: str = ""
    exclude: str = ""
    key: str = field(default="", compare=False)


class Following(Input, Protocol):
    """An input whose sources are discovered: files (`agent.tail.Files`), containers of Docker."""

    def follow(self, sources: Sequence[Source], /) -> None:
        """Read these from now on; a source that is no longer among them is read to its end, then let go.

        Called on the event loop, first before `run`, and each time that something came, went or changed.
        """

    def parts(self) -> Parts:
        """Return what gives each file or container as it is now. Called on the event loop."""


MakeInput = Callable[[Any, InputTools], Input]
"""Makes an input from its section; `agent.logs.kinds` names one for each key of a job."""
