"""`scrape_failure_log_file`: failed scrapes as lines of JSON. Source: Prometheus documentation, `<scrape_config>`."""

import json
import logging
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from agent.targets import Target

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class FailureLog:
    """The files of all jobs, each open once. They are for local disks: a line is written before the scrape goes on."""

    _open: dict[Path, int | None] = field(default_factory=dict)

    def write(self, target: Target, error: str, at_s: float) -> None:
        """Add a line to the file of the target's job, if it has one."""
        path = target.config.scrape_failure_log_file
        if path is None:
            return
        line = {
            "time": datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds"),
            "level": "ERROR",
            "msg": error,
            "job_name": target.config.job_name,
            "target": target.url,
        }
        try:
            if path not in self._open:
                self._open[path] = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o666)
            if (number := self._open[path]) is not None:
                os.write(number, (json.dumps(line, ensure_ascii=False) + "\n").encode(errors="replace"))
        except OSError as problem:
            # Said once: what has failed here will fail again, and the scrapes' failures are in `/api/v1/targets` too.
            logger.error("failed scrapes are not written to %s: %s", path, problem.strerror)
            self._close(path)
            self._open[path] = None

    def reopen(self) -> None:
        """Let go of all files: the next line opens its file anew, which may have been moved away."""
        for path in list(self._open):
            self._close(path)
        self._open.clear()

    def _close(self, path: Path) -> None:
        if (number := self._open.get(path)) is not None:
            os.close(number)
