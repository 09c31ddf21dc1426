"""Loki's push: `logproto.PushRequest` as bytes.

Source: grafana/loki pkg/push/push.proto. A request is a sequence of top-level fields, so requests joined as bytes are a
request (ARCHITECTURE 1):

    PushRequest    1 streams
    StreamAdapter  1 labels (text: `{a="b", c="d"}`), 2 entries, 3 hash (for Loki's own use; not sent)
    EntryAdapter   1 timestamp (google.protobuf.Timestamp), 2 line, 3 structured metadata (name 1, value 2), 4 parsed
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pipeline.wire.errors import MalformedError
from pipeline.wire.protobuf import encode_bytes, encode_varint, fields

STREAM: Final = 0x0A
STREAM_LABELS: Final = 0x0A
ENTRY: Final = 0x12
HASH: Final = 0x18
TIMESTAMP: Final = 0x0A
LINE: Final = 0x12
METADATA: Final = 0x1A
PARSED: Final = 0x22
SECONDS: Final = 0x08
NANOS: Final = 0x10

NS: Final = 1_000_000_000
MIN_TIME_NS, MAX_TIME_NS = -9_223_372_036 * NS, 9_223_372_036 * NS - 1
"""Entries are of these times (1677 to 2262): what nanoseconds of 64 bits can say, which is what Loki counts in."""

Pairs = tuple[tuple[str, str], ...]

_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_STRING: Final = r'"(?:[^"\\\n]|\\.)*"|`[^`]*`'
_PAIR: Final = re.compile(
    rf'[ \t\r\n]*([a-zA-Z_:][a-zA-Z0-9_:.]*|"(?:[^"\\\n]|\\.)*")[ \t\r\n]*=[ \t\r\n]*({_STRING})[ \t\r\n]*([,}}])'
)
_END: Final = re.compile(r"[ \t\r\n]*\}")
_ESCAPED: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)")
_PLAIN: Final = re.compile(r'[^"\\\x00-\x1f\x7f]*')
_LETTERS: Final = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    '"': '"',
    "'": "'",
}
_NAMES: Final = {character: f"\\{letter}" for letter, character in _LETTERS.items() if letter != "'"}


class Entry(NamedTuple):
    """One log entry; `time_ns` is Unix nanoseconds, `metadata` its structured metadata."""

    time_ns: int
    line: bytes
    metadata: Pairs = ()


@dataclass(slots=True)
class Stream:
    """One decoded stream: its labels as text, as they were sent, and its entries in order."""

    labels: str
    entries: list[Entry] = field(default_factory=list)


def encode_labels(labels: Iterable[tuple[str, str]]) -> bytes:
    """Write a label set as Loki writes it, sorted by name: `{a="b", c="d"}`. A name that is none is quoted, too."""
    return ("{" + ", ".join(f"{_named(name)}={quote(value)}" for name, value in sorted(labels)) + "}").encode()


def _named(name: str) -> str:
    return name if _NAME.fullmatch(name) else quote(name)


def quote(value: str) -> str:
    """Quote a label's value as Go's strconv.Quote does what it has to (what can be printed stays as it is)."""
    if _PLAIN.fullmatch(value):
        return f'"{value}"'
    return '"' + "".join(_NAMES.get(one) or (one if one.isprintable() else _coded(one)) for one in value) + '"'


def _coded(character: str) -> str:
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def parse_labels(text: str, *, empty: bool = False) -> Pairs:
    """Read a label set; sorted by name. Raises MalformedError where it is none or has a name twice.

    It may be empty where that is said. What is read is what PromQL's grammar makes of it (names may be quoted); single
    quotes and comments are refused.
    """
    stripped = text.strip(" \t\r\n")
    if not stripped.startswith("{"):
        raise MalformedError(f"labels must stand in braces, not {text[:100]!r}")
    found: dict[str, str] = {}
    position = 1
    while (end := _END.match(stripped, position)) is None:
        match = _PAIR.match(stripped, position)
        if match is None:
            raise MalformedError(f"labels cannot be read at {stripped[position : position + 50]!r}")
        name = _unquote(match[1]) if match[1][0] == '"' else match[1]
        if name in found:
            raise MalformedError(f"label {name} stands twice")
        found[name] = _unquote(match[2])
        position = match.start(3) if match[3] == "}" else match.end()
    if end.end() != len(stripped):
        raise MalformedError(f"something stands behind the labels: {stripped[end.end() : end.end() + 50]!r}")
    if not found and not empty:
        raise MalformedError("a stream without labels")
    return tuple(sorted(found.items()))


def _unquote(quoted: str) -> str:
    content = quoted[1:-1]
    if quoted[0] == "`" or "\\" not in content:
        return content
    return _ESCAPED.sub(_unescaped, content)


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    letter = _LETTERS.get(code)
    if letter is not None:
        return letter
    if len(code) == 1:
        raise MalformedError(f"labels hold an escape that there is not: \\{code}")
    number = int(code[1:], 16) if code[0] in "xuU" else int(code, 8)
    # \x and octal name bytes, which only below 128 are characters as well.
    if number > (127 if code[0] not in "uU" else 0x10FFFF) or 0xD800 <= number < 0xE000:
        raise MalformedError(f"labels hold an escape that is no character: \\{code}")
    return chr(number)


def encode_entry(time_ns: int, line: bytes, metadata: Iterable[tuple[str, str]] = ()) -> bytes:
    """Encode one entry as a field of a stream; times before 1970 are negative, as in the Timestamp message."""
    seconds, nanos = divmod(time_ns, NS)
    stamp = (b"\x08" + encode_varint(seconds) if seconds else b"") + (b"\x10" + encode_varint(nanos) if nanos else b"")
    return encode_bytes(ENTRY, encode_bytes(TIMESTAMP, stamp) + encode_bytes(LINE, line) + encode_metadata(metadata))


def encode_metadata(metadata: Iterable[tuple[str, str]]) -> bytes:
    """Encode structured metadata as the fields of an entry that stand behind its line."""
    content = b""
    for name, value in metadata:
        content += encode_bytes(METADATA, encode_bytes(0x0A, name.encode()) + encode_bytes(0x12, value.encode()))
    return content


def encode_entries(entries: Iterable[Entry]) -> bytes:
    """Encode entries as fields of a stream. Entries of one second share how that is written: most of a batch's do."""
    out, last, prefix = [], 0, b""
    for time_ns, line, metadata in entries:
        if metadata:
            out.append(encode_entry(time_ns, line, metadata))
            continue
        seconds, nanos = divmod(time_ns, NS)
        if seconds != last:
            last, prefix = seconds, b"\x08" + encode_varint(seconds) if seconds else b""
        stamp = prefix + b"\x10" + encode_varint(nanos) if nanos else prefix
        content = b"\x0a%c%b\x12%b%b" % (len(stamp), stamp, encode_varint(len(line)), line)
        out.append(b"\x12%b%b" % (encode_varint(len(content)), content))
    return b"".join(out)


def encode_stream(labels: bytes, entries: bytes) -> bytes:
    """Encode a stream, from its labels' text and its encoded entries, as a field of a request."""
    return encode_bytes(STREAM, encode_bytes(STREAM_LABELS, labels) + entries)


def decode(request: bytes) -> Iterator[Stream]:
    """Decode every stream of a request; raises MalformedError with the position."""
    for tag, _, start, end in fields(request):
        if tag != STREAM:
            continue
        stream = Stream("")
        for inner, _, at, behind in fields(request, start, end):
            if inner == STREAM_LABELS:
                stream.labels = _text(request, at, behind)
            elif inner == ENTRY:
                stream.entries.append(decode_entry(request, at, behind))
        yield stream


def decode_entry(data: bytes, start: int, end: int) -> Entry:
    """Decode the EntryAdapter between two positions."""
    time_ns, line, metadata = 0, b"", list[tuple[str, str]]()
    for tag, _, at, behind in fields(data, start, end):
        if tag == TIMESTAMP:
            time_ns = decode_time_ns(data, at, behind)
        elif tag == LINE:
            line = data[at:behind]
        elif tag == METADATA:
            metadata.append(_pair(data, at, behind))
    return Entry(time_ns, line, tuple(metadata))


def decode_time_ns(data: bytes, start: int, end: int) -> int:
    """Decode the Timestamp between two positions as Unix nanoseconds."""
    seconds = nanos = 0
    for tag, value, _, _ in fields(data, start, end):
        if tag == SECONDS:
            seconds = value - (1 << 64) if value >> 63 else value
        elif tag == NANOS:
            nanos = value
    return seconds * NS + nanos


def _pair(data: bytes, start: int, end: int) -> tuple[str, str]:
    name = value = ""
    for tag, _, at, behind in fields(data, start, end):
        if tag == 0x0A:
            name = _text(data, at, behind)
        elif tag == 0x12:
            value = _text(data, at, behind)
    return name, value


def _text(data: bytes, start: int, end: int) -> str:
    try:
        return data[start:end].decode()
    except UnicodeDecodeError as error:
        raise MalformedError("text that is not UTF-8", start) from error
