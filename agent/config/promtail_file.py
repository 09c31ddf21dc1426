"""Telling a promtail's own file from an agent's, by its keys, and taking it apart."""

import re
from collections.abc import Mapping
from typing import Any, Final

from pipeline.config import ConfigError, Mistake

KEYS: Final = (
    *("global", "server", "client", "clients", "positions", "scrape_configs", "limits_config", "target_config"),
    *("options", "tracing", "wal"),
)
"""What a promtail's file may have on top; the agent's own keys (`cluster`, `gateway`, `buffer`, …) may stand beside."""

_ONLY_PROMTAILS: Final = frozenset(("client", "clients", "positions", "limits_config", "target_config", "server"))
_ONLY_IN_JOBS: Final = frozenset(
    (
        *("pipeline_stages", "journal", "syslog", "loki_push_api", "kafka", "encoding", "decompression", "gelf"),
        *("windows_events", "gcplog", "cloudflare", "heroku_drain", "azure_event_hubs", "kubernetes_events"),
    )
)

_PATH: Final = "__path__"


def is_promtails(value: Mapping[str, Any]) -> bool:
    """Return whether a file is a promtail's: it has keys that no agent's file has, and no section `logs`."""
    if "logs" in value or "remote_write" in value:
        return False
    if value.keys() & _ONLY_PROMTAILS:
        return True
    jobs = value.get("scrape_configs")
    return isinstance(jobs, list) and any(
        isinstance(job, dict) and (job.keys() & _ONLY_IN_JOBS or _names_files(job)) for job in jobs
    )


def _names_files(job: Mapping[str, Any]) -> bool:
    """Return whether a job says which files to read: the label is nothing to a scrape job."""
    groups, rules = job.get("static_configs"), job.get("relabel_configs")
    labels = [group.get("labels") for group in _mappings(groups)]
    return any(_PATH in each for each in _mappings(labels)) or any(
        rule.get("target_label") == _PATH for rule in _mappings(rules)
    )


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def take_promtails(value: dict[str, Any]) -> dict[str, Any]:
    """Take promtail's keys out of a file; what is left is the agent's own."""
    return {name: value.pop(name) for name in KEYS if name in value}


_VARIABLE: Final = re.compile(r"\\\\|\$\{([^}]*)\}")
_NAME: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::?-(.*))?", re.ASCII | re.DOTALL)


def expand_variables(text: str, environment: Mapping[str, str], file: str) -> str:
    """Replace `${NAME}` and `${NAME:-default}`, and two backslashes by one, as promtail's -config.expand-env does.

    It is done before the file is read as YAML. Raises ConfigError for what else may stand in braces.
    """
    mistakes: list[Mistake] = []

    def value(match: re.Match[str]) -> str:
        if match[1] is None:
            return "\\"
        name = _NAME.fullmatch(match[1])
        if name is None:
            line = text.count("\n", 0, match.start()) + 1
            reason = f"{match[0]} is not supported: write ${{NAME}} or ${{NAME:-default}}"
            mistakes.append(Mistake(file, line, "", reason))
            return ""
        return environment.get(name[1], "") or name[2] or ""

    expanded = _VARIABLE.sub(value, text)
    if mistakes:
        raise ConfigError(mistakes)
    return expanded
