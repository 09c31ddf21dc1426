"""`/api/v1/targets`: what is scraped and how it goes, in the shape that Prometheus' own API has.

Source: Prometheus documentation, HTTP API, "Targets"; prometheus/web/api/v1/api.go.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from aiohttp import web

from agent.job import JobTargets
from agent.target import Dropped, Target
from pipeline.config import format_duration

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_NEVER = "0001-01-01T00:00:00Z"
"""How Go writes a time that was never set."""


@dataclass(frozen=True, slots=True)
class Health:
    """How the last scrape of a target went; `scraped_at_s` is Unix seconds, None before the first."""

    health: Literal["unknown", "up", "down"] = "unknown"
    last_error: str = ""
    scraped_at_s: float | None = None
    duration_s: float = 0.0


def add_routes(
    app: web.Application,
    by_job: Callable[[], Mapping[str, JobTargets[Target]]],
    health_of: Callable[[Target], Health],
    host: str,
) -> None:
    """Serve `/api/v1/targets`; `host` is the name under which others reach this machine."""

    async def targets(request: web.Request) -> web.Response:
        state, pool = request.query.get("state", ""), request.query.get("scrapePool", "")

        def body() -> bytes:
            data = response(found, health_of, host, state=state, pool=pool)
            return json.dumps({"status": "success", "data": data}).encode()

        found = dict(by_job())
        # Thousands of targets take longer than the loop may be held (ARCHITECTURE 11).
        return web.Response(body=await asyncio.to_thread(body), content_type="application/json")

    app.router.add_get("/api/v1/targets", targets)


def response(
    by_job: Mapping[str, JobTargets[Target]],
    health_of: Callable[[Target], Health],
    host: str,
    *,
    state: str = "",
    pool: str = "",
) -> dict[str, Any]:
    """Return an answer's `data`: targets that are active, dropped or (`state` empty or any) both, of one pool or all.

    The counts of dropped targets are of all pools, and are left out with state=active, as Prometheus does it.
    """
    state = state.lower()
    shown = [(name, by_job[name]) for name in sorted(by_job) if pool in ("", name)]
    data: dict[str, Any] = {"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": None}
    if state in ("", "any", "active"):
        active = (target for _, targets in shown for target in targets.active)
        data["activeTargets"] = [
            {**describe(target), **describe_health(target, health_of(target), host)} for target in active
        ]
    if state in ("", "any", "dropped"):
        data["droppedTargets"] = [describe_dropped(dropped) for _, targets in shown for dropped in targets.dropped]
        data["droppedTargetCounts"] = {name: targets.dropped_count for name, targets in by_job.items()}
    return data


def describe(target: Target) -> dict[str, Any]:
    """Return what is known of a target before it is scraped."""
    return {
        "discoveredLabels": dict(target.discovered_labels),
        "labels": dict(target.labels),
        "scrapePool": target.config.job_name,
        "scrapeUrl": target.url,
        "scrapeInterval": format_duration(target.interval_s),
        "scrapeTimeout": format_duration(target.timeout_s),
    }


def describe_dropped(dropped: Dropped) -> dict[str, Any]:
    """Return what is known of a dropped target; `reason` and `rule` (an index) are ours, beside Prometheus' keys."""
    return {
        "discoveredLabels": dict(dropped.discovered_labels),
        "scrapePool": dropped.config.pool,
        "reason": dropped.reason,
        "rule": dropped.rule,
    }


def describe_health(target: Target, health: Health, host: str) -> dict[str, Any]:
    """Return how a target's scrapes go; `host` is the name under which others reach this machine."""
    return {
        "globalUrl": _global_url(target.url, host),
        "lastError": health.last_error,
        "lastScrape": _NEVER if health.scraped_at_s is None else _rfc3339(health.scraped_at_s),
        "lastScrapeDuration": health.duration_s,
        "health": health.health,
    }


def _rfc3339(at_s: float) -> str:
    text = datetime.fromtimestamp(at_s, UTC).isoformat(timespec="microseconds").removesuffix("+00:00")
    return text.rstrip("0").rstrip(".") + "Z"


def _global_url(url: str, host: str) -> str:
    """Return the URL as others reach it: a loopback address becomes this machine's name."""
    parts = urlsplit(url)
    if parts.hostname not in _LOOPBACK:
        return url
    port = parts.netloc.rpartition("]")[2].partition(":")[2]
    return urlunsplit(parts._replace(netloc=f"{host}:{port}" if port else host))
