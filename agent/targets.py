"""From what discovery found to what is scraped: labels, relabelling, URLs, and what was dropped with its reason."""

from dataclasses import dataclass

from agent.config.scrape import ScrapeConfig
from pipeline.wire.remote_write import Labels


@dataclass(frozen=True, slots=True)
class Target:
    """One page to scrape.

    `labels` are what every series of the page gets (job, instance, …; none begins with `__`); `discovered_labels` are
    what relabelling began with. Interval and timeout may differ from the job's, since relabelling can set them.
    """

    config: ScrapeConfig
    discovered_labels: Labels
    labels: Labels
    url: str
    interval_s: float
    timeout_s: float

    @property
    def key(self) -> str:
        """A stable identity: the same target keeps it across restarts, reloads and agents."""
        return "\xff".join((self.config.job_name, self.url, *(part for pair in self.labels for part in pair)))
