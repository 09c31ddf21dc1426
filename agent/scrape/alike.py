"""Whether a target is scraped as before: what decides, at a reload, that its loop, schedule and page cache go on."""

from typing import Final

from agent.config.scrape import ScrapeConfig
from agent.targets import Target

_FINDING: Final = frozenset(
    (
        *("static_configs", "relabel_configs", "target_limit", "keep_dropped_targets", "scrape_failure_log_file"),
        # A target has its own of these.
        *("scrape_interval", "scrape_timeout", "metrics_path", "scheme", "params"),
    )
)


def scraped_alike(one: ScrapeConfig, other: ScrapeConfig) -> bool:
    """Tell whether two jobs differ in nothing but how targets are found, labelled and counted, and failures logged."""
    if one is other:
        return True
    names = (name for name in ScrapeConfig.model_fields if name not in _FINDING and not name.endswith("_sd_configs"))
    return all(getattr(one, name) == getattr(other, name) for name in names)


class Alike:
    """Compares targets of one key, and each pair of jobs once instead of for each of their targets."""

    def __init__(self) -> None:
        self._jobs: dict[tuple[int, int], bool] = {}

    def __call__(self, before: Target, now: Target) -> bool:
        """Tell whether `now` is scraped as `before` was: it may have been discovered otherwise, or be refused now."""
        if before is now:
            return True
        pair = id(before.config), id(now.config)
        if pair not in self._jobs:
            self._jobs[pair] = scraped_alike(before.config, now.config)
        return self._jobs[pair] and _own(before) == _own(now)


def _own(target: Target) -> tuple[object, ...]:
    """Return what relabelling may have made otherwise than the job says."""
    histograms = target.scrape_native_histograms, target.always_scrape_classic_histograms
    return target.interval_s, target.timeout_s, *histograms
