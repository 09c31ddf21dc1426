"""What a remote-write receiver's answer means: `classify` is a pure function from the answer to an outcome.

Sources: Remote-Write 1.0 (retries: 5xx, and 429 where the sender wants) and 2.0 ("Required Written Response Headers");
Prometheus 3.15 storage/remote/write_handler.go and client.go; Mimir's catalogue of errors (`err-mimir-…`); Thanos
receive (409 for conflicts).
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from pipeline.delivery import Delivered, Outcome, Rejected, Retry, TooLarge

_MAX_REASON_CHARACTERS = 1000

# These concern the connection, the sink or its configuration, whatever was sent: nothing is wrong with the data.
# 405, 406 and 415 are what a wrong path or a receiver without our protobuf message answers; 3xx is a redirect that the
# configuration does not follow.
_OF_THE_SINK = frozenset({401, 403, 404, 405, 406, 407, 415})
_WAIT = frozenset({408, 421, 425, 429})
# What a server failed at may be done in part (500), and a proxy cannot know (502, 504): RFC 9110, section 15.6.
_UNCLEAR = frozenset({500, 502, 504})

# Prometheus, Cortex and Thanos: storage/interface.go ErrOutOfOrderSample, ErrDuplicateSampleForTimestamp,
# ErrTooOldSample, ErrOutOfBounds; Mimir: the error's name in parentheses.
_ALREADY_THERE = re.compile(
    r"out of order sample|duplicate sample for timestamp|too old sample|out of bounds"
    r"|err-mimir-sample-(?:out-of-order|duplicate-timestamp|timestamp-too-old)"
)
# ErrOutOfBounds also stands for a sample from the future, which surely is not stored yet.
_FUTURE = re.compile(r"too far in the future|err-mimir-too-far-in-future")

_WRITTEN = ("X-Prometheus-Remote-Write-Samples-Written", "X-Prometheus-Remote-Write-Histograms-Written")


def classify(
    status: int, headers: Mapping[str, str], body: bytes, *, now_s: float, confirm_items: int | None = None
) -> Outcome:
    """Judge an answer. `headers` are looked up as they are: pass a case-insensitive mapping.

    `now_s` (Unix seconds) is for a Retry-After that is a date. `confirm_items`, the samples and histograms that a 2.0
    request held, makes a success without the 2.0 response headers one that cannot be believed.
    """
    if 200 <= status < 300:
        return Delivered() if confirm_items is None else _confirmed(headers, confirm_items)
    reason = reason_of(status, body)
    if status >= 500 or status in _WAIT:
        after_s = _retry_after_s(headers.get("Retry-After"), now_s)
        return Retry(reason, after_s, perhaps_taken=status in _UNCLEAR)
    if status in _OF_THE_SINK or status < 400:
        return Retry(reason, _retry_after_s(headers.get("Retry-After"), now_s), alarm=True)
    if status == 413:
        return TooLarge(reason)
    return Rejected(reason, status, duplicate=is_duplicate(reason))


def is_duplicate(reason: str) -> bool:
    """Tell whether the store's words say that the sample is there already, or is older than what is there."""
    return _ALREADY_THERE.search(reason) is not None and _FUTURE.search(reason) is None


def _confirmed(headers: Mapping[str, str], items: int) -> Outcome:
    try:
        written = sum(int(headers.get(name, 0)) for name in _WRITTEN)
    except ValueError:
        written = 0
    if written >= items:
        return Delivered()
    if written == 0:
        # A 1.0 receiver that does not look at Content-Type finds no series in a 2.0 message, and is content.
        return Retry(
            f"the receiver says that it wrote none of {items} samples: it may not know remote write 2.0"
            " (set protobuf_message: prometheus.WriteRequest)",
            alarm=True,
        )
    return Rejected(f"the receiver says that it wrote {written} of {items} samples", 200)


def reason_of(status: int, body: bytes) -> str:
    """Return an answer in one line: its status, and the receiver's words up to a bound."""
    words = " ".join(body[: 4 * _MAX_REASON_CHARACTERS].decode(errors="replace").split())[:_MAX_REASON_CHARACTERS]
    return f"HTTP {status}: {words}" if words else f"HTTP {status}"


def _retry_after_s(value: str | None, now_s: float) -> float | None:
    """Read Retry-After in either form (RFC 9110, section 10.2.3); None where it is missing or unreadable."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now_s)
    except ValueError:
        return None
