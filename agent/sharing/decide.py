"""What an agent does about the slots, as a pure function of what it knows and of its own clock.

The rules, and what each is for:

- Nobody acts on another machine's clock. A slot is free when its Lease has no holder, or has shown no sign of life for
  as long as its holder said that the lease lasts, counted from when *we* first saw it so.
- Taking is a write of the version that was seen, so that of several agents one succeeds.
- Who has slots already tries later than who has none: an agent holds more than one only while agents are too few.
- Who has at least two slots fewer than another asks for one, in that slot's Lease, and gets it.
- Who cannot watch the Leases takes none but its own; who can again waits as if all had become free just then.
- Agents that know of another number of workers (while a new configuration is rolled out) never work beside each other.

Source: Kubernetes, client-go's leaderelection, whose rules of observed time and of optimistic concurrency these are.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Literal

from agent.sharing.lease import Lease
from agent.sharing.view import RENEW, Seen, View

Kind = Literal["take", "renew", "release", "ask", "lose"]


@dataclass(frozen=True, slots=True)
class Action:
    """One step: `lose` and `release` begin with stopping the slot's work; all but `lose` are a request."""

    kind: Kind
    slot: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, and when to decide anew if nothing is seen before; None: not until something is seen."""

    actions: tuple[Action, ...] = ()
    wake_s: float | None = None


def decide(view: View, now_s: float) -> Decision:
    """Return what to do now. Between two calls, what was begun and what came of it has to be noted in the view."""
    planned = [*_duties(view, now_s), *_claims(view), *_wishes(view)]
    due = [action for at_s, action in planned if at_s <= now_s]
    takes = [action for action in due if action.kind == "take"]
    # One at a time: with the first under way, the others wait as they do for an agent that holds a slot.
    chosen = tuple(action for action in due if action.kind != "take" or action is takes[0])
    return Decision(chosen, min((at_s for at_s, _ in planned if at_s > now_s), default=None))


def _duties(view: View, now_s: float) -> Iterator[tuple[float, Action]]:
    """Yield what is to be done about the slots that we hold, each with its time."""
    for slot, held in view.held.items():
        seen = view.seen[slot]
        if seen.lease is None or seen.holder != view.terms.me:
            yield now_s, Action("lose", slot)
            continue
        yield held.until_s, Action("lose", slot)
        if slot in view.busy:
            continue
        tries_s = view.not_before_s.get(slot, now_s)
        if _is_to_be_given_back(view, slot, seen.lease, now_s):
            yield tries_s, Action("release", slot)
        else:
            yield max(held.sent_s + seen.lease.duration_s * RENEW, tries_s), Action("renew", slot)


def _is_to_be_given_back(view: View, slot: int, lease: Lease, now_s: float) -> bool:
    asked = lease.wanted_by not in ("", view.terms.me) and len(view.held) > 1
    return asked or now_s < _foreign_until_s(view, below=slot)


def _foreign_until_s(view: View, below: int | None = None) -> float:
    """Return until when somebody (below a slot) may work who divides the targets by another number of workers."""
    return max(
        (
            seen.expires_s
            for slot, seen in view.seen.items()
            if seen.lease is not None and seen.holder and seen.lease.workers != view.terms.workers
            if below is None or slot < below
        ),
        default=-inf,
    )


def _claims(view: View) -> Iterator[tuple[float, Action]]:
    """Yield when each slot that is not ours is to be taken, unless there is a sign of life before."""
    load = len(view.held) + sum(1 for slot in view.busy if slot not in view.held)
    foreign_until_s = _foreign_until_s(view)
    for slot in range(view.terms.workers):
        seen = view.seen.get(slot)
        if seen is None or slot in view.held or slot in view.busy:
            continue
        if seen.holder == view.terms.me:
            free_s = seen.since_s
        elif view.sighted_s is not None:
            # After an outage all slots are free at once: who comes back looks first what others have done.
            free_s = max(seen.expires_s, view.sighted_s)
        else:
            continue
        at_s = max(free_s, foreign_until_s) + _courtesy_s(view, slot, seen, load)
        yield max(at_s, view.not_before_s.get(slot, at_s)), Action("take", slot)


def _courtesy_s(view: View, slot: int, seen: Seen, load: int) -> float:
    """Return for how long others go first: who asked for the slot, and who holds fewer."""
    lease, terms = seen.lease, view.terms
    if lease is not None and terms.me in (lease.holder, lease.wanted_by):
        return 0.0
    turns = 2 * load + (1 if lease is not None and lease.wanted_by and not lease.holder else 0)
    return turns * terms.spread_s + terms.jitter_s(slot, repr(lease.life) if lease is not None else "")


def _wishes(view: View) -> Iterator[tuple[float, Action]]:
    """Yield when to ask an agent that holds more than we do for one of its slots."""
    terms, holders = view.terms, dict[str, list[Seen]]()
    if view.sighted_s is None:
        return
    for slot in range(terms.workers):
        seen = view.seen.get(slot)
        if seen is None or not seen.holder or slot in view.busy or (seen.lease and seen.lease.wanted_by):
            return  # What comes of that may do.
        holders.setdefault(seen.holder, []).append(seen)
    ours = len(holders.pop(terms.me, ()))
    most = max(holders.values(), key=len, default=[])
    if len(most) < ours + 2:
        return
    slot = max(seen.lease.slot for seen in most if seen.lease is not None)
    since_s = max(seen.holder_since_s for seen in most)
    at_s = since_s + 2 * terms.spread_s + terms.jitter_s(slot, f"ask {most[0].holder}")
    yield max(at_s, view.not_before_s.get(slot, at_s)), Action("ask", slot)
