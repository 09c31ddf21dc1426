"""Which entries Loki has already: asked before something is sent again that may be there.

Loki shows equal entries (stream, time, line) once in log queries, but counts them as often as they were stored in
metric queries, unless they met in one head block. What was in doubt is therefore asked for.
Source: Loki documentation, "HTTP API", `GET /loki/api/v1/query_range`; grafana/loki 3.7 pkg/iter.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from pipeline.delivery import Retry
from pipeline.errors import TransientError
from pipeline.http_client import HttpAccess, why_no_answer
from pipeline.send.classify import reason_of
from pipeline.send.http import read_answer
from pipeline.send.loki.classify import TOO_LARGE
from pipeline.send.loki.names import pairs_of, without_added
from pipeline.wire.loki import Pairs

_PAGE: Final = 1000
_PAGE_BYTES: Final = 2 * 2**20
"""What a page may come to: Loki's answers, too, have to fit into its gRPC messages of 4 MiB."""
_ROOM_BYTES: Final = 512
_MAX_ANSWER_BYTES: Final = 64 * 2**20
# Structured metadata is then no part of the stream's labels.
_CATEGORIZED: Final = {"X-Loki-Response-Encoding-Flags": "categorize-labels"}

Entries = set[tuple[int, str]]
"""(Unix nanoseconds, line)"""


class NotAskableError(Exception):
    """This Loki does not answer the question; `lasting` where it will answer none: not the place, or not allowed."""

    def __init__(self, reason: str, *, lasting: bool) -> None:
        super().__init__(reason)
        self.lasting = lasting


@dataclass(frozen=True, slots=True)
class Presence:
    """Asks one Loki. `headers` are what every request has."""

    session: aiohttp.ClientSession
    access: HttpAccess
    url: str
    headers: Mapping[str, str]

    async def entries(self, labels: bytes, first_ns: int, last_ns: int, longest_bytes: int) -> Entries | Retry:
        """Return the stored entries of one stream of a time, both ends included; a Retry where Loki cannot say now.

        `longest_bytes` is how long their lines may be. Raises NotAskableError, and MalformedError for labels that are
        none.
        """
        selector = labels.decode(errors="replace")
        pairs = pairs_of(selector)
        out: Entries = set()
        start_ns, limit = first_ns, max(1, min(_PAGE, _PAGE_BYTES // (longest_bytes + _ROOM_BYTES)))
        while True:
            streams = await self._page(selector, start_ns, last_ns + 1, limit)
            if isinstance(streams, Retry):
                if TOO_LARGE not in streams.reason or limit == 1:
                    return streams
                limit //= 2
                continue
            times_ns = [int(value[0]) for stream in streams for value in stream["values"]]
            for stream in streams:
                if _same(stream["stream"], pairs):
                    out.update((int(value[0]), value[1]) for value in stream["values"])
            if len(times_ns) < limit:
                return out
            # Entries of the page's last nanosecond may go on behind it, unless it is all of one.
            newest_ns = max(times_ns)
            start_ns = newest_ns if newest_ns > start_ns else newest_ns + 1

    async def _page(self, selector: str, start_ns: int, end_ns: int, limit: int) -> list[Any] | Retry:
        params = {"query": selector, "start": str(start_ns), "end": str(end_ns), "limit": str(limit)}
        found = await self._ask(params, _CATEGORIZED)
        if found == []:
            # Of an answer that does not fit into one of its messages Loki 3.7 says 200 and nothing, if asked so.
            other = await self._ask(params, {})
            if isinstance(other, Retry):
                return other
            if other:
                return Retry("what is stored already cannot be asked: two answers to one question")
        return found

    async def _ask(self, params: Mapping[str, str], headers: Mapping[str, str]) -> list[Any] | Retry:
        # A cached answer may be from before what is asked for was pushed.
        headers = {**self.headers, **headers, "Cache-Control": "no-cache"}
        try:
            arguments = await self.access.arguments(self.session, self.url, headers)
            params = {**params, "direction": "forward"}
            async with self.session.get(self.url, params=params, **arguments) as response:
                return _judge(response.status, await read_answer(response, _MAX_ANSWER_BYTES))
        except TransientError as error:
            return Retry(str(error), error.retry_after_s, alarm=True)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return Retry(f"what is stored already cannot be asked: {why_no_answer(error)}")


def _judge(status: int, body: bytes) -> list[Any] | Retry:
    if status == 429 or status >= 500:
        return Retry(f"what is stored already cannot be asked: {reason_of(status, body)}")
    if status != 200:
        raise NotAskableError(reason_of(status, body), lasting=status != 400)
    try:
        streams: list[Any] = json.loads(body)["data"]["result"]
    except (ValueError, LookupError, TypeError) as error:
        raise NotAskableError(f"an answer that cannot be read: {error!r}", lasting=True) from error
    return streams


def _same(found: Mapping[str, str], pairs: Pairs) -> bool:
    """Tell whether a stream is the one with these labels; Loki may have added `service_name`."""
    named = tuple(sorted(found.items()))
    return pairs in (named, without_added(named))
