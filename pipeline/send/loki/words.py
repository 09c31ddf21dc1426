"""What Loki says of entries that it refuses, read from its words: pure.

Loki takes the entries of a request that are good and answers 400 for the others, in one of two ways:

- The distributor's words stand joined by `; `, equal ones counted: `428 errors like: max entry size '500' bytes
  exceeded for stream '{app="a"}' while adding an entry with length '605' bytes`. They name the stream, and what was
  wrong with the entry: its length, its second, its metadata's size.
- An ingester's words are about one stream: the first ten refused entries by their time, and how many there are in all.

Sources: grafana/loki 3.7 pkg/validation/validate.go, pkg/distributor/validator.go, pkg/util/errors.go (GroupedErrors),
pkg/ingester/stream.go (errorForFailedEntries). Docs: "Request validation and rate limit errors".
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Final, NamedTuple

from pipeline.wire.errors import MalformedError
from pipeline.wire.loki import NS, Pairs, parse_labels


class Fault(IntEnum):
    """What is wrong with entries, in the order in which Loki looks: an entry is refused for the first."""

    STREAM = 0
    TOO_OLD = 1
    TOO_NEW = 2
    LINE_SIZE = 3
    METADATA = 4
    METADATA_SIZE = 5
    METADATA_COUNT = 6


class Refusal(NamedTuple):
    """Some entries of one stream: `items` of those of which `value` is the second, the length, the size or the count.

    A fault of the stream is one of all its entries, and counts the streams.
    """

    fault: Fault
    labels: Pairs
    value: int
    items: int
    reason: str


@dataclass(frozen=True, slots=True)
class Behind:
    """Entries of one stream that are too far behind its newest: `refused` of the `entries` that the ingester saw.

    `times_ns` are those of the first of them, in the order in which they were sent.
    """

    labels: Pairs
    times_ns: tuple[int, ...]
    refused: int
    entries: int
    reason: str


class Rate(NamedTuple):
    """What a tenant, or one stream of it, may be given a second; `ignored` are the entries of a stream not stored."""

    of_stream: bool
    bytes: int
    ignored: int | None = None


_LABELS: Final = r'(?P<labels>\{(?:[^"{}]|"(?:[^"\\]|\\.)*")*\})'
_SECOND: Final = r"(?P<time>\S+?)"
_FORMS: Final = tuple(
    (fault, re.compile(form, re.DOTALL))
    for fault, form in (
        (Fault.LINE_SIZE, rf"max entry size '\d+' bytes exceeded for stream '{_LABELS}' while adding an entry with"
                          r" length '(?P<value>\d+)' bytes"),
        (Fault.TOO_OLD, rf"entry for stream '{_LABELS}' has timestamp too old: {_SECOND}, oldest acceptable.*"),
        (Fault.TOO_NEW, rf"entry for stream '{_LABELS}' has timestamp too new: {_SECOND}"),
        (Fault.METADATA, rf"stream '{_LABELS}' includes structured metadata, but this feature is disallowed.*"),
        (Fault.METADATA_SIZE, rf"stream '{_LABELS}' has structured metadata too large: '(?P<value>\d+)' bytes.*"),
        (Fault.METADATA_COUNT, rf"stream '{_LABELS}' has too many structured metadata labels: '(?P<value>\d+)'.*"),
        (Fault.STREAM, rf"entry for stream '{_LABELS}' has \d+ label names; limit \d+"),
        (Fault.STREAM, rf"stream '{_LABELS}' has (?:label (?:name|value) too long|duplicate label name): '.*'"),
        (Fault.STREAM, rf"missing required labels '.*' for user '.*' for stream '{_LABELS}' \(policy: '.*'\)"),
        (Fault.STREAM, rf"error parsing labels '{_LABELS}' with error: .*"),
        (Fault.STREAM, rf"maximum active stream limit exceeded when trying to create stream {_LABELS}, .*"),
    )
)  # fmt: skip
_GROUP: Final = re.compile(r"(?:(?P<count>\d+) errors like: )?(?P<words>.*)", re.DOTALL)
_BETWEEN: Final = re.compile(r"; (?=\d+ errors like: )")
_IGNORED: Final = re.compile(
    r"entry with timestamp (?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.(?P<part>\d{1,9}))? \+0000 UTC ignored,"
    r" reason: '(?P<reason>entry too far behind.*?|.*?out of order.*?)',\n"
)
_TENANT_RATE: Final = re.compile(r"ingestion rate limit exceeded for user .* \(limit: (\d+) bytes/sec\)")
_STREAM_RATE: Final = re.compile(r"Per stream rate limit exceeded \(limit: ([\d.]+)(B|KB|MB|GB|TB)/sec\)")
_UNITS: Final = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}
_TOTAL: Final = re.compile(
    rf"user '.*', total ignored: (?P<refused>\d+) out of (?P<entries>\d+) for stream: {_LABELS}", re.DOTALL
)


def read_refusals(words: str) -> list[Refusal] | None:
    """Return what the distributor, or an ingester that makes no more streams, refuses; None for other words."""
    out = []
    for group in _BETWEEN.split(words.strip()):
        found = _GROUP.fullmatch(group)
        assert found is not None
        refusal = _refusal(found["words"], int(found["count"] or 1))
        if refusal is None:
            return None
        out.append(refusal)
    return sorted(out, key=lambda refusal: refusal.fault)


def _refusal(words: str, items: int) -> Refusal | None:
    for fault, form in _FORMS:
        if (found := form.fullmatch(words)) is None:
            continue
        named = found.groupdict()
        try:
            labels = parse_labels(named["labels"])
            value = _seconds(named["time"]) if "time" in named else int(named.get("value") or 0)
        except (MalformedError, ValueError):
            return None
        return Refusal(fault, labels, value, items, words)
    return None


def read_behind(words: str) -> Behind | None:
    """Return what an ingester refuses of one stream; None for other words."""
    words = words.strip()
    listed, position = [], 0
    for found in _listed(words):
        listed.append(found)
        position = found.end()
    total = _TOTAL.fullmatch(words, position)
    if not listed or total is None:
        return None
    try:
        times_ns = tuple(
            _seconds(found["time"] + "+00:00") * NS + int((found["part"] or "").ljust(9, "0")) for found in listed
        )
        labels = parse_labels(total["labels"])
    except (MalformedError, ValueError):
        return None
    return Behind(labels, times_ns, int(total["refused"]), int(total["entries"]), listed[0]["reason"])


def _listed(words: str) -> Iterator[re.Match[str]]:
    position = 0
    while found := _IGNORED.match(words, position):
        yield found
        position = found.end()


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp())


def read_rate(words: str) -> Rate | None:
    """Return the limit that 429 is about, where it is one of bytes."""
    if (found := _TENANT_RATE.search(words)) is not None:
        return Rate(False, int(found[1]))
    if (found := _STREAM_RATE.search(words)) is None:
        return None
    total = re.search(r"total ignored: (\d+) out of \d+ for stream: ", words)
    return Rate(True, int(float(found[1]) * _UNITS[found[2]]), int(total[1]) if total else None)
