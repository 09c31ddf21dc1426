"""Which entries of a request that may have been stored before the store does not have yet.

Two entries of a stream are the same one where time, line and metadata are. Requests that are not in doubt are stored as
they are, since programs do say the same thing twice, and with times of whole seconds at the same time; so of equal
entries in a request as many are left out as the stream has already.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from pipeline.store.logs.file import LogFile, Segment
from pipeline.store.logs.requests import New
from pipeline.store.logs.streams import Stream


def unstored(entries: list[New], stream: Stream, file: LogFile, segments: Iterable[Segment]) -> list[New]:
    """Return those of a request's entries that the stream does not have yet, in memory or in its chunks."""
    if all(entry.time_ns > stream.latest_ns for entry in entries):
        return entries
    times = {entry.time_ns for entry in entries}
    known = stream.count(times)
    if min(times) <= stream.sealed_until_ns:
        known += file.count(segments, stream.id, times)
    return list(_without(entries, known)) if known else entries


def _without(entries: Iterable[New], known: Counter[New]) -> Iterator[New]:
    for entry in entries:
        if known.get(entry, 0) > 0:
            known[entry] -= 1
        else:
            yield entry
