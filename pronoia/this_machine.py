"""What `pronoia up` looks at where no file says anything: this machine, and the pipeline itself."""

import contextlib
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from pipeline.config import Address

INTERVAL_S: Final = 5
CLUSTER: Final = "local"
JOURNALS: Final = (Path("/var/log/journal"), Path("/run/log/journal"))

_FILES: Final = "/var/log/{*,*/*,*/*/*}.log"
_UNNAMED: Final = "/var/log/{syslog,messages,secure,cron,maillog,debug}"
# What a syslog daemon writes of what the journal has, too: read from there, nothing is shown twice.
_OF_THE_JOURNAL: Final = "{syslog,messages,secure,cron,maillog,debug}{,.log}", "{auth,kern,daemon,user,mail,cron}.log"
# Pods' lines are in a container runtime's own form, and `containers` links to them; `private` is of services that hide.
_OF_OTHERS: Final = "{pods,containers,journal,private}/**"

_ZONED: Final = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"
_TIMES: Final = (
    # Near the beginning, as most programs write it; as syslog does without a year; of error and access logs of servers.
    (
        rf".{{0,32}}?(?P<time>{_ZONED})",
        "time",
        (
            "RFC3339Nano",
            *(
                f"2006-01-02{between}15:04:05{fraction}{zone}"
                for between in ("T", " ")
                for fraction in (".999999999", ",999999999")
                for zone in ("", "Z07:00", "Z0700")
            ),
        ),
    ),
    (r"(?P<day>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d)", "day", ("Jan _2 15:04:05",)),
    (r"\[?(?P<server>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d)", "server", ("2006/01/02 15:04:05",)),
    (
        r".{0,120}?\[(?P<access>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\]",
        "access",
        ("02/Jan/2006:15:04:05 -0700",),
    ),
)


def this_machine(node: Address, admin: Address, own_log: Path) -> dict[str, Any]:
    """Return an agent's configuration: its metrics and those of the pipeline every five seconds, and its logs."""
    labels = {"instance": socket.gethostname()}

    def job(name: str, target: Address) -> dict[str, Any]:
        return {"job_name": name, "static_configs": [{"targets": [f"{target.host}:{target.port}"], "labels": labels}]}

    return {
        "global": {"scrape_interval": f"{INTERVAL_S}s", "scrape_timeout": f"{INTERVAL_S}s"},
        "cluster": CLUSTER,
        "scrape_configs": [job("node", node), job("pronoia", admin)],
        "logs": {"scrape_configs": list(log_jobs(own_log, journal=journal_is_readable()))},
    }


def log_jobs(own_log: Path, *, journal: bool) -> Iterator[Mapping[str, Any]]:
    """Give the jobs of logs: files below /var/log that are text by their name, the journal, and Pronoia's own log."""
    excluded = [_OF_OTHERS, *(_OF_THE_JOURNAL if journal else ())]
    yield {
        "job_name": "files",
        "pipeline_stages": [
            {"regex": {"expression": f"^(?:{'|'.join(expression for expression, _, _ in _TIMES)})"}},
            *(_time_of(source, *layouts) for _, source, layouts in _TIMES),
        ],
        "static_configs": [
            _files("files", f"{{{_FILES},{_UNNAMED}}}", f"/var/log/{{{','.join(excluded)}}}"),
        ],
    }
    yield {
        "job_name": "pronoia",
        "pipeline_stages": [{"json": {"expressions": {"time": "time"}}}, _time_of("time", "RFC3339Nano")],
        "static_configs": [_files("pronoia", str(own_log.absolute()))],
    }
    if journal:
        yield {
            "job_name": "journal",
            "journal": {"labels": {"job": "journal"}},
            "relabel_configs": [
                {"source_labels": ["__journal__systemd_unit"], "target_label": "unit"},
                {"source_labels": ["__journal_syslog_identifier"], "target_label": "syslog_identifier"},
                {"source_labels": ["__journal_priority_keyword"], "target_label": "level"},
            ],
        }


def journal_is_readable() -> bool:
    """Return whether there is a journal on disk or in memory whose files this user may read, and what reads it."""
    if shutil.which("journalctl") is None:
        return False
    return any(os.access(file, os.R_OK) for folder in JOURNALS for file in folder.glob("*/*.journal"))


def time_zone() -> str:
    """Return the name of this machine's time zone, which logs leave out; UTC where it has none with a name."""
    linked = str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2]
    for name in (os.environ.get("TZ", "").removeprefix(":"), linked):
        with contextlib.suppress(KeyError, OSError, ValueError):
            return ZoneInfo(name).key
    return "UTC"


def _files(job: str, path: str, exclude: str = "") -> Mapping[str, Any]:
    labels = {"job": job, "__path__": path} | ({"__path_exclude__": exclude} if exclude else {})
    return {"targets": ["localhost"], "labels": labels}


def _time_of(source: str, layout: str, *others: str) -> Mapping[str, Any]:
    """Take a line's time from what was extracted; one without has that of the line before, or of its reading."""
    stage = {"source": source, "format": layout, "fallback_formats": list(others), "action_on_failure": "fudge"}
    return {"timestamp": {**stage, "location": time_zone()}}
