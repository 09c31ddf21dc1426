"""Documents of a bulk request, as bytes: what both signals' have in common.

A document is two lines (Elasticsearch, "Bulk API"): the action with index and id, and the source.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

import msgspec

from pipeline.send.request import Piece
from pipeline.wire.envelope import Envelope

to_json: Final = msgspec.json.Encoder().encode
"""Encodes strings and dicts of strings, as UTF-8 bytes."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Owner(NamedTuple):
    """Whose record it is."""

    cluster: str
    tenant: str

    @staticmethod
    def of(envelope: Envelope) -> "Owner":
        """Return whose record has this envelope."""
        return Owner(envelope.cluster, envelope.tenant)

    def head(self, dataset: str, labels: Mapping[str, str], more: Mapping[str, str] | None = None) -> bytes:
        """Encode what a source begins with, up to its time."""
        tenant = {"organization.id": self.tenant} if self.tenant else {}
        members = {"orchestrator.cluster.name": self.cluster, **tenant, "event.dataset": dataset, "labels": labels}
        return to_json({**members, **(more or {})})[:-1] + b',"@timestamp":"'


class Part(NamedTuple):
    """A payload of some of a record's documents, in the signal's encoding, and the items in it."""

    payload: bytes
    items: int


@dataclass(frozen=True, slots=True)
class Built:
    """A record's documents in order, and the indices that they go to."""

    documents: Sequence[bytes]
    indices: frozenset[str]


class Documents(Protocol):
    """Makes documents of one signal's records. Pure but for what it remembers of labels; may run in several threads."""

    def build(self, piece: Piece) -> Built:
        """Make a record's documents, always the same in the same order; raises MalformedError."""

    def part(self, piece: Piece, numbers: Sequence[int]) -> Part:
        """Return what the documents with these numbers, ascending from 0, were made of; raises MalformedError."""


@lru_cache(maxsize=4096)
def second(seconds: int) -> bytes:
    """Write a Unix second as ISO 8601 without fraction and zone; one that no date has, as its number."""
    try:
        return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0").encode()
    except OverflowError:
        return b"%d" % seconds
