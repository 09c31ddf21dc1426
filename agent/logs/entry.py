"""One log entry on its way through the stages."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Entry:
    """`time_ns` is Unix nanoseconds. `extracted` is what stages found in it and share; it goes no further.

    As in promtail, `labels` begin as the source's, and `metadata` becomes structured metadata.
    """

    labels: dict[str, str]
    time_ns: int
    line: str
    metadata: dict[str, str] = field(default_factory=dict)
    extracted: dict[str, Any] = field(default_factory=dict)
