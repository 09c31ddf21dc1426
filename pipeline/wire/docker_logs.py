"""What a Docker daemon answers to a container's logs with timestamps: frames, and lines of them.

Source: Docker Engine API, ContainerLogs and "Stream format" of ContainerAttach; moby, daemon/logger/copier.go: a line
of more than 16 KiB comes in pieces, of which each has the line's own timestamp and only the last ends with a newline.
"""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple

from pipeline.wire.errors import MalformedError

STREAMS: Final = {0: "stdin", 1: "stdout", 2: "stderr", 3: "system"}
MAX_FRAME_BYTES: Final = 8 * 1024 * 1024
_HEADER_BYTES: Final = 8
_STAMP: Final = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z ")
_PIECE_BYTES: Final = 16 * 1024


class Line(NamedTuple):
    """One line of a stream, without its end; `time_ns` is Unix nanoseconds."""

    stream: str
    time_ns: int
    text: bytes


class ContainerLines:
    """Takes an answer's bytes as they come, and gives lines; `is_tty`: a terminal's, which has one stream, no frames.

    `cut` counts the lines that were longer than `max_line_bytes`: their beginnings are given.
    """

    def __init__(self, *, is_tty: bool, max_line_bytes: int) -> None:
        self.cut = 0
        self._is_tty = is_tty
        self._max_line_bytes = max_line_bytes
        self._rest = b""
        self._begun: dict[str, tuple[int, bytes]] = {}

    def feed(self, data: bytes) -> list[Line]:
        """Return the lines that are whole now; raises MalformedError for what is no answer of a daemon."""
        data = self._rest + data if self._rest else data
        return self._lines(data) if self._is_tty else self._frames(data)

    def end(self) -> list[Line]:
        """Return the lines whose end will not come any more."""
        found: list[Line] = []
        if self._is_tty and self._rest:
            self._piece("stdout", self._rest, found)
        found += [Line(stream, time_ns, text) for stream, (time_ns, text) in self._begun.items()]
        self._rest, self._begun = b"", {}
        return found

    def _frames(self, data: bytes) -> list[Line]:
        at, found = 0, list[Line]()
        while len(data) - at >= _HEADER_BYTES:
            size = int.from_bytes(data[at + 4 : at + 8], "big")
            stream = STREAMS.get(data[at])
            if stream is None or size > MAX_FRAME_BYTES:
                raise MalformedError(f"no frame of a container's logs: {data[at : at + 8].hex()}")
            begin = at + _HEADER_BYTES
            if len(data) - begin < size:
                break
            self._piece(stream, data[begin : begin + size], found)
            at = begin + size
        self._rest = data[at:]
        return found

    def _lines(self, data: bytes) -> list[Line]:
        *lines, self._rest = data.split(b"\n")
        found: list[Line] = []
        for line in lines:
            self._piece("stdout", line + b"\n", found)
        if len(self._rest) > self._max_line_bytes + _PIECE_BYTES:
            self._piece("stdout", self._rest, found)
            self._rest = b""
        return found

    def _piece(self, stream: str, piece: bytes, found: list[Line]) -> None:
        begun = self._begun.pop(stream, None)
        stamp = _STAMP.match(piece)
        if stamp is None:
            if begun is None:  # an empty frame, or the rest of a terminal's line that was given early
                return
            time_ns, text = begun[0], piece
        else:
            time_ns, text = _time_ns(stamp[1], stamp[2] or b"0"), piece[stamp.end() :]
            if self._is_tty:
                text = text.replace(stamp[0], b"") if len(text) > _PIECE_BYTES else text
            if begun is not None and begun[0] != time_ns:
                found.append(Line(stream, *begun))
                begun = None
        whole = (begun[1] if begun is not None else b"") + text
        if len(whole) > self._max_line_bytes:
            whole = whole[: self._max_line_bytes] + (b"\n" if whole.endswith(b"\n") else b"")
            self.cut += whole.endswith(b"\n")
        if whole.endswith(b"\n"):
            found.append(Line(stream, time_ns, whole.rstrip(b"\r\n")))
        else:
            self._begun[stream] = (time_ns, whole)


@lru_cache(maxsize=64)
def _second_ns(text: bytes) -> int:
    return int(datetime.fromisoformat(text.decode()).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


def _time_ns(second: bytes, fraction: bytes) -> int:
    try:
        return _second_ns(second) + int(fraction.ljust(9, b"0"))
    except ValueError as error:
        raise MalformedError(f"no time: {second!r}") from error
