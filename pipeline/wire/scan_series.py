"""What the identity scan leads to: series relabelled or left out, requests taken apart at series boundaries.

Requests that were scanned go in; what comes out is made of their own bytes, but for the labels that were set.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from pipeline.wire.protobuf import encode_bytes, encode_varint, fields
from pipeline.wire.remote_write import HISTOGRAM, LABEL, SAMPLE, TIMESERIES, decode_series, encode_series
from pipeline.wire.scan_found import Exceptional, Kind, Refused, Repaired


def repair(data: bytes, exceptions: Sequence[Exceptional], label: bytes, value: bytes, *, overwrite: bool) -> Repaired:
    """Set the label where it is missing (and, with `overwrite`, where it is another's); leave the rest out."""
    out, behind = [], 0
    series: Counter[Kind] = Counter()
    items: Counter[Kind] = Counter()
    examples: dict[Kind, str] = {}
    field = _label_field(label, value)
    for start, end, kind, content_start, place in exceptions:
        out.append(data[behind:start])
        behind = end
        if place:
            out += (
                b"\x0a" + encode_varint(end - content_start + len(field)),
                data[content_start:place],
                field,
                data[place:end],
            )
            continue
        content = _content(data, start, end)
        if kind is Kind.UNLABELLED or (kind is Kind.FOREIGN and overwrite):
            out.append(encode_series(set_label(content, label, value)))
            continue
        series[kind] += 1
        items[kind] += count_items(content)
        examples.setdefault(kind, show_series(content))
    out.append(data[behind:])
    refused = tuple(Refused(kind, series[kind], items[kind], examples[kind]) for kind in examples)
    return Repaired(b"".join(out), refused)


def set_label(content: bytes, label: bytes, value: bytes) -> bytes:
    """Return a TimeSeries' fields with one label set, at its place in the order of names; others of its name go."""
    field = _label_field(label, value)
    out, at, placed = [], 0, False
    for tag, _, start, end in fields(content):
        if tag == LABEL:
            name = _label_name(content, start, end)
            if not placed and name >= label:
                out.append(field)
                placed = True
            if name != label:
                out.append(content[at:end])
        else:
            if not placed:
                out.append(field)
                placed = True
            out.append(content[at:end])
        at = end
    return b"".join(out if placed else [*out, field])


def by_label(data: bytes, label: bytes, default: bytes) -> dict[bytes, bytes]:
    """Take a request apart by the value that its series have for a label; what is not a series goes with the first."""
    parts: dict[bytes, list[bytes]] = {}
    loose, at = [], 0
    for tag, _, start, end in fields(data):
        if tag == TIMESERIES:
            parts.setdefault(label_value(data, start, end, label) or default, []).append(data[at:end])
        else:
            loose.append(data[at:end])
        at = end
    if not parts:
        return {default: b"".join(loose)}
    next(iter(parts.values())).extend(loose)
    return {value: b"".join(fields_) for value, fields_ in parts.items()}


def first_value(data: bytes | memoryview, label: bytes) -> bytes:
    """Return the value that the first series has for a label, empty where there is none; raises MalformedError."""
    for tag, _, start, end in fields(data):
        if tag == TIMESERIES:
            return label_value(bytes(data[start:end]), 0, end - start, label)
    return b""


def halves(data: bytes) -> tuple[bytes, bytes] | None:
    """Split a request at the boundary of fields nearest to its middle; None where there is only one field."""
    ends = [end for *_, end in fields(data)]
    if len(ends) < 2:
        return None
    cut = min(ends[:-1], key=lambda end: abs(2 * end - len(data)))
    return data[:cut], data[cut:]


def label_value(data: bytes, start: int, end: int, label: bytes) -> bytes:
    """Return a label's value in the TimeSeries between two positions, empty where it has none."""
    for tag, _, at, behind in fields(data, start, end):
        if tag == LABEL and _label_name(data, at, behind) == label:
            return _part(data, at, behind, 0x12)
    return b""


def count_items(content: bytes) -> int:
    """Count a TimeSeries' samples and native histograms."""
    return sum(1 for tag, *_ in fields(content) if tag in (SAMPLE, HISTOGRAM))


def show_series(content: bytes) -> str:
    """Write a series the way people do: `up{job="a"}`."""
    labels = decode_series(content, 0, len(content)).labels
    name = "".join(value for label, value in labels if label == "__name__")
    inner = ", ".join(f'{label}="{value}"' for label, value in labels if label != "__name__")
    return f"{name}{{{inner}}}"[:500]


def show_request(data: bytes) -> str:
    """Write a request's first series the way people do."""
    return next((show_series(data[at:end]) for tag, _, at, end in fields(data) if tag == TIMESERIES), "{}")


def _label_field(label: bytes, value: bytes) -> bytes:
    return encode_bytes(LABEL, encode_bytes(0x0A, label) + encode_bytes(0x12, value))


def _content(data: bytes, start: int, end: int) -> bytes:
    return next(data[at:behind] for _, _, at, behind in fields(data, start, end))


def _label_name(data: bytes, start: int, end: int) -> bytes:
    return _part(data, start, end, 0x0A)


def _part(data: bytes, start: int, end: int, wanted: int) -> bytes:
    found: Iterator[bytes] = (data[at:behind] for tag, _, at, behind in fields(data, start, end) if tag == wanted)
    return next(found, b"")
