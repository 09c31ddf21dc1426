"""`http_sd_configs`: target groups that a URL answers with. Source: Prometheus documentation, HTTP SD."""

import asyncio
import re

import aiohttp

from agent.config.scrape import HttpSdConfig
from agent.discovery.groups import TargetGroup, parse_json
from agent.discovery.tools import Groups, Place, Tools
from pipeline.errors import PermanentError, PipelineError, TransientError
from pipeline.http_client import HttpAccess

MAX_BODY_BYTES = 64 * 1024 * 1024
_JSON = re.compile(r"application/json(;\s*charset=(\"utf-8\"|utf-8))?", re.IGNORECASE)


async def http_groups(config: HttpSdConfig, at: Place, tools: Tools) -> Groups:
    """Ask every `refresh_interval`, and give the groups each time that the answer is another one."""
    access = HttpAccess(config, tools.clock)
    yielded: list[TargetGroup] | None = None
    while True:
        groups = yielded or []
        try:
            groups = await fetch_groups(config, access, tools.session)
            tools.succeeded(at, config.url)
        except PipelineError as error:
            tools.failed(at, config.url, error)
        if groups != yielded:
            yielded = groups
            yield groups
        await tools.sleep(config.refresh_interval)


async def fetch_groups(config: HttpSdConfig, access: HttpAccess, session: aiohttp.ClientSession) -> list[TargetGroup]:
    """Ask once, within one refresh interval; raises PipelineError with what is wrong."""
    headers = {
        "Accept": "application/json",
        "X-Prometheus-Refresh-Interval-Seconds": f"{config.refresh_interval:g}",
    }
    try:
        async with asyncio.timeout(config.refresh_interval or None):
            arguments = await access.arguments(session, config.url, headers)
            async with session.get(config.url, **arguments) as response:
                if response.status != 200:
                    raise TransientError(f"{config.url}: answered {response.status} {response.reason or ''}".strip())
                content_type = response.headers.get("Content-Type", "").strip()
                if not _JSON.fullmatch(content_type):
                    raise PermanentError(f'{config.url}: unsupported content type "{content_type}"')
                body = await _read(response, config.url)
    except TimeoutError as error:
        raise TransientError(f"{config.url}: no answer within {config.refresh_interval:g} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise TransientError(f"{config.url}: {error or type(error).__name__}") from error
    return parse_json(body, config.url, {"__meta_url": config.url})


async def _read(response: aiohttp.ClientResponse, url: str) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise PermanentError(f"{url}: the answer is larger than {MAX_BODY_BYTES} bytes")
    return bytes(body)
