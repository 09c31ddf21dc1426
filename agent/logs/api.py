"""`/api/v1/logs/targets`: what is read, and why not; `…/explain`: rule by rule why a source is what it is."""

import asyncio
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from agent.explain_api import describe_step, read_labels
from agent.job import AnyJob, JobTargets
from agent.logs.job import LogTarget
from agent.target import Dropped
from agent.targets_api import describe_dropped
from agent.targets_page import Wanted
from pipeline.errors import PermanentError
from pipeline.relabel import trace

if TYPE_CHECKING:
    from agent.logs.service import LogService

MAX_ROWS: Final = 1_000


async def targets(service: "LogService") -> web.Response:
    """Answer what is read, what is left out, and what cannot be read just now."""
    found, troubles = dict(service.by_job), service.troubles()

    def body() -> bytes:
        return json.dumps({"status": "success", "data": {**describe_all(found), "troubles": troubles}}).encode()

    # Thousands of targets take longer than the loop may be held (ARCHITECTURE 11).
    return web.Response(body=await asyncio.to_thread(body), content_type="application/json")


async def page(service: "LogService", request: web.Request) -> web.Response:
    """Answer how far everything is read: counts by job and state, and the rows that are asked for, the worst first."""
    asked = request.query
    states, words = frozenset(filter(None, asked.get("state", "").split(","))), asked.get("q", "").lower().split()
    limit = asked.get("limit", "100")
    if not limit.isdecimal():
        error = {"status": "error", "errorType": "bad_data", "error": f"limit is not a number: {limit!r}"}
        return web.json_response(error, status=400)
    wanted = Wanted(asked.get("job", ""), states, tuple(words), min(int(limit[:9]), MAX_ROWS))
    return web.json_response({"status": "success", "data": await service.page(wanted)})


async def explain(service: "LogService", request: web.Request) -> web.Response:
    """Answer what a job makes of labels, rule by rule."""
    asked = await request.post() if request.method == "POST" else request.query
    try:
        job, labels = _asked_for(service.jobs, asked)
    except PermanentError as error:
        return web.json_response({"status": "error", "errorType": "bad_data", "error": str(error)}, status=400)
    return web.json_response({"status": "success", "data": describe_way(job, labels)})


def describe_all(found: Mapping[str, JobTargets[LogTarget]]) -> dict[str, Any]:
    """Return all targets of these jobs, in the shapes of Prometheus' API as far as they fit."""
    jobs = [found[name] for name in sorted(found)]
    return {
        "activeTargets": [describe(target) for job in jobs for target in job.active],
        "droppedTargets": [describe_dropped(dropped) for job in jobs for dropped in job.dropped],
        "droppedTargetCounts": {name: targets.dropped_count for name, targets in found.items()},
    }


def describe(target: LogTarget) -> dict[str, Any]:
    """Return what is known of one source."""
    return {
        "discoveredLabels": dict(target.discovered_labels),
        "labels": dict(target.labels),
        "scrapePool": target.config.pool,
        "path": target.path,
        "pathExclude": target.exclude,
    }


def describe_way(job: AnyJob[LogTarget], discovered: Mapping[str, str]) -> dict[str, Any]:
    """Return what each rule does to these labels, and what comes of them."""
    outcome = job.outcome(discovered)
    if isinstance(outcome, Dropped):
        state = "elsewhere" if outcome.is_elsewhere else "unusable" if outcome.rule is None else "dropped"
        became: dict[str, Any] = {"state": state, "reason": outcome.reason, "rule": outcome.rule}
        became |= {"labels": None, "path": None, "pathExclude": None}
    else:
        became = {"state": "active", "reason": "", "rule": None, "labels": dict(outcome.labels)}
        became |= {"path": outcome.path, "pathExclude": outcome.exclude}
    steps = [describe_step(step) for step in trace(job.rules, dict(outcome.discovered_labels))]
    return {
        "scrapePool": job.config.pool,
        "discoveredLabels": dict(outcome.discovered_labels),
        "steps": steps,
        **became,
    }


def _asked_for(
    jobs: Mapping[str, AnyJob[LogTarget]], asked: Mapping[str, Any]
) -> tuple[AnyJob[LogTarget], dict[str, str]]:
    """Return the job `scrapePool` and the `labels` (a JSON object) that are asked for; raises PermanentError."""
    pool, text = asked.get("scrapePool", ""), asked.get("labels", "")
    if pool not in jobs:
        raise PermanentError(f'no job of logs is named "{pool}"')
    return jobs[pool], read_labels(text)
