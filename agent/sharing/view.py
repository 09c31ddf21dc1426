"""What an agent knows of the slots: what it has seen of each Lease and when, and which it holds. All values, no I/O.

Times are seconds of the agent's own clock, which runs on while a machine is suspended; no other machine's clock counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Final

from agent.sharing.lease import Lease

RENEW: Final = 1 / 3
"""The part of a lease after which its holder renews it: two renewals may fail."""
HOLD: Final = 0.8
"""The part of a lease, from the moment *before* its renewal was sent, after which a holder lets go by itself. The rest
is for clocks that run at different speeds and for scrapes that have begun."""
SPREAD: Final = 0.1
"""The part of a lease over which agents spread their attempts, so that a hundred do not all try at once."""
SETTLED_S: Final = 6.0
"""Who took a slot may need as long, or a lease if that is longer, to find its targets and make up for the missing."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Who we are, among how many workers the work is shared, and how long our leases last."""

    me: str
    workers: int
    duration_s: int

    @property
    def spread_s(self) -> float:
        """The time over which attempts are spread."""
        return self.duration_s * SPREAD

    @property
    def retry_s(self) -> float:
        """How long after a failed request the next is sent: several fit before a lease has to be let go."""
        return self.duration_s / 10

    def jitter_s(self, slot: int, about: str) -> float:
        """Return this agent's own delay within the spread, another one for every slot and occasion."""
        number = int.from_bytes(blake2b(f"{self.me}\xff{slot}\xff{about}".encode(), digest_size=8).digest())
        return number / 2**64 * self.spread_s


@dataclass(frozen=True, slots=True)
class Seen:
    """A slot's Lease as last seen (None: there is none); since when it shows this sign of life, and has this holder.

    `covered_s`: up to then another agent surely did the slot's work; None if none was seen to.
    """

    lease: Lease | None
    since_s: float
    holder_since_s: float
    covered_s: float | None = None
    version: int = 0

    @property
    def holder(self) -> str:
        """Who holds the slot; empty if nobody does."""
        return self.lease.holder if self.lease is not None else ""

    @property
    def expires_s(self) -> float:
        """When nobody works on the slot any more, unless there is another sign of life."""
        return self.since_s + self.lease.duration_s if self.lease is not None and self.lease.holder else self.since_s


@dataclass(frozen=True, slots=True)
class Held:
    """A slot that we hold since `since_s`: renewed by a request that was sent at `sent_s`, to be let go at `until_s`.

    `covered_s`: up to then another agent, or we earlier, surely did the slot's work; None if nobody was seen to.
    """

    since_s: float
    sent_s: float
    until_s: float
    covered_s: float | None = None


@dataclass(frozen=True, slots=True)
class View:
    """Everything known. `busy` are slots with a request under way; `not_before_s` holds the next try after a failure.

    `lost_s` is up to when we ourselves did a slot's work that we let go. `sighted_s`: since when the Leases can be
    watched; None while they cannot: whoever is taking a slot then is not seen.
    """

    terms: Terms
    seen: Mapping[int, Seen] = field(default_factory=dict)
    held: Mapping[int, Held] = field(default_factory=dict)
    busy: frozenset[int] = frozenset()
    not_before_s: Mapping[int, float] = field(default_factory=dict)
    lost_s: Mapping[int, float] = field(default_factory=dict)
    sighted_s: float | None = 0.0


def observe(view: View, lease: Lease, now_s: float) -> View:
    """Note what the API server has of a slot. What is older than what is known already changes nothing."""
    known = view.seen.get(lease.slot)
    # What had vanished can be there after all: the list that lacked it was older than what told of it.
    newest = known.version + (known.lease is not None) if known is not None else 0
    return view if lease.version < newest else _seen(view, lease.slot, lease, lease.version, now_s)


def vanish(view: View, slot: int, now_s: float) -> View:
    """Note that a slot has no Lease (any more)."""
    known = view.seen.get(slot)
    if known is not None and known.lease is None:
        return view
    return _seen(view, slot, None, known.version if known is not None else 0, now_s)


def _seen(view: View, slot: int, lease: Lease | None, version: int, now_s: float) -> View:
    known = view.seen.get(slot)
    if known is None:
        seen = Seen(lease, now_s, now_s, version=version)
    elif known.lease is not None and lease is not None and known.lease.life == lease.life:
        seen = replace(known, lease=lease, version=version)
    else:
        same_holder = lease is not None and lease.holder == known.holder
        seen = Seen(lease, now_s, known.holder_since_s if same_holder else now_s, known.covered_s, version)
    if seen.since_s == now_s and (other := _other(view, known, lease)) is not None:
        if other.tenure_s >= _settling_s(other.duration_s):
            # A sign of life may have been on its way to us for as long as its sender waits between two.
            seen = replace(seen, covered_s=now_s - other.duration_s * RENEW)
        elif seen.covered_s is None:
            seen = replace(seen, covered_s=now_s - 2 * _settling_s(other.duration_s))
    return replace(view, seen={**view.seen, slot: seen})


def _other(view: View, known: Seen | None, lease: Lease | None) -> Lease | None:
    """Return the lease of the other agent that a change is a sign of: it renewed, or it let go just now."""
    if lease is not None and lease.holder:
        return lease if lease.holder != view.terms.me else None
    return known.lease if known is not None and known.holder not in ("", view.terms.me) else None


def sight(view: View, now_s: float) -> View:
    """Note that the Leases are being watched."""
    return view if view.sighted_s is not None else replace(view, sighted_s=now_s)


def lose_sight(view: View) -> View:
    """Note that they are not: the API server is away, or does not let us."""
    return replace(view, sighted_s=None)


def begin(view: View, slot: int) -> View:
    """Note that a request about the slot is under way."""
    return replace(view, busy=view.busy | {slot})


def failed(view: View, slot: int, now_s: float, *, for_good: bool = False) -> View:
    """Note that the request failed, its outcome is unknown, and when the next may be sent: `for_good`, much later."""
    terms = view.terms
    if for_good:
        wait_s = 2.0 * terms.duration_s
    elif slot in view.held:
        wait_s = terms.retry_s
    else:  # No lease is at stake: a hundred agents need not hurry.
        wait_s = terms.duration_s * RENEW + terms.jitter_s(slot, f"failed at {now_s}")
    later = {**view.not_before_s, slot: now_s + wait_s}
    return replace(view, busy=view.busy - {slot}, not_before_s=later)


def refused(view: View, slot: int) -> View:
    """Note that somebody else was first; what they wrote is observed separately."""
    return replace(view, busy=view.busy - {slot})


def wrote(view: View, lease: Lease, sent_s: float, now_s: float) -> View:
    """Note that our version of a slot's Lease is the API server's now; the request was sent at `sent_s`."""
    slot = lease.slot
    view = refused(observe(view, lease, now_s), slot)
    not_before_s = {key: at_s for key, at_s in view.not_before_s.items() if key != slot}
    held = {key: value for key, value in view.held.items() if key != slot}
    if lease.holder == view.terms.me:
        known = view.held.get(slot)
        since_s = known.since_s if known is not None else sent_s
        covered_s = known.covered_s if known is not None else _covered_s(view, slot)
        held[slot] = Held(since_s, sent_s, sent_s + lease.duration_s * HOLD, covered_s)
    return replace(view, held=held, not_before_s=not_before_s)


def _covered_s(view: View, slot: int) -> float | None:
    """Return until when the slot's targets were surely scraped, by another agent or by us."""
    times_s = [at_s for at_s in (view.seen[slot].covered_s, view.lost_s.get(slot)) if at_s is not None]
    return max(times_s, default=None)


def let_go(view: View, slot: int, now_s: float) -> View:
    """Note that we stopped doing the slot's work."""
    known, held = view.held.get(slot), {key: value for key, value in view.held.items() if key != slot}
    lost_s = dict(view.lost_s)
    if known is not None and now_s - known.since_s >= _settling_s(view.terms.duration_s):
        lost_s[slot] = now_s
    elif known is not None and known.covered_s is not None:
        lost_s[slot] = known.covered_s
    return replace(view, held=held, lost_s=lost_s)


def _settling_s(duration_s: float) -> float:
    return max(duration_s, SETTLED_S)
