"""External labels, where a stream has some of its own, others, or none."""

import pytest

from pipeline.send.codec import LOGS
from pipeline.send.loki.external import ExternalLabels
from pipeline.send.request import Request
from pipeline.wire import snappy
from pipeline.wire.loki import decode, encode_entry, encode_stream
from tests.pipeline.send.loki.pushes import piece


@pytest.mark.parametrize(
    ("own", "all_of_them"),
    [
        (b"{}", '{app="unnamed", region="eu"}'),
        (b'{app="a"}', '{app="a", region="eu"}'),
        (b'{b="c"}', '{app="unnamed", b="c", region="eu"}'),
    ],
)
def test_a_streams_own_labels_go_first(own: bytes, all_of_them: str) -> None:
    request = Request([piece(encode_stream(own, encode_entry(1, b"line")))], LOGS)
    (stream,) = decode(snappy.decompress(ExternalLabels({"region": "eu", "app": "unnamed"}).add(request).payload))
    assert stream.labels == all_of_them
    assert [entry.line for entry in stream.entries] == [b"line"]
