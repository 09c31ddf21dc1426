"""What stages make of a source's lines where they do the same to all of them, so that it need not be done to each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.logs.entry import Entry
from agent.stages.step import UNKNOWN, NeedsLine, Run, Step, chain


@dataclass(frozen=True, slots=True)
class Settled:
    """What becomes of every line: its labels and metadata, or why it is dropped."""

    labels: Mapping[str, str]
    metadata: Mapping[str, str]
    dropped: str | None = None


def settle(steps: Sequence[Step], labels: Mapping[str, str], unknown: Sequence[str] = ()) -> Settled | None:
    """Send an entry of which only the labels are known through stages; None where lines may differ in what they get.

    `unknown` are the extracted values that each line has of its own.
    """
    reasons: list[str] = []
    out: list[Entry] = []
    extracted = {**labels, **dict.fromkeys(unknown, UNKNOWN)}
    if not all(step.by_labels for step in steps):
        return None
    try:
        chain(tuple(steps), out.append, Run(lambda reason, lines=1: reasons.append(reason)))(
            Entry(dict(labels), 0, UNKNOWN, {}, extracted)
        )
    except NeedsLine:
        return None
    if not out:
        return Settled({}, {}, reasons[0])
    (entry,) = out
    if any(value is UNKNOWN for value in (*entry.labels.values(), *entry.metadata.values())):
        return None
    return Settled(entry.labels, entry.metadata)
