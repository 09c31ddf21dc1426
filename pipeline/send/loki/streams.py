"""What is known of a Loki's streams: which it has taken, and how much they were given lately. Pure.

Loki's ingesters answer for the last stream of a request alone (pkg/ingester/instance.go, `Push`): what they refuse of
the others, because a tenant has too many streams, a stream gets too much, or an entry is too far behind the stream's
newest, is lost behind a 204. A stream of which one of these may happen is therefore sent by itself, and what cannot
be refused by an ingester is joined.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pipeline.send.loki.words import Rate

KNOWN_S: Final = 600.0
"""A stream that was taken so lately is still in the ingesters' memory (their chunk_idle_period is half an hour)."""
RATE_BYTES: Final = 2 * 2**20
"""What a stream may be given a second in the long run: less than per_stream_rate_limit, 3 MB."""
BURST_BYTES: Final = 8 * 2**20
"""What it may be given at once beyond that: half of per_stream_rate_limit_burst."""
LIMITED_S: Final = 600.0
"""How long a limit counts that Loki has named: somebody may raise it."""
LATE_S: Final = 2_700.0
"""Entries may be older than the stream's newest by half of max_chunk_age (an hour), and the newest may be ahead of
Loki's clock by creation_grace_period (ten minutes): what is younger than this is never too far behind."""

_LOOK_EVERY_S: Final = 60.0

MIN_BYTES: Final = 1024
_MAX_TENANTS: Final = 10_000


class Limits(NamedTuple):
    """What may go into one push, before compression."""

    request_bytes: int
    stream_bytes: int
    until_s: float = 0.0


NO_LIMITS: Final = Limits(2**62, 2**62)

Key = tuple[str, bytes]
"""A tenant, and a stream's labels as they are sent."""


@dataclass(slots=True)
class _Known:
    seen_s: float
    given: float = 0.0
    """Bytes given that RATE_BYTES has not worked off yet."""


@dataclass(slots=True)
class KnownStreams:
    """The streams that one Loki took lately; `now_s` may come from any clock that does not go back."""

    _known: dict[int, _Known] = field(default_factory=dict)
    _limits: dict[str, Limits] = field(default_factory=dict)
    _looked_s: float = 0.0

    def joins(self, key: Key, size: int, now_s: float) -> bool:
        """Tell whether so many bytes of a stream may go with others, and note them."""
        known = self._known.get(hash(key))
        if known is None:
            return False
        silent_s = now_s - known.seen_s
        if silent_s > KNOWN_S:
            return False
        left = known.given - silent_s * RATE_BYTES
        known.given = size + left if left > 0 else size
        known.seen_s = now_s
        return known.given <= BURST_BYTES

    def took(self, key: Key, size: int, now_s: float) -> None:
        """Note a stream that Loki took by itself."""
        # Labels would take several times the memory of their hash.
        known = self._known.setdefault(hash(key), _Known(now_s, size))
        known.seen_s = now_s
        if now_s - self._looked_s > _LOOK_EVERY_S:
            self._looked_s = now_s
            self._known = {key: known for key, known in self._known.items() if now_s - known.seen_s <= KNOWN_S}

    def forget(self, keys: Iterable[Key]) -> None:
        """Note that nothing is known of these streams any more."""
        for key in keys:
            self._known.pop(hash(key), None)

    def limits(self, tenant: str, now_s: float) -> Limits:
        """Return what this tenant may be given at once, as far as Loki has said lately."""
        limits = self._limits.get(tenant, NO_LIMITS)
        return limits if now_s <= limits.until_s else NO_LIMITS

    def limited(self, tenant: str, rate: Rate, now_s: float) -> None:
        """Note what Loki said that a tenant, or each of its streams, may be given a second."""
        # Bursts are set no smaller than rates: what fits into half a second is taken some time.
        size = max(MIN_BYTES, rate.bytes // 2)
        known = self.limits(tenant, now_s)._replace(until_s=now_s + LIMITED_S)
        self._limits[tenant] = (
            known._replace(stream_bytes=size) if rate.of_stream else known._replace(request_bytes=size)
        )
        while len(self._limits) > _MAX_TENANTS:
            self._limits.pop(next(iter(self._limits)))

    def __len__(self) -> int:
        """Return how many streams are known."""
        return len(self._known)
