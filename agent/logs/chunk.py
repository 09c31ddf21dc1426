"""What stages give on: encoded entries, and how far their source was read when they were made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

State = Mapping[bytes, bytes | None]
"""Keys of the buffer's key-value table, and what they hold from now on; None deletes one."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Entries of one tenant, ready to be joined with others into a batch.

    `raw` is a sequence of `streams` fields of a `logproto.PushRequest`, not compressed; empty where nothing came of
    what was read. `earliest_ms` and `latest_ms` are its entries' first and last times (Unix milliseconds). `pause_s` is
    how long the source should wait before it reads on, where a stage limits its rate: whoever puts the chunk waits.
    """

    raw: bytes = b""
    items: int = 0
    earliest_ms: int = 0
    latest_ms: int = 0
    tenant: str = ""
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Take:
    """What came of one read: its chunks, and the state that becomes true with them, in one transaction.

    `lane_key` names the source (a file's path, a listener): what one source gives is kept and sent in its order.
    """

    lane_key: str
    chunks: tuple[Chunk, ...] = ()
    state: State = field(default_factory=dict)


class Keep(Protocol):
    """Where inputs put what they read: on disk, before anybody else is told of it."""

    async def put(self, take: Take) -> None:
        """Take entries and state; waits as long as there is no room for them. On disk within half a second or so.

        Of one `lane_key` what was put first is on disk first, and a take's chunks are with its state or not at all.
        """

    async def keep(self, take: Take) -> None:
        """Do as `put`, and return only when it is on disk: for inputs that acknowledge to somebody."""

    def waits(self) -> bool:
        """Return whether there is no room just now, so that putting would wait."""

    def state(self, prefix: bytes) -> Mapping[bytes, bytes]:
        """Return what the state's keys with this prefix hold as of what was put last: a new start goes on there."""
