"""What is settled per lane: tells what is new from what was appended twice, and finds what is missing.

Pure: an envelope goes in, a verdict comes out. Batches of a lane are numbered without gaps from 0 in each epoch, and
say how many items the lane held before them, so that what is missing is known exactly (pipeline/wire/envelope.py).
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.wire.envelope import Envelope, Origin

_MAX_HOLES = 32
_MAX_DIGESTS = 512
_MAX_LANES = 20_000


class LaneKey(NamedTuple):
    """A sequence's owner. The signal is the topic's; a lane belongs to one cluster."""

    cluster: str
    agent: str
    epoch: int
    lane: int


class Place(NamedTuple):
    """A batch's sequence and a part of it."""

    sequence: int
    part: int


class Hole(NamedTuple):
    """What was counted as missing: from the first place to the one behind the last."""

    start: Place
    end: Place


class Lane(NamedTuple):
    """How far a lane is: the place expected next, the items before it, and what is missing behind it."""

    next: Place
    items: int
    parts: int
    seen_ms: int
    foreign: bool
    holes: tuple[Hole, ...] = ()


class Verdict(NamedTuple):
    """What a record is. `missing` is negative when a record arrives that was counted as missing before."""

    fresh: bool
    missing_items: int = 0
    missing_records: int = 0
    key: LaneKey | None = None
    lane: Lane | None = None
    digest: tuple[str, str] | None = None


@dataclass(slots=True)
class Settled:
    """The lanes of one partition.

    `from_zero`: the partition was read from its very first record, so that a lane seen for the first time should begin
    with sequence 0; otherwise its beginning may have been before we looked.
    """

    from_zero: bool
    lanes: dict[LaneKey, Lane] = field(default_factory=dict)
    digests: "OrderedDict[tuple[str, str], int]" = field(default_factory=OrderedDict)

    def judge(self, envelope: Envelope, append_ms: int) -> Verdict:
        """Decide on the partition's next record; `apply` makes the decision count."""
        key = LaneKey(envelope.cluster, envelope.agent, envelope.epoch, envelope.lane)
        verdict = _judge(self._lane(key, envelope, append_ms), envelope, append_ms)._replace(key=key)
        if not verdict.fresh or not envelope.digest or envelope.origin is not Origin.FOREIGN:
            return verdict
        digest = (envelope.cluster, envelope.digest)
        # A foreign sender's retry after one gateway died goes to another, with the same bytes. Within one gateway's
        # life the same bytes again are what the sender wants, as far as anybody can know: it had its answer.
        retried = self.digests.get(digest, envelope.epoch) != envelope.epoch
        return verdict._replace(fresh=not retried, digest=digest)

    def apply(self, verdict: Verdict) -> None:
        """Advance by a verdict."""
        if verdict.key is None or verdict.lane is None:
            return
        self.lanes[verdict.key] = verdict.lane
        if verdict.digest is not None:
            self.digests[verdict.digest] = verdict.key.epoch
            self.digests.move_to_end(verdict.digest)
            if len(self.digests) > _MAX_DIGESTS:
                self.digests.popitem(last=False)

    def forget(self, before_ms: int, most: int = _MAX_LANES) -> None:
        """Drop lanes that have not been seen since; drops the longest unseen where there are more than `most`."""
        old = [key for key, lane in self.lanes.items() if lane.seen_ms < before_ms]
        if (surplus := len(self.lanes) - len(old) - most) > 0:
            kept = sorted((lane.seen_ms, key) for key, lane in self.lanes.items() if lane.seen_ms >= before_ms)
            old += [key for _, key in kept[:surplus]]
        for key in old:
            # An agent that comes back after that time goes on in its epoch: its beginning is not ours to miss. A
            # gateway's epochs end with its process and never come back.
            self.from_zero = self.from_zero and self.lanes[key].foreign
            del self.lanes[key]

    def copy(self) -> "Settled":
        """Return an independent copy."""
        return Settled(self.from_zero, dict(self.lanes), self.digests.copy())

    def _lane(self, key: LaneKey, envelope: Envelope, append_ms: int) -> Lane:
        lane = self.lanes.get(key)
        if lane is not None:
            return lane
        foreign = envelope.origin is not Origin.AGENT
        if self.from_zero:
            return Lane(Place(0, 0), 0, 1, append_ms, foreign)
        before = envelope.lane_items + envelope.first_item
        return Lane(Place(envelope.sequence, envelope.part), before, envelope.parts, append_ms, foreign)


def _judge(lane: Lane, envelope: Envelope, append_ms: int) -> Verdict:
    if envelope.gap_to is not None:
        return _judge_gap(lane, envelope, append_ms)
    at = Place(envelope.sequence, envelope.part)
    if at < lane.next:
        return _judge_late(lane, envelope, at, append_ms)
    before = envelope.lane_items + envelope.first_item
    moved = lane._replace(
        next=_behind(envelope), items=before + envelope.items, parts=envelope.parts, seen_ms=append_ms
    )
    if at == lane.next:
        return Verdict(True, lane=moved)
    moved = moved._replace(holes=(*lane.holes, Hole(lane.next, at))[-_MAX_HOLES:])
    return Verdict(True, max(0, before - lane.items), _records_between(lane, at), lane=moved)


def _judge_gap(lane: Lane, envelope: Envelope, append_ms: int) -> Verdict:
    """A gap record stands for evicted batches, some of which may have arrived before they were evicted."""
    assert envelope.gap_to is not None
    behind = Place(envelope.gap_to + 1, 0)
    if behind <= lane.next:
        return Verdict(False, lane=lane._replace(seen_ms=append_ms))
    total = envelope.lane_items + envelope.items
    moved = lane._replace(
        next=behind,
        items=total,
        parts=1,
        seen_ms=append_ms,
        holes=(*lane.holes, Hole(lane.next, behind))[-_MAX_HOLES:],
    )
    return Verdict(False, max(0, total - lane.items), _records_between(lane, behind), lane=moved)


def _judge_late(lane: Lane, envelope: Envelope, at: Place, append_ms: int) -> Verdict:
    """A record behind the lane's place: settled before, unless it is one that was missed."""
    behind = _behind(envelope)
    index = next((n for n, hole in enumerate(lane.holes) if hole.start <= at < hole.end), None)
    if index is None:
        return Verdict(False, lane=lane._replace(seen_ms=append_ms))
    hole = lane.holes[index]
    rest = tuple(part for part in (Hole(hole.start, at), Hole(behind, hole.end)) if part.start < part.end)
    holes = (*lane.holes[:index], *rest, *lane.holes[index + 1 :])[-_MAX_HOLES:]
    return Verdict(True, -envelope.items, -1, lane=lane._replace(holes=holes, seen_ms=append_ms))


def _behind(envelope: Envelope) -> Place:
    if envelope.part + 1 < envelope.parts:
        return Place(envelope.sequence, envelope.part + 1)
    return Place(envelope.sequence + 1, 0)


def _records_between(lane: Lane, at: Place) -> int:
    """Count the records from the lane's place to another; batches never seen count as one record each."""
    if at.sequence == lane.next.sequence:
        return at.part - lane.next.part
    rest = lane.parts - lane.next.part if lane.next.part else 1
    return rest + (at.sequence - lane.next.sequence - 1) + at.part


def to_plain(settled: Settled) -> dict[str, Any]:
    """Return what JSON can carry."""
    return {
        "from_zero": settled.from_zero,
        "lanes": [
            [*key, *lane.next, lane.items, lane.parts, lane.seen_ms, int(lane.foreign), lane.holes]
            for key, lane in settled.lanes.items()
        ],
        "digests": [[*digest, epoch] for digest, epoch in settled.digests.items()],
    }


def from_plain(plain: Mapping[str, Any]) -> Settled:
    """Return what `to_plain` was given; raises KeyError, TypeError or ValueError for anything else."""
    settled = Settled(bool(plain["from_zero"]))
    for cluster, agent, epoch, lane, sequence, part, items, parts, seen_ms, foreign, holes in plain["lanes"]:
        settled.lanes[LaneKey(cluster, agent, epoch, lane)] = Lane(
            Place(sequence, part),
            items,
            parts,
            seen_ms,
            bool(foreign),
            tuple(Hole(Place(*start), Place(*end)) for start, end in holes),
        )
    for cluster, digest, epoch in plain["digests"]:
        settled.digests[(cluster, digest)] = epoch
    return settled
