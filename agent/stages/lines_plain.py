"""The Python beside `_lines`: see `lines`."""

import re
from typing import Final

import msgspec

from agent.stages.encode import encode, encode_second
from agent.stages.lang.layout import compile_layout
from pipeline.wire.loki import NS

Part = tuple[bytes, int, int, int]

_TIME: Final = rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
_CRI: Final = re.compile(_TIME + rb" std(out|err) F ([^\n]*)\n")
_WHOLE_TIME: Final = re.compile(_TIME)
_MAX_SECONDS: Final = 9_000_000_000
"""Times are 64-bit nanoseconds here: what does not fit is left to the stage."""
_MAX_KNOWN: Final = 4096

_parse = compile_layout("RFC3339Nano")
_seconds: dict[tuple[bytes, bytes], tuple[int, bytes] | None] = {}
"""By a time's text to the second and its zone: Unix seconds, and these encoded; None where it is no usable time."""


def _second(text: bytes, zone: bytes) -> tuple[int, bytes] | None:
    try:
        seconds = _parse((text + zone).decode(), 0) // NS
    except ValueError:
        found = None
    else:
        found = (seconds, encode_second(seconds)) if 0 < seconds < _MAX_SECONDS else None
    if len(_seconds) >= _MAX_KNOWN:
        _seconds.clear()
    _seconds[text, zone] = found
    return found


class _Out:
    """What has been encoded of one stream."""

    __slots__ = ("entries", "times")

    def __init__(self) -> None:
        self.entries, self.times = list[bytes](), list[int]()

    def part(self) -> Part | None:
        if not self.entries:
            return None
        return b"".join(self.entries), len(self.entries), min(self.times), max(self.times)


class _Walk:
    """The entries of one walk: of two streams, or of one into which both go."""

    __slots__ = ("err", "err_metadata", "err_ns", "out", "out_metadata", "out_ns")

    def __init__(self, out_metadata: bytes, err_metadata: bytes, joined: bool) -> None:
        self.out_metadata, self.err_metadata = out_metadata, err_metadata
        self.out = _Out()
        self.err = self.out if joined else _Out()
        self.out_ns = self.err_ns = -1

    def add(self, to_err: bool, second: tuple[int, bytes], nanos: int, line: bytes) -> None:
        time_ns = second[0] * NS + nanos
        if to_err:
            self.err_ns, stream, metadata = time_ns, self.err, self.err_metadata
        else:
            self.out_ns, stream, metadata = time_ns, self.out, self.out_metadata
        stream.entries.append(encode(second[1], nanos, line, metadata))
        stream.times.append(time_ns)

    def ended(self, at: int) -> "Walked":
        err = self.err.part() if self.err is not self.out else None
        return at, self.out.part(), err, self.out_ns, self.err_ns


Walked = tuple[int, Part | None, Part | None, int, int]


def walk_cri(block: bytes, at: int, held: int, out_metadata: bytes, err_metadata: bytes, joined: bool) -> Walked:
    """Encode lines of container runtimes."""
    walk = _Walk(out_metadata, err_metadata, joined)
    known = _seconds
    for match in iter(_CRI.scanner(block, at).match, None):  # type: ignore[attr-defined] # not in typeshed
        text, fraction, zone, which, line = match.groups()
        second = known.get((text, zone)) or _second(text, zone)
        if second is None or held & (1 if which == b"out" else 2):
            break
        nanos = int(fraction if len(fraction) == 9 else fraction.ljust(9, b"0")) if fraction else 0
        walk.add(which == b"err", second, nanos, line)
        at = match.end()
    return walk.ended(at)


def split_cri(block: bytes, at: int, held: int) -> tuple[int, list[tuple[int, int, str, str]]]:
    """Take lines of container runtimes apart."""
    found = list[tuple[int, int, str, str]]()
    known = _seconds
    for match in iter(_CRI.scanner(block, at).match, None):  # type: ignore[attr-defined] # not in typeshed
        text, fraction, zone, which, line = match.groups()
        second = known.get((text, zone)) or _second(text, zone)
        stream = which == b"err"
        if second is None or held & (1 << stream):
            break
        nanos = int(fraction.ljust(9, b"0")) if fraction else 0
        time = block[match.start() : match.start(4) - 4].decode()
        found.append((second[0] * NS + nanos, int(stream), time, line.decode()))
        at = match.end()
    return at, found


class _Docker(msgspec.Struct):
    log: str
    stream: str
    time: str


_decode = msgspec.json.Decoder(_Docker).decode


def walk_docker(block: bytes, at: int, held: int, out_metadata: bytes, err_metadata: bytes, joined: bool) -> Walked:
    """Encode lines of Docker's json-file driver."""
    walk = _Walk(out_metadata, err_metadata, joined)
    known, find = _seconds, block.find
    while (end := find(b"\n", at)) >= 0:
        try:
            one = _decode(block[at:end])
        except (msgspec.DecodeError, RecursionError):
            break
        match = _WHOLE_TIME.fullmatch(one.time.encode())
        if match is None or one.stream not in ("stdout", "stderr"):
            break
        text, fraction, zone = match.groups()
        second = known.get((text, zone)) or _second(text, zone)
        if second is None or held & (1 if one.stream == "stdout" else 2):
            break
        nanos = int(fraction.ljust(9, b"0")) if fraction else 0
        walk.add(one.stream == "stderr", second, nanos, one.log.encode())
        at = end + 1
    return walk.ended(at)


def walk_plain(block: bytes, time_ns: int, metadata: bytes) -> Part | None:
    """Encode lines as they are."""
    lines = block.removesuffix(b"\n").split(b"\n") if block else []
    entries, (seconds, nanos) = list[bytes](), divmod(time_ns, NS)
    second = encode_second(seconds)
    for line in lines:
        if nanos == NS:
            seconds, nanos = seconds + 1, 0
            second = encode_second(seconds)
        entries.append(encode(second, nanos, line, metadata))
        nanos += 1
    last_ns = time_ns + len(lines) - 1
    return (b"".join(entries), len(lines), time_ns, last_ns) if lines else None
