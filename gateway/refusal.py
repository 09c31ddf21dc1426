"""Why a whole request is not taken, as a value that both transports can say in their own way."""

from typing import NamedTuple


class Refusal(NamedTuple):
    """`status` is HTTP's; with 429 and 503 the same may be sent again, not before `retry_after_s`.

    `exhausted`: it is us who have no room, which HTTP does not tell from being down, and gRPC does.
    """

    status: int
    reason: str
    retry_after_s: float | None = None
    exhausted: bool = False
