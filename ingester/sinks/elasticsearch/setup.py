"""Keeps the index template in place: an index that is made without it has the wrong fields for good.

It is looked at before the first documents go to an index that this process has not written to yet, so at least once
a day: a template that somebody deleted, or that an older version put, harms no new index.
"""

import asyncio
import json
import logging
from collections.abc import Set as AbstractSet
from typing import Any, Final

from ingester.sinks.elasticsearch.client import Answer, Client
from ingester.sinks.elasticsearch.config import ElasticsearchConfig
from ingester.sinks.elasticsearch.template import VERSION, is_current, make_template, template_name
from pipeline.delivery import Retry

logger = logging.getLogger(__name__)

_MAX_KNOWN: Final = 1000
_MAX_REASON_CHARACTERS: Final = 1000


class Setup:
    """Of one sink."""

    def __init__(self, sink: str, config: ElasticsearchConfig, client: Client) -> None:
        self._sink = sink
        self._config = config
        self._client = client
        self._ready: set[str] = set()
        self._looking = asyncio.Lock()

    async def trouble(self, indices: AbstractSet[str]) -> Retry | None:
        """Make sure that these indices can be made; return what keeps it from that."""
        if not self._config.template or indices <= self._ready:
            return None
        async with self._looking:
            if indices <= self._ready:
                return None
            trouble = await self._look()
            if trouble is None:
                if len(self._ready) > _MAX_KNOWN:
                    self._ready.clear()
                self._ready |= indices
            return trouble

    async def _look(self) -> Retry | None:
        path = f"/_index_template/{template_name(self._config)}"
        answer = await self._client.request("GET", path)
        if isinstance(answer, Retry):
            return answer
        if answer.status not in (200, 404):
            return _refused("looked at", answer)
        wanted = make_template(self._config, opensearch=_is_opensearch(answer))
        found = _found(answer)
        if is_current(found, wanted):
            if found["version"] > VERSION:
                extra = {"sink": self._sink, "version": found["version"]}
                logger.warning("the index template is a newer Pronoia's, and is left as it is", extra=extra)
            return None
        answer = await self._put(path, wanted)
        if isinstance(answer, Answer) and answer.status == 400 and b"index.lifecycle.name" in answer.body:
            logger.warning(
                "the server has no index lifecycle management: its indices are to be deleted by other means",
                extra={"sink": self._sink, "lifecycle_policy": self._config.lifecycle_policy},
            )
            wanted = make_template(self._config, opensearch=_is_opensearch(answer), lifecycle=False)
            answer = await self._put(path, wanted)
        if isinstance(answer, Retry):
            return answer
        if answer.status >= 300:
            return _refused("put", answer)
        logger.info("index template put", extra={"sink": self._sink, "template": template_name(self._config)})
        return None

    async def _put(self, path: str, body: dict[str, Any]) -> Answer | Retry:
        return await self._client.request("PUT", path, json.dumps(body).encode())


def _is_opensearch(answer: Answer) -> bool:
    # Elasticsearch names itself in every answer, from 7.14 on.
    return "x-elastic-product" not in answer.headers


def _found(answer: Answer) -> dict[str, Any]:
    try:
        (template,) = json.loads(answer.body)["index_templates"]
        return dict(template["index_template"])
    except (ValueError, LookupError, TypeError):
        return {}


def _refused(verb: str, answer: Answer) -> Retry:
    words = answer.body[:_MAX_REASON_CHARACTERS].decode(errors="replace")
    return Retry(
        f"the index template cannot be {verb} (set template: false to put one yourself): HTTP {answer.status}: {words}",
        alarm=answer.status < 500 and answer.status != 429,
    )
