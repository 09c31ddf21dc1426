"""Memory for pages: a page of many megabytes comes every few seconds, and fresh memory costs more than filling it."""

from dataclasses import dataclass, field

MAX_SPARE_BYTES = 64 << 20
_FIRST_BYTES = 64 << 10
_GROW_BYTES = 8 << 20
"""New memory is made ready in pieces: as much as a page says it has would hold the loop for long, and may not come."""


@dataclass(frozen=True, slots=True)
class Body:
    """A page: the first `size` bytes of a buffer. What stands behind them means nothing."""

    buffer: bytes | bytearray
    size: int


@dataclass(slots=True)
class Buffers:
    """Buffers that wait for their next page, shared by all targets; bounded in bytes."""

    max_bytes: int = MAX_SPARE_BYTES
    _spare: list[bytearray] = field(default_factory=list)
    held_bytes: int = 0

    def take(self, expected_bytes: int) -> bytearray:
        """Return a buffer for about so many bytes: the smallest spare one that holds them, or a new one."""
        fitting = [spare for spare in self._spare if len(spare) >= expected_bytes]
        fresh_bytes = min(max(expected_bytes, _FIRST_BYTES), _GROW_BYTES)
        if not fitting or not expected_bytes:
            return bytearray(fresh_bytes)
        best = min(fitting, key=len)
        # A page of a few lines must not hold on to the memory of a large one.
        if len(best) > 4 * max(expected_bytes, _FIRST_BYTES):
            return bytearray(fresh_bytes)
        self._spare = [spare for spare in self._spare if spare is not best]
        self.held_bytes -= len(best)
        return best

    def give(self, buffer: bytes | bytearray) -> None:
        """Give a buffer back that nothing refers to any more."""
        if isinstance(buffer, bytearray) and buffer and self.held_bytes + len(buffer) <= self.max_bytes:
            self._spare.append(buffer)
            self.held_bytes += len(buffer)


@dataclass(slots=True)
class Filling:
    """A buffer that is being filled with the pieces of a page."""

    buffer: bytearray
    size: int = 0

    def add(self, piece: bytes) -> None:
        """Put a piece behind the others."""
        end = self.size + len(piece)
        if end > len(self.buffer):
            more = min(len(self.buffer) // 2, _GROW_BYTES)
            self.buffer.extend(bytes(max(end - len(self.buffer), more)))
        # A bytearray would copy the piece first.
        with memoryview(self.buffer) as view:
            view[self.size : end] = piece
        self.size = end

    def body(self) -> Body:
        """Return what is complete."""
        return Body(self.buffer, self.size)
