"""The page: every collector's families, and which of them failed."""

import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from agent.host.collectors import Collector, collectors
from agent.host.families import Family, render

logger = logging.getLogger(__name__)


def page() -> bytes:
    """Read this machine and return a page in Prometheus' text format 0.0.4. Blocks for some milliseconds."""
    proc = Path(psutil.PROCFS_PATH) if sys.platform == "linux" else None
    return render(collect(collectors(proc)))


def collect(named: Mapping[str, Collector]) -> list[Family]:
    """Run collectors; one that cannot read what it needs costs its own families, and says so in the page."""
    duration_help = "node_exporter: Duration of a collector scrape."
    duration = Family("node_scrape_collector_duration_seconds", "gauge", duration_help)
    success_help = "node_exporter: Whether a collector succeeded."
    success = Family("node_scrape_collector_success", "gauge", success_help)
    families: list[Family] = []
    for name, collector in named.items():
        started_s = time.perf_counter()
        try:
            families += collector()
            success.add(1, collector=name)
        except (OSError, psutil.Error, ValueError) as error:
            success.add(0, collector=name)
            logger.warning("a part of this machine cannot be read", extra={"collector": name, "error": str(error)})
        duration.add(round(time.perf_counter() - started_s, 9), collector=name)
    return [*families, duration, success]
