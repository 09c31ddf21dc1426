"""What Loki's answer to a push means, as far as it does not depend on what was pushed: pure.

Sources: grafana/loki 3.7 pkg/distributor (http.go, distributor.go), pkg/ingester (stream.go, instance.go),
pkg/validation/validate.go.
"""

from collections.abc import Mapping
from typing import Final

from pipeline.delivery import Delivered, Outcome, Rejected, Retry, TooLarge
from pipeline.send import classify as http

_TAKEN = frozenset({200, 202, 204})
# What an ingester answers for more than it takes in one gRPC message (its grpc_server_max_recv_msg_size) comes as 500.
TOO_LARGE: Final = "message larger than max"
NO_SCHEMA: Final = "no schema config found for time"
"""An ingester's words, with 500, for a new stream with an entry older than the first of Loki's `schema_config`."""


def classify(status: int, headers: Mapping[str, str], body: bytes, *, now_s: float) -> Outcome:
    """Judge an answer; see `pipeline.send.classify`, of which Loki differs in a few points."""
    if status in _TAKEN:
        return Delivered()
    if 200 <= status < 300:
        # block_ingestion_status_code is 260 where nobody says otherwise: nothing was stored.
        return Retry(http.reason_of(status, body), alarm=True, perhaps_taken=True)
    if status == 500 and TOO_LARGE.encode() in body:
        return TooLarge(http.reason_of(status, body))
    if status == 500 and NO_SCHEMA.encode() in body:
        return Rejected(http.reason_of(status, body), status)
    return http.classify(status, headers, body, now_s=now_s)
