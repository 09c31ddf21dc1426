"""Telling a promtail's own file from an agent's, by its keys, and taking it apart."""

from collections.abc import Mapping
from typing import Any, Final

KEYS: Final = (
    *("global", "server", "client", "clients", "positions", "scrape_configs", "limits_config", "target_config"),
    *("options", "tracing", "wal"),
)
"""What a promtail's file may have on top; the agent's own keys (`cluster`, `gateway`, `buffer`, …) may stand beside."""

_ONLY_PROMTAILS: Final = frozenset(("client", "clients", "positions", "limits_config", "target_config", "server"))
_ONLY_IN_JOBS: Final = frozenset(
    (
        *("pipeline_stages", "journal", "syslog", "loki_push_api", "kafka", "encoding", "decompression", "gelf"),
        *("windows_events", "gcplog", "cloudflare", "heroku_drain", "azure_event_hubs"),
    )
)


def is_promtails(value: Mapping[str, Any]) -> bool:
    """Return whether a file is a promtail's: it has keys that no agent's file has, and no section `logs`."""
    if "logs" in value or "remote_write" in value:
        return False
    if value.keys() & _ONLY_PROMTAILS:
        return True
    jobs = value.get("scrape_configs")
    return isinstance(jobs, list) and any(isinstance(job, dict) and job.keys() & _ONLY_IN_JOBS for job in jobs)


def take_promtails(value: dict[str, Any]) -> dict[str, Any]:
    """Take promtail's keys out of a file; what is left is the agent's own."""
    return {name: value.pop(name) for name in KEYS if name in value}
