"""`http_sd_configs`: target groups that a URL answers with. Source: Prometheus documentation, HTTP SD."""

import re
from functools import partial

import aiohttp

from agent.config.lists import HttpSdConfig
from agent.discovery.ask import aside, ask
from agent.discovery.groups import Reading, TargetGroup, parse_json
from agent.discovery.refresh import refreshed
from agent.discovery.tools import Groups, Place, Tools
from pipeline.errors import PermanentError
from pipeline.http_client import HttpAccess

_JSON = re.compile(r"application/json(;\s*charset=(\"utf-8\"|utf-8))?", re.IGNORECASE)


def http_groups(config: HttpSdConfig, at: Place, tools: Tools) -> Groups:
    """Ask every `refresh_interval`, and give the groups each time that the answer is another one."""
    access = HttpAccess(config, tools.clock)
    find = partial(fetch_groups, config, access, tools.session, _reading(config))
    return refreshed(find, config.url, config.refresh_interval, at, tools)


def _reading(config: HttpSdConfig) -> Reading:
    return Reading(partial(parse_json, source=config.url, meta={"__meta_url": config.url}))


async def fetch_groups(
    config: HttpSdConfig, access: HttpAccess, session: aiohttp.ClientSession, reading: Reading | None = None
) -> list[TargetGroup]:
    """Ask once, within one refresh interval; raises PipelineError with what is wrong.

    `reading` remembers the last answer, so that the same one is not read again.
    """
    headers = {
        "Accept": "application/json",
        "X-Prometheus-Refresh-Interval-Seconds": f"{config.refresh_interval:g}",
    }
    answer = await ask(session, access, config.url, timeout_s=config.refresh_interval, headers=headers)
    answer.require_ok()
    content_type = answer.headers.get("Content-Type", "").strip()
    if not _JSON.fullmatch(content_type):
        raise PermanentError(f'{config.url}: unsupported content type "{content_type}"')
    return await aside(answer, partial(reading or _reading(config), answer.body))
