import struct
from typing import Any

import pytest

from pipeline.send.config import RemoteWriteConfig
from pipeline.send.rewrite import Rewrite, rewrite_for
from pipeline.wire import snappy
from pipeline.wire.errors import MalformedError
from pipeline.wire.histogram import STALE_HISTOGRAM
from pipeline.wire.protobuf import encode_bytes
from pipeline.wire.remote_write import (
    HISTOGRAM,
    METADATA,
    decode,
    encode_exemplar,
    encode_labels,
    encode_metadata,
    encode_sample,
    encode_series,
)


def one(number: float) -> bytes:
    return struct.pack("<d", number)


def series(*samples: float, exemplar: bool = False, **labels: str) -> bytes:
    content = encode_labels(sorted(labels.items()))
    content += b"".join(encode_sample(one(value), 1_700_000_000_000 + at) for at, value in enumerate(samples))
    if exemplar:
        content += encode_exemplar(encode_labels([("trace_id", "x")]), one(0.5), 1_700_000_000_000)
    return encode_series(content)


BATCH = snappy.compress(
    series(1, 2, __name__="a", job="x", exemplar=True)
    + encode_metadata(1, "a", "what a means", "")
    + series(3, __name__="b", job="x")
    + series(4, __name__="c", job="y")
)


def rewriting(**keys: Any) -> Rewrite | None:
    return rewrite_for(RemoteWriteConfig.model_validate({"url": "http://r", **keys}))


def rewritten(payload: bytes, **keys: Any) -> tuple[list[dict[str, str]], int, bytes]:
    rewrite = rewriting(**keys)
    assert rewrite is not None
    made, items = rewrite.apply(payload)
    raw = snappy.decompress(made) if made else b""
    return [dict(found.labels) for found in decode(raw)], items, raw


def test_a_batch_goes_as_it_is_unless_the_receiver_wants_less() -> None:
    assert rewriting() is None
    assert rewriting(send_exemplars=True) is None
    assert rewriting(send_exemplars=False) is not None


def test_native_histograms_are_left_out_where_the_file_says_so() -> None:
    histogram = encode_series(encode_labels([("__name__", "h")]) + encode_bytes(HISTOGRAM, STALE_HISTOGRAM))
    both = snappy.compress(histogram + series(1, __name__="a"))
    assert rewriting(send_native_histograms=True) is None
    labels, items, _ = rewritten(both, send_native_histograms=False)
    assert (labels, items) == ([{"__name__": "a"}], 1)
    assert rewritten(both, send_exemplars=False)[1] == 2
    assert rewritten(snappy.compress(histogram), send_native_histograms=False) == ([], 0, b"")


def test_rules_drop_and_relabel_series() -> None:
    rules = [
        {"source_labels": ["__name__"], "regex": "b", "action": "drop"},
        {"source_labels": ["job"], "target_label": "team"},
        {"regex": "job", "action": "labeldrop"},
    ]
    labels, items, raw = rewritten(BATCH, write_relabel_configs=rules)
    assert labels == [{"__name__": "a", "team": "x"}, {"__name__": "c", "team": "y"}]
    assert items == 3
    first = next(decode(raw))
    assert [value for value, _ in first.samples] == [one(1), one(2)]
    assert [dict(exemplar.labels) for exemplar in first.exemplars] == [{"trace_id": "x"}]
    assert encode_metadata(1, "a", "what a means", "") in raw


def test_rules_that_leave_nothing_leave_no_payload() -> None:
    only_series = snappy.compress(series(1, __name__="a"))
    rewrite = rewriting(write_relabel_configs=[{"action": "drop"}])
    assert rewrite is not None
    assert rewrite.apply(only_series) == (b"", 0)


def test_exemplars_and_metadata_are_taken_out_where_the_file_says_so() -> None:
    labels, items, raw = rewritten(BATCH, send_exemplars=False, metadata_config={"send": False})
    assert (len(labels), items) == (3, 4)
    assert not any(found.exemplars for found in decode(raw))
    assert bytes([METADATA]) + b"\x14" not in raw
    assert b"what a means" not in raw


def test_the_same_labels_are_worked_out_once() -> None:
    rewrite = rewriting(write_relabel_configs=[{"source_labels": ["job"], "target_label": "team"}])
    assert rewrite is not None
    first = rewrite.apply(BATCH)
    assert rewrite.apply(BATCH) == first


def test_a_damaged_batch_is_malformed() -> None:
    rewrite = rewriting(write_relabel_configs=[{"target_label": "x", "replacement": "y"}])
    assert rewrite is not None
    with pytest.raises(MalformedError):
        rewrite.apply(snappy.compress(series(1, __name__="a")[:-3]))
