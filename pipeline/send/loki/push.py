"""One request's way to Loki: joined as far as Loki's answer is good for all of it, stream by stream where not.

What comes of it is one outcome: what is refused and what is left; everything else is stored.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from pipeline.delivery import Delivered, Outcome, Partly, Rejected, Retry, TooLarge
from pipeline.send.loki.classify import NO_SCHEMA
from pipeline.send.loki.parcel import Field, Parcel, payload_of
from pipeline.send.loki.refused import Refused, Sent, refused_entries
from pipeline.send.loki.results import Results
from pipeline.send.loki.streams import KnownStreams
from pipeline.send.loki.words import read_behind, read_rate

_AT_ONCE: Final = 8
"""Streams that are sent by themselves at the same time."""
_DAY_NS: Final = 86_400 * 10**9


class Answer(NamedTuple):
    """What came of one push, and all that Loki said where it refused something."""

    outcome: Outcome
    words: str = ""


Post = Callable[[bytes, str], Awaitable[Answer]]
"""Pushes a payload for a tenant, once."""


@dataclass(slots=True)
class Push:
    """One request on its way. `asks`: what is stored of what is left can be asked for, and was not yet."""

    parcel: Parcel
    payload: bytes
    tenant: str
    post: Post
    known: KnownStreams
    now_s: float
    asks: bool
    results: Results = field(default_factory=Results)

    def admit(self, refuses: Callable[[bytes, float], str], now_s: float) -> None:
        """Refuse streams before anything is sent; raises MalformedError."""
        reasons = [refuses(one.labels, now_s) for one in self.parcel.fields]
        if not any(reasons):
            return
        for one, reason in zip(self.parcel.fields, reasons, strict=True):
            if reason:
                entries = self.parcel.sent([one])[one.labels]
                self.results.refuse([Refused(one.labels, sent, reason) for sent in entries], 429)
        kept = [one for one, reason in zip(self.parcel.fields, reasons, strict=True) if not reason]
        self.payload = self.parcel.payload(kept)
        self.parcel = replace(self.parcel, fields=kept)

    async def run(self, late: Collection[int], max_bytes: int) -> Outcome:
        """Send everything once. `late` are the sources with entries that may be too far behind; raises MalformedError.

        No push holds more than `max_bytes` before compression, unless one entry does.
        """
        joined, alone = self._sorted(late)
        limits = self.known.limits(self.tenant, self.now_s)
        for chunk in _chunks(joined, min(max_bytes, limits.request_bytes)):
            await self._joined(chunk)
        room, stream_bytes = asyncio.Semaphore(_AT_ONCE), min(max_bytes, limits.request_bytes, limits.stream_bytes)

        async def by_itself(labels: bytes, group: Sequence[Field]) -> None:
            async with room:
                await self._by_itself(labels, group, stream_bytes)

        await asyncio.gather(*(by_itself(labels, group) for labels, group in alone.items()))
        return await self.results.outcome(self.parcel)

    def _sorted(self, late: Collection[int]) -> tuple[Sequence[Field], dict[bytes, list[Field]]]:
        """Return what may be joined, and by labels what goes by itself: that as a whole, in its order."""
        tenant, now_s, joins = self.tenant, self.now_s, self.known.joins
        apart = {
            one.labels
            for one in self.parcel.fields
            if one.source in late or not joins((tenant, one.labels), one.end - one.start, now_s)
        }
        if not apart:
            return self.parcel.fields, {}
        alone: dict[bytes, list[Field]] = {labels: [] for labels in apart}
        joined: list[Field] = []
        for one in self.parcel.fields:
            (alone[one.labels] if one.labels in apart else joined).append(one)
        return joined, alone

    async def _joined(self, chunk: Sequence[Field]) -> None:
        """Send streams of which no ingester should refuse anything."""
        if self.results.stopped:
            self.results.left_fields += chunk
            return
        whole = len(chunk) == len(self.parcel.fields)
        outcome, words = await self.post(self.payload if whole else self.parcel.payload(chunk), self.tenant)
        if isinstance(outcome, Delivered):
            self.results.taken = True
        elif isinstance(outcome, TooLarge) and len(chunk) > 1:
            middle = len(chunk) // 2
            await self._joined(chunk[:middle])
            await self._joined(chunk[middle:])
        elif _of_an_ingester(words):
            # It speaks of one stream, and hides what else was refused: what is stored has to be asked for, and what is
            # not goes stream by stream.
            self.known.forget((self.tenant, one.labels) for one in chunk)
            self.results.leave_fields(chunk, Retry(_reason(outcome), 0.0, perhaps_taken=True))
        elif isinstance(outcome, Retry):
            self._note_rate(words)
            self.results.leave_fields(chunk, outcome, stop=True)
        else:
            await self._refused(chunk, outcome, words)

    async def _refused(self, chunk: Sequence[Field], outcome: Outcome, words: str) -> None:
        """Find what the distributor refuses; where its words do not tell, by sending each stream by itself."""
        streams = self.parcel.sent(chunk)
        refused = await asyncio.to_thread(refused_entries, words, streams)
        if refused is not None:
            self.results.refuse(_quoted(refused, 400), 400)
            return
        for labels, sent in streams.items():
            await self._stream(labels, sent)

    async def _by_itself(self, labels: bytes, group: Sequence[Field], max_bytes: int) -> None:
        """Send one stream of which an ingester may refuse something."""
        taken = [await self._part(labels, chunk, max_bytes) for chunk in _chunks(group, max_bytes)]
        if all(taken):
            size = sum(one.end - one.start for one in group)
            self.known.took((self.tenant, labels), size, self.now_s)

    async def _part(self, labels: bytes, chunk: Sequence[Field], max_bytes: int) -> bool:
        """Send fields of one stream as one, without reading their entries; tell whether Loki has the stream now."""
        if self.results.stopped:
            self.results.left_fields += chunk
            return False
        parts = -(-sum(one.end - one.start for one in chunk) // max_bytes)
        if parts > 1:
            sent = self.parcel.sent(chunk)[labels]
            step = max(1, -(-len(sent) // parts))
            return all([await self._stream(labels, sent[at : at + step]) for at in range(0, len(sent), step)])
        whole = len(self.parcel.fields) == 1
        outcome, words = await self.post(self.payload if whole else self.parcel.merged(labels, chunk), self.tenant)
        if isinstance(outcome, Delivered):
            self.results.taken = True
            return True
        return await self._answered(labels, self.parcel.sent(chunk)[labels], outcome, words)

    async def _stream(self, labels: bytes, sent: Sequence[Sent]) -> bool:
        """Send some entries of one stream; tell whether Loki has the stream now."""
        if self.results.stopped:
            self.results.leave_entries(labels, sent)
            return False
        outcome, words = await self.post(payload_of(labels, sent), self.tenant)
        if isinstance(outcome, Delivered):
            self.results.taken = True
            return True
        return await self._answered(labels, sent, outcome, words)

    async def _answered(self, labels: bytes, sent: Sequence[Sent], outcome: Outcome, words: str) -> bool:
        """Find what Loki has of some entries of one stream, none of which it has for certain."""
        refused = await asyncio.to_thread(refused_entries, words, {labels: sent})
        if refused is not None:
            self.results.refuse(_quoted(refused, _status(outcome)), _status(outcome))
            return len(refused) < len(sent)
        if isinstance(outcome, Retry):
            self._left(labels, sent, outcome, words)
            return False
        if NO_SCHEMA in words:
            return await self._too_early(labels, sent, outcome)
        if self.asks and read_behind(words) is not None:
            self.results.leave_entries(labels, sent, Retry(_reason(outcome), 0.0, perhaps_taken=True))
            return False
        return await self._halves(labels, sent, outcome)

    async def _too_early(self, labels: bytes, sent: Sequence[Sent], outcome: Outcome) -> bool:
        """Refuse the oldest entry's day, since Loki's schemas begin with a day; send the others. Loki has none of them.

        In halves: days may be many, and none of the others need be any better.
        """
        behind_ns = (min(one.entry.time_ns for one in sent) // _DAY_NS + 1) * _DAY_NS
        early = [one for one in sent if one.entry.time_ns < behind_ns]
        self.results.refuse([Refused(labels, one, _reason(outcome)) for one in early], _status(outcome))
        rest = [one for one in sent if one.entry.time_ns >= behind_ns]
        middle = len(rest) // 2
        return any([await self._stream(labels, half) for half in (rest[:middle], rest[middle:]) if half])

    async def _halves(self, labels: bytes, sent: Sequence[Sent], outcome: Outcome) -> bool:
        """Send fewer entries at once, until the one is found that Loki does not take."""
        if len(sent) == 1:
            self.results.refuse([Refused(labels, sent[0], _reason(outcome))], _status(outcome))
            return False
        middle = len(sent) // 2
        taken = [await self._stream(labels, half) for half in (sent[:middle], sent[middle:])]
        return any(taken)

    def _left(self, labels: bytes, sent: Sequence[Sent], retry: Retry, words: str) -> None:
        rate = read_rate(words)
        self._note_rate(words)
        if rate is None or not rate.of_stream:
            self.results.leave_entries(labels, sent, retry, stop=True)
            return
        # Only this stream gets too much, and with sharding (the default) nothing of it is stored: else some is.
        stored = rate.ignored is not None and rate.ignored < len(sent)
        self.results.taken = self.results.taken or stored
        self.results.leave_entries(labels, sent, Retry(retry.reason, retry.after_s, perhaps_taken=stored))

    def _note_rate(self, words: str) -> None:
        if (rate := read_rate(words)) is not None:
            self.known.limited(self.tenant, rate, self.now_s)


def _of_an_ingester(words: str) -> bool:
    """Tell whether words are about one stream of a request of many, so that they say nothing about the others."""
    rate = read_rate(words)
    if read_behind(words) is not None or (rate is not None and rate.of_stream):
        return True
    return "active stream limit" in words or NO_SCHEMA in words


def _chunks(joined: Sequence[Field], max_bytes: int) -> Iterator[list[Field]]:
    """Cut streams into pushes, each of at most so many bytes or one stream."""
    chunk: list[Field] = []
    size = 0
    for one in joined:
        size += one.end - one.start
        if chunk and size > max_bytes:
            yield chunk
            chunk, size = [], one.end - one.start
        chunk.append(one)
    if chunk:
        yield chunk


def _quoted(refused: Iterable[Refused], status: int) -> Iterator[Refused]:
    return (one._replace(reason=f"HTTP {status}: {one.reason}") for one in refused)


def _reason(outcome: Outcome) -> str:
    return "" if isinstance(outcome, Delivered | Partly) else outcome.reason


def _status(outcome: Outcome) -> int:
    if isinstance(outcome, Rejected):
        return outcome.status
    return 413 if isinstance(outcome, TooLarge) else 429
