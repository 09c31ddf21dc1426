"""Times as Go's JSON encoder writes them: RFC 3339 with up to nine digits of a second (package time, RFC3339Nano)."""

import re
from datetime import UTC, datetime
from typing import Final

from pipeline.receive.errors import BadRequestError
from pipeline.wire.loki import MAX_TIME_NS, MIN_TIME_NS, NS

_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def read_go_time_ns(text: str) -> int:
    """Return a time as Unix nanoseconds; raises BadRequestError for what is none, or not within 64 bits."""
    match = _TIME.fullmatch(text)
    try:
        # datetime itself would cut the fraction to microseconds.
        since = datetime.fromisoformat(match[1] + match[3]) - _EPOCH if match else None
    except ValueError:  # the 30th of February
        since = None
    if match and since is not None:
        time_ns = (since.days * 86_400 + since.seconds) * NS + int((match[2] or "").ljust(9, "0"))
        if MIN_TIME_NS <= time_ns <= MAX_TIME_NS:
            return time_ns
    raise BadRequestError(400, f"not a time of RFC 3339 between 1678 and 2262: {text[:50]!r}")
