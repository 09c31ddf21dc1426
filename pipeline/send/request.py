"""What is sent: pieces, each one record's payload or a part of it, and requests of consecutive pieces."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from pipeline.send.codec import Codec, Halves
from pipeline.wire.envelope import Envelope


@dataclass(frozen=True, slots=True)
class Piece:
    """One record's payload, or a part of it.

    `source` says which record of the delivery it is from. `in_doubt` marks what may have reached the store before a
    crash or a lost answer: for it alone a refusal as duplicate counts as delivered. `envelope` is the record's, for
    those who need more than the payload (how old its entries are, say).
    """

    payload: bytes
    items: int
    source: int = 0
    in_doubt: bool = False
    envelope: Envelope | None = None


@dataclass(frozen=True)
class Request:
    """Consecutive pieces of one partition, cluster and tenant, to be sent at once; `codec` is their signal's."""

    pieces: Sequence[Piece]
    codec: Codec
    cluster: str = ""
    tenant: str = ""

    @cached_property
    def payload(self) -> bytes:
        """All pieces in one payload, in order; made when it is first asked for, without decompressing any."""
        return self.codec.join([piece.payload for piece in self.pieces])

    @property
    def items(self) -> int:
        """How many items all pieces hold."""
        return sum(piece.items for piece in self.pieces)

    def of(self, *pieces: Piece) -> "Request":
        """Return a request of other pieces to the same receiver."""
        return replace(self, pieces=pieces)

    def in_doubt(self) -> "Request":
        """Return the same request, of which everything may have arrived."""
        return self.of(*(replace(piece, in_doubt=True) for piece in self.pieces))

    def halves(self) -> tuple[Piece, Piece] | None:
        """Split a request of one piece by series or streams; raises MalformedError."""
        return self._parts(self.codec.halves)

    def item_halves(self) -> tuple[Piece, Piece] | None:
        """Split a request of one piece of one series or stream by its items; raises MalformedError."""
        return self._parts(self.codec.item_halves)

    def _parts(self, split: Callable[[bytes], Halves | None]) -> tuple[Piece, Piece] | None:
        (piece,) = self.pieces
        parts = split(piece.payload)
        if parts is None:
            return None
        first, second = (replace(piece, payload=part.payload, items=part.items) for part in parts)
        return first, second
