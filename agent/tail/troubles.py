"""What cannot be read, said once."""

import logging
from dataclasses import dataclass, field

from pipeline.telemetry import LogInputMetrics

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Troubles:
    """What is wrong with the files of a job, by path."""

    job: str
    metrics: LogInputMetrics
    _told: dict[str, str] = field(default_factory=dict)

    def tell(self, path: str, why: str) -> None:
        """Log and count what is wrong with a path, when that begins or changes."""
        if self._told.get(path) != why:
            self._told[path] = why
            self.metrics.errors.labels(self.job, "files").inc()
            logger.warning("%s", why, extra={"job": self.job})

    def over(self, path: str) -> None:
        """Note that nothing is wrong with a path any more."""
        self._told.pop(path, None)

    @property
    def by_path(self) -> dict[str, str]:
        """What is wrong now, by path."""
        return dict(self._told)

    @property
    def now(self) -> list[str]:
        """What is wrong now, a sentence each."""
        return list(self._told.values())
