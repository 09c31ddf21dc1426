"""Dead letters from the other side: list them, show one, send it again through its sink's own client.

What was redriven is remembered in the compacted topic (key `redriven/OFFSET`): it is sent once and listed no more.
"""

import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from ingester.config import IngesterConfig
from ingester.dead_letters import DEAD_LETTERS_TOPIC, DeadLetter, from_record
from ingester.progress import SETTLED_TOPIC
from ingester.sinks import Sink
from pipeline.delivery import Rejected
from pipeline.errors import PermanentError
from pipeline.log.interface import Log, Partition
from pipeline.send.codec import CODECS
from pipeline.send.deliver import Delivery
from pipeline.send.request import Piece, Request
from pipeline.wire import loki, snappy
from pipeline.wire.envelope import Envelope, Signal, from_headers
from pipeline.wire.errors import MalformedError
from pipeline.wire.remote_write import Series, decode, unpack_double

logger = logging.getLogger(__name__)

_READ_BYTES: Final = 8 * 2**20
_MARK: Final = "redriven/"
_HEADERS: Final = (("pronoia-redriven", b"1"),)
_SHOWN: Final = 1_000


@dataclass(slots=True)
class Redrive:
    """The dead letters of one log. An id is the letter's offset."""

    log: Log
    config: IngesterConfig
    sink_of: Callable[[str], Sink | None]
    """The sink with a name, started; None where there is none."""
    clock: Callable[[], float]

    async def listing(self, *, limit: int = 1_000, sink: str = "") -> dict[str, Any]:
        """Return the newest `limit` letters that were not redriven, newest first, and how many there are in all."""
        marks = await self._redriven()
        start, end = await self.log.bounds(self._at)
        # Only the end of the topic is read, unless letters of one sink have to be picked out of all.
        offset = start if sink else max(start, end - limit - len(marks))
        out: list[dict[str, Any]] = []
        async for number, letter in self._letters(offset, end, marks):
            if not sink or letter.sink == sink:
                out.append(_summary(number, letter))
        total = len(out) if sink else end - start - sum(start <= number < end for number in marks)
        return {"dead_letters": out[::-1][:limit], "total": total}

    async def show(self, number: int) -> dict[str, Any]:
        """Return one letter with what it holds, redriven or not. Raises PermanentError where there is none such."""
        letter = await self._letter(number)
        return {
            **_summary(number, letter),
            "redriven": number in await self._redriven(),
            "headers": {name: value.decode(errors="replace") for name, value in letter.original},
            **_content(letter),
        }

    async def redrive(self, number: int) -> dict[str, Any]:
        """Send one letter again, and remember it when all of it was taken.

        Returns {"id", "redriven", "delivered", "rejected", "reason"}. What was redriven before is not sent again.
        Raises PermanentError for what cannot be sent, and waits while the store is down.
        """
        letter = await self._letter(number)
        if number in await self._redriven():
            return {"id": number, "redriven": True, "delivered": 0, "rejected": 0, "reason": "was redriven before"}
        envelope = _envelope_of(number, letter)
        config = next((config for config in self.config.sinks if config.name == letter.sink), None)
        sink = self.sink_of(letter.sink)
        if sink is None or config is None:
            raise PermanentError(f"dead letter {number}: there is no sink {letter.sink} in this configuration")
        tenant, reasons = config.tenant_of(envelope.cluster, envelope.tenant), []

        async def refuse(piece: Piece, refusal: Rejected) -> None:
            reasons.append(refusal.reason)

        # Some of it may have been taken when it was sent again before, or be in another letter. Of samples the store's
        # refusal says that, and may also be what the letter is about.
        doubt = sink.signal is Signal.LOGS
        piece = Piece(letter.payload, letter.items, in_doubt=doubt, envelope=envelope)
        tally = await Delivery(sink.send, refuse).run(Request([piece], CODECS[sink.signal], envelope.cluster, tenant))
        if not tally.refused:
            await self._remember(number)
        return {
            "id": number,
            "redriven": not tally.refused,
            "delivered": tally.delivered,
            "rejected": tally.refused,
            "reason": reasons[0] if reasons else "",
        }

    @property
    def _at(self) -> Partition:
        return Partition(self.config.prefix() + DEAD_LETTERS_TOPIC, 0)

    @property
    def _marks(self) -> Partition:
        return Partition(self.config.prefix() + SETTLED_TOPIC, 0)

    async def _redriven(self) -> set[int]:
        """Return the ids of what was redriven and is not to be shown any more."""
        kept = await self.log.compacted(self._marks)
        return {number for key, mark in kept.items() if mark and (number := _number(key)) is not None}

    async def _letters(self, offset: int, end: int, without: set[int]) -> AsyncIterator[tuple[int, DeadLetter]]:
        while offset < end:
            records = await self.log.read(self._at, offset, max_bytes=_READ_BYTES)
            if not records:
                return
            for record in records:
                if record.offset in without:
                    continue
                try:
                    yield record.offset, from_record(record)
                except MalformedError as error:
                    logger.warning("not a dead letter", extra={"offset": record.offset, "reason": str(error)})
            offset = records[-1].offset + 1

    async def _letter(self, number: int) -> DeadLetter:
        start, end = await self.log.bounds(self._at)
        records = await self.log.read(self._at, number, max_bytes=1) if start <= number < end else []
        if not records or records[0].offset != number:
            raise PermanentError(f"there is no dead letter {number}")
        try:
            return from_record(records[0])
        except MalformedError as error:
            raise PermanentError(f"dead letter {number}: {error}") from error

    async def _remember(self, number: int) -> None:
        mark = json.dumps({"at_ms": int(self.clock() * 1000)}).encode()
        await (await self.log.append(self._marks, _HEADERS, mark, key=_key(number)))
        start, _ = await self.log.bounds(self._at)
        for outlived in await self._redriven():
            if outlived < start:
                await (await self.log.append(self._marks, _HEADERS, b"", key=_key(outlived)))


def _key(number: int) -> bytes:
    return f"{_MARK}{number}".encode()


def _number(key: bytes) -> int | None:
    """Return the id that a mark's key holds; None for other keys of the topic."""
    number = key.removeprefix(_MARK.encode())
    return int(number) if number != key and number.isdigit() else None


def _envelope_of(number: int, letter: DeadLetter) -> Envelope:
    if letter.status == 0:
        raise PermanentError(f"dead letter {number} is no readable record: {letter.reason}")
    try:
        return from_headers(letter.original)
    except MalformedError as error:
        raise PermanentError(f"dead letter {number}: {error}") from error


def _summary(number: int, letter: DeadLetter) -> dict[str, Any]:
    headers = dict(letter.original)
    return {
        "id": number,
        "at_ms": letter.at_ms,
        "sink": letter.sink,
        "cluster": headers.get("cluster", b"").decode(errors="replace"),
        "signal": headers.get("signal", b"").decode(errors="replace"),
        "items": letter.items,
        "status": letter.status,
        "reason": letter.reason,
        "source": {
            "topic": letter.source.topic,
            "partition": letter.source.number,
            "offset": letter.source_offset,
        },
    }


def _content(letter: DeadLetter) -> dict[str, Any]:
    """Return what a letter holds as far as it can be read: its series, or its streams; a thousand at most."""
    if dict(letter.original).get("signal") == Signal.LOGS.value.encode():
        return {"streams": _readable(_streams(letter.payload))}
    return {"series": _readable(_series(letter.payload))}


def _readable(parts: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    try:
        out.extend(islice(parts, _SHOWN))
    except MalformedError as error:
        out.append({"unreadable": str(error)})
    return out


def _series(payload: bytes) -> Iterator[dict[str, Any]]:
    series: Series
    for series in decode(snappy.decompress(payload)):
        samples = [[at_ms, repr(unpack_double(value)[0])] for value, at_ms in series.samples]
        yield {"labels": dict(series.labels), "samples": samples, "histograms": len(series.histograms)}


def _streams(payload: bytes) -> Iterator[dict[str, Any]]:
    for stream in loki.decode(snappy.decompress(payload)):
        entries = [
            {"time_ns": entry.time_ns, "line": entry.line.decode(errors="replace"), "metadata": dict(entry.metadata)}
            for entry in stream.entries[:_SHOWN]
        ]
        yield {"labels": stream.labels, "entries": entries, "items": len(stream.entries)}
