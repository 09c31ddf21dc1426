"""What stages hold back, as values that JSON can hold: it is kept beside the source's position."""

from typing import Any

from agent.logs.entry import Entry


def pack_entry(entry: Entry) -> list[Any]:
    """Return an entry as values that JSON can hold."""
    return [entry.labels, entry.time_ns, entry.line, entry.metadata, entry.extracted]


def unpack_entry(packed: list[Any]) -> Entry:
    """Return the entry that `pack_entry` was given."""
    return Entry(*packed)


def held_entries(held: Any) -> list[Entry]:
    """Return the entries in what a stage held, of which nothing is known now: they go on as they are."""
    return [unpack_entry(one["entry"]) for one in held if one["entry"][2]]
