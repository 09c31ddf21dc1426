"""What came of a request's pushes, as one outcome."""

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pipeline.delivery import Delivered, Outcome, PartLeft, Partly, PartRefused, Retry
from pipeline.send.loki.parcel import Field, Parcel, payload_of
from pipeline.send.loki.refused import Refused, Sent

_NUMBER: Final = re.compile(r"\d+")


@dataclass(slots=True)
class Results:
    """Filled by the pushes. `taken`: Loki has something of the request; `stopped`: nothing more is to be sent now."""

    taken: bool = False
    stopped: bool = False
    left_fields: list[Field] = field(default_factory=list)
    left_entries: list[tuple[bytes, Sequence[Sent]]] = field(default_factory=list)
    _refused: list[tuple[Refused, int]] = field(default_factory=list)
    _retry: Retry | None = None

    def refuse(self, refused: Iterable[Refused], status: int) -> None:
        """Note entries that are refused; what was sent with them is stored."""
        self.taken = True
        self._refused += ((one, status) for one in refused)

    def leave_fields(self, fields: Iterable[Field], retry: Retry, *, stop: bool = False) -> None:
        """Note streams that are to be sent again."""
        self.left_fields += fields
        self._again(retry, stop)

    def leave_entries(
        self, labels: bytes, sent: Sequence[Sent], retry: Retry | None = None, *, stop: bool = False
    ) -> None:
        """Note entries of a stream that are to be sent again; without `retry` because the pushes were stopped."""
        self.left_entries.append((labels, sent))
        if retry is not None:
            self._again(retry, stop)

    def _again(self, retry: Retry, stop: bool) -> None:
        self.stopped = self.stopped or stop
        if self._retry is None:
            self._retry = retry
            return
        waits = [asked for asked in (self._retry.after_s, retry.after_s) if asked is not None]
        worst = retry if retry.alarm and not self._retry.alarm else self._retry
        doubt = self._retry.perhaps_taken or retry.perhaps_taken
        self._retry = Retry(worst.reason, max(waits, default=None), worst.alarm, doubt)

    async def outcome(self, parcel: Parcel) -> Outcome:
        """Return what came of it; raises MalformedError."""
        if self._retry is None and not self._refused:
            return Delivered()
        if self._retry is not None and not self.taken:
            return self._retry
        return await asyncio.to_thread(self._partly, parcel)

    def _partly(self, parcel: Parcel) -> Partly:
        left = [*parcel.left(self.left_fields)]
        for labels, sent in self.left_entries:
            for source, group in _by_source(sent).items():
                left.append(PartLeft(source, payload_of(labels, group), len(group)))
        return Partly(tuple(self._parts()), tuple(left), self._retry)

    def _parts(self) -> Iterable[PartRefused]:
        """Join what is refused for the same: words differ by the entry's time or size."""
        alike: dict[tuple[bytes, int, str], list[tuple[Refused, int]]] = {}
        for one, status in self._refused:
            key = (one.labels, one.sent.source, _NUMBER.sub("", one.reason))
            alike.setdefault(key, []).append((one, status))
        for (labels, source, _), group in alike.items():
            first, status = group[0]
            payload = payload_of(labels, [one.sent for one, _ in group])
            yield PartRefused(source, payload, len(group), first.reason, status)


def _by_source(sent: Sequence[Sent]) -> dict[int, list[Sent]]:
    out: dict[int, list[Sent]] = {}
    for one in sent:
        out.setdefault(one.source, []).append(one)
    return out
