"""Where syslog messages begin and end in a stream, whichever way their sender marks it.

Source: RFC 6587 section 3.4: octet counting (`57 <34>1 …`) and non-transparent framing (a line feed behind each). A
sender keeps to one of them; which one is seen from each message, so that a stream whose counts lie is read on from the
next line.
"""

import re
from typing import Final

_COUNT: Final = re.compile(rb"([1-9]\d{0,8}) (?=<)")
_COUNT_BEGUN: Final = re.compile(rb"[1-9]\d{0,8} ?\Z")


class Framer:
    """Takes a stream's bytes as they come and gives messages; holds `max_bytes` and what is fed at once, no more.

    `cut` counts the messages that were longer than `max_bytes`: their beginnings are given, the rest is passed over.
    """

    def __init__(self, max_bytes: int) -> None:
        self.cut = 0
        self._max_bytes = max_bytes
        self._rest = b""
        self._skip_bytes = 0
        self._skip_line = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that are whole now, without their marks; empty lines are none."""
        data = self._rest + data if self._rest else data
        at, found = 0, list[bytes]()
        while at < len(data):
            if self._skip_bytes or self._skip_line:
                at = self._skipped(data, at)
                continue
            counted = _COUNT.match(data, at)
            if counted is not None:
                behind = self._counted(data, counted.end(), int(counted[1]), found)
            elif _COUNT_BEGUN.match(data, at):
                break
            else:
                behind = self._line(data, at, found)
            if behind < 0:
                break
            at = behind
        self._rest = data[at:]
        return found

    def end(self) -> list[bytes]:
        """Return what the stream's end made a message of."""
        rest, self._rest = self._rest, b""
        if (counted := _COUNT.match(rest)) is not None:
            rest = rest[counted.end() :]
        return [rest] if rest.strip(b"\r\n\0") else []

    def _skipped(self, data: bytes, at: int) -> int:
        if self._skip_line:
            newline = data.find(b"\n", at)
            self._skip_line = newline < 0
            return len(data) if newline < 0 else newline + 1
        passed = min(self._skip_bytes, len(data) - at)
        self._skip_bytes -= passed
        return at + passed

    def _counted(self, data: bytes, at: int, size: int, found: list[bytes]) -> int:
        taken = min(size, self._max_bytes)
        if len(data) - at < taken:
            return -1
        found.append(data[at : at + taken])
        self._skip_bytes = size - taken
        self.cut += size > taken
        return at + taken

    def _line(self, data: bytes, at: int, found: list[bytes]) -> int:
        newline = data.find(b"\n", at)
        end = newline if newline >= 0 else len(data)
        if end - at > self._max_bytes:
            found.append(data[at : at + self._max_bytes])
            self.cut += 1
            self._skip_line = newline < 0
            return end + 1
        if newline < 0:
            return -1
        if data[at:end].strip(b"\r\0"):
            found.append(data[at:end])
        return end + 1
