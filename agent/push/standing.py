"""Whether a receiver takes what it is sent: kept by lane, logged when it changes, shown in a metric."""

import logging
from dataclasses import dataclass, field

from pipeline.delivery import Outcome, Partly, Retry
from pipeline.telemetry import AgentMetrics

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Standing:
    """What a receiver, called `name` in logs and metrics, last said of each lane that it did not take."""

    name: str
    metrics: AgentMetrics
    _reasons: dict[int, str] = field(default_factory=dict)

    def trouble(self) -> str | None:
        """Return why something does not get through just now, or None."""
        return next(iter(self._reasons.values()), None)

    def note(self, lane: int, outcome: Outcome) -> None:
        """Take in what came of a request."""
        retry = outcome.retry if isinstance(outcome, Partly) else outcome
        if isinstance(retry, Retry):
            if retry.reason not in self._reasons.values():
                level = logging.ERROR if retry.alarm else logging.WARNING
                logger.log(level, "%s does not take batches: %s; they wait on disk", self.name, retry.reason)
            self._reasons[lane] = retry.reason
        elif self._reasons.pop(lane, None) is not None and not self._reasons:
            logger.info("%s takes batches again", self.name)
        self.metrics.connected.labels(self.name).set(0 if self._reasons else 1)
