"""The sink itself: build, send, judge; and remember what of a request is still open, so that only that is sent again.

Ids follow from the records, and `create` refuses an id that is there, so that sending again what the server has costs
time and nothing else. What is remembered is therefore a matter of speed, and may be forgotten.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Final

from ingester.sinks.elasticsearch.bulk import Size, batches
from ingester.sinks.elasticsearch.classify import FILTER, Pressed, Refused, Verdict, judge
from ingester.sinks.elasticsearch.client import NDJSON, Client
from ingester.sinks.elasticsearch.config import ElasticsearchConfig
from ingester.sinks.elasticsearch.documents import Documents
from ingester.sinks.elasticsearch.setup import Setup
from pipeline.delivery import Delivered, Outcome, Partly, PartRefused, Rejected, Retry, TooLarge
from pipeline.send.request import Piece, Request
from pipeline.wire.envelope import Signal
from pipeline.wire.errors import MalformedError

_MAX_REMEMBERED: Final = 256
_ALONE_S: Final = 300.0
"""How long a document is refused for pressure although nothing else is in its request, until somebody has to know."""
_TARGET: Final = f"/_bulk?filter_path={FILTER}"

Key = tuple[tuple[str, str, int, int, int, int, int], ...]
"""What tells requests apart: their records' owners, places and contents."""


@dataclass(slots=True)
class _Work:
    """A request's documents, those that are open, and what was refused of the others.

    `alone_since_s` is when one that was sent by itself was first refused for pressure, if it still is.
    """

    documents: list[bytes]
    starts: list[int]
    indices: frozenset[str]
    open: Sequence[int]
    refused: list[Refused] = field(default_factory=list)
    alone_since_s: float | None = None


@dataclass(slots=True)
class ElasticsearchSink:
    """A `Sink` of Elasticsearch or OpenSearch."""

    name: str
    config: ElasticsearchConfig
    client: Client
    documents: Documents
    setup: Setup
    clock: Callable[[], float]
    signal: Signal = field(init=False)
    _size: Size = field(init=False)
    _open: OrderedDict[Key, tuple[Sequence[int], list[Refused], float | None]] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self.signal = self.config.carries()
        self._size = Size(self.config.max_request_bytes)

    async def start(self) -> None:
        """Open the client."""
        await self.client.start()

    async def close(self) -> None:
        """Close the client."""
        await self.client.close()

    async def send(self, request: Request) -> Outcome:
        """Send what is open of a request. Documents that the server has already are delivered."""
        try:
            work = await asyncio.to_thread(self._build, request)
        except MalformedError as error:
            return Rejected(str(error), 0)
        key = _key(request)
        work.open, work.refused, work.alone_since_s = self._open.pop(key, (work.open, work.refused, None))
        trouble = await self.setup.trouble(work.indices) or await self._send(work)
        if trouble is not None:
            self._open[key] = (work.open, work.refused, work.alone_since_s)
            if len(self._open) > _MAX_REMEMBERED:
                self._open.popitem(last=False)
            return trouble
        if not work.refused:
            return Delivered()
        return await asyncio.to_thread(self._partly, request, work)

    def _build(self, request: Request) -> _Work:
        documents: list[bytes] = []
        counts: list[int] = []
        indices: set[str] = set()
        for piece in request.pieces:
            built = self.documents.build(piece)
            documents += built.documents
            counts.append(len(built.documents))
            indices |= built.indices
        return _Work(documents, [0, *accumulate(counts)], frozenset(indices), range(len(documents)))

    async def _send(self, work: _Work) -> Retry | None:
        """Send bulk requests until the server has looked at every document; `work` then says what is open."""
        waiting = deque(batches(work.documents, work.open, self._size.max_bytes))
        still_open: list[int] = []
        trouble: Retry | None = None
        while waiting:
            numbers = waiting.popleft()
            verdict = await self._bulk(work, numbers)
            if isinstance(verdict, TooLarge):
                middle = len(numbers) // 2
                waiting.extendleft((numbers[middle:], numbers[:middle]))
            elif isinstance(verdict, Retry):
                # Whatever this request met, the next will meet, too.
                trouble = verdict
                still_open += [number for rest in (numbers, *waiting) for number in rest]
                break
            else:
                trouble = verdict.trouble or trouble
                still_open += verdict.open
                work.refused += verdict.refused
        work.open = still_open
        return trouble

    async def _bulk(self, work: _Work, numbers: Sequence[int]) -> Verdict | Retry | TooLarge:
        body = b"".join([work.documents[number] for number in numbers])
        answer = await self.client.request("POST", _TARGET, body, NDJSON)
        if isinstance(answer, Retry):
            return answer
        verdict = judge(answer.status, answer.headers, answer.body, numbers, now_s=self.clock())
        if isinstance(verdict, TooLarge):
            if len(numbers) == 1:
                return Verdict(refused=[Refused(numbers[0], 413, "too large", verdict.reason)])
            self._size.too_large(len(body))
        elif isinstance(verdict, Pressed):
            self._size.pressed(len(body))
            return self._alone(work, verdict.retry, len(body)) if len(numbers) == 1 else verdict.retry
        elif isinstance(verdict, Verdict):
            self._size.taken()
            work.alone_since_s = None
        return verdict

    def _alone(self, work: _Work, retry: Retry, size: int) -> Retry:
        """Return how a document is to be sent again that is refused by itself: once it has been for long, aloud."""
        now_s = self.clock()
        if work.alone_since_s is None:
            work.alone_since_s = now_s
        if now_s - work.alone_since_s < _ALONE_S:
            return retry
        reason = (
            f"{retry.reason}, again and again for one document of {size} bytes by itself: the server's heap is full, "
            "or a tenth of it (indexing_pressure.memory.limit) is less than the document, and it needs more; "
            "max_line_size of limits_config keeps an agent from sending such lines"
        )
        return replace(retry, reason=reason, alarm=True)

    def _partly(self, request: Request, work: _Work) -> Partly:
        """Give back what is refused, in parts of one record and one kind of reason each."""
        out: list[PartRefused] = []
        for piece, start, end in zip(request.pieces, work.starts, work.starts[1:], strict=False):
            kinds: dict[tuple[int, str], list[Refused]] = {}
            for refused in work.refused:
                if start <= refused.number < end:
                    kinds.setdefault((refused.status, refused.kind), []).append(refused)
            out += [self._part(piece, start, alike) for alike in kinds.values()]
        return Partly(tuple(out))

    def _part(self, piece: Piece, start: int, alike: list[Refused]) -> PartRefused:
        first, others = alike[0], len(alike) - 1
        part = self.documents.part(piece, sorted(refused.number - start for refused in alike))
        reason = f"{first.reason} (and {others} more like it)" if others else first.reason
        return PartRefused(piece.source, part.payload, part.items, reason, first.status)


def _key(request: Request) -> Key:
    keys = []
    for piece in request.pieces:
        at = piece.envelope
        assert at is not None
        # Letters that are sent again, and halves of a record, have its envelope, too.
        keys.append((at.cluster, at.agent, at.epoch, at.lane, at.sequence, at.part, hash(piece.payload)))
    return tuple(keys)
