"""Explanations over HTTP: `/api/v1/targets/explain`, and Prometheus' `/targets/relabel_steps` and `/scrape_pools`.

Source: Prometheus documentation, HTTP API, "Targets" and "Scrape pools"; prometheus/web/api/v1/api.go.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from agent.explain import Explanation, explain, looking
from agent.job import AnyJob, JobTargets
from agent.target import Dropped, Target
from pipeline.config import format_duration
from pipeline.errors import PermanentError
from pipeline.relabel import RelabelConfig, RuleStep, trace

_Form = Mapping[str, Any]
_Jobs = Mapping[str, AnyJob[Target]]
_Answer = Callable[[_Form, _Jobs], dict[str, Any]]


def add_routes(
    app: web.Application,
    jobs: Callable[[], _Jobs],
    by_job: Callable[[], Mapping[str, JobTargets[Target]]],
    is_ours: Callable[[Target], bool] = lambda _: True,
) -> None:
    """Serve them, to GET and, since labels may be longer than a URL, to POST of a form.

    `is_ours` tells this agent's targets from those of others that share the work.
    """

    def explained(asked: _Form, jobs: _Jobs) -> dict[str, Any]:
        return describe_explanation(explain(*_asked_for(jobs, asked), looking(dict(by_job())), is_ours))

    def handler(answer: _Answer) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            asked = await request.post() if request.method == "POST" else request.query
            try:
                # Looking through thousands of targets takes longer than the loop may be held (ARCHITECTURE 11).
                data = await asyncio.to_thread(answer, asked, dict(jobs()))
                return web.json_response({"status": "success", "data": data})
            except PermanentError as error:
                return web.json_response({"status": "error", "errorType": "bad_data", "error": str(error)}, status=400)

        return handle

    answers = {"targets/explain": explained, "targets/relabel_steps": _relabel_steps, "scrape_pools": _scrape_pools}
    for path, answer in answers.items():
        app.router.add_get(f"/api/v1/{path}", handler(answer))
        app.router.add_post(f"/api/v1/{path}", handler(answer))


def _relabel_steps(asked: _Form, jobs: _Jobs) -> dict[str, Any]:
    job, labels = _asked_for(jobs, asked)
    return {"steps": [describe_step(step) for step in trace(job.rules, labels)]}


def _scrape_pools(_: _Form, jobs: _Jobs) -> dict[str, Any]:
    return {"scrapePools": sorted(jobs)}


def _asked_for(jobs: _Jobs, asked: _Form) -> tuple[AnyJob[Target], dict[str, str]]:
    """Return the job `scrapePool` and the `labels` (a JSON object) that are asked for; raises PermanentError."""
    pool, text = asked.get("scrapePool", ""), asked.get("labels", "")
    if not pool:
        raise PermanentError("no scrapePool parameter provided")
    if not text:
        raise PermanentError("no labels parameter provided")
    if pool not in jobs:
        raise PermanentError(f'scrape pool "{pool}" not found')
    return jobs[pool], read_labels(text)


def read_labels(text: str) -> dict[str, str]:
    """Read the labels that somebody asks about, a JSON object of texts; raises PermanentError."""
    try:
        labels = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PermanentError(f"error parsing labels: {error}") from error
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise PermanentError("error parsing labels: an object of names and texts is wanted")
    return labels


def describe_explanation(found: Explanation) -> dict[str, Any]:
    """Return an explanation as JSON has it; docs/targets.md says what each key means."""
    one = found.outcome
    return {
        "scrapePool": one.config.job_name,
        "discoveredLabels": dict(found.discovered),
        "steps": [describe_step(step) for step in found.steps],
        "state": found.state,
        **(_becomes(one) if isinstance(one, Target) else _becomes_nothing(one)),
        "sameLabels": [_other(target) for target in found.same],
        "sameLabelsCount": found.same_count,
    }


def _becomes(target: Target) -> dict[str, Any]:
    return {
        "reason": "",
        "rule": None,
        "labels": dict(target.labels),
        "scrapeUrl": target.url,
        "scrapeInterval": format_duration(target.interval_s),
        "scrapeTimeout": format_duration(target.timeout_s),
    }


def _becomes_nothing(dropped: Dropped) -> dict[str, Any]:
    shown = {"reason": dropped.reason, "rule": dropped.rule, "labels": None}
    return {**shown, "scrapeUrl": None, "scrapeInterval": None, "scrapeTimeout": None}


def describe_step(step: RuleStep) -> dict[str, Any]:
    """Return what one rule did, as JSON has it."""
    changes = [{"label": c.name, "from": c.before or None, "to": c.after or None} for c in step.changes]
    output = {"rule": _rule(step.rule), "output": dict(step.labels), "keep": step.keep}
    return {**output, "value": step.value, "changes": changes}


def _rule(rule: RelabelConfig) -> dict[str, Any]:
    """Return a rule with the keys that its file has, as Prometheus shows it."""
    given = {"source_labels": rule.source_labels, "modulus": rule.modulus, "target_label": rule.target_label}
    always = {"separator": rule.separator, "regex": rule.regex, "replacement": rule.replacement, "action": rule.action}
    return {**{name: value for name, value in given.items() if value}, **always}


def _other(target: Target) -> dict[str, Any]:
    return {
        "scrapePool": target.config.job_name,
        "scrapeUrl": target.url,
        "discoveredLabels": dict(target.discovered_labels),
    }
