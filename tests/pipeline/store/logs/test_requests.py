import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.store.logs.entry import MAX_NS
from pipeline.store.logs.requests import New, encode, parse
from pipeline.wire import loki
from pipeline.wire.errors import MalformedError
from pipeline.wire.protobuf import encode_bytes
from pipeline.wire.remote_write import encode_labels
from tests.pipeline.store.logs.requests import push

KEY = encode_labels([("app", "a")])
TIMES = st.one_of(st.integers(-(1 << 62), 1 << 62), st.integers(1_600_000_000 * 10**9, 4_500_000_000 * 10**9))


def stamp(seconds: bytes, nanos: bytes) -> bytes:
    return encode_bytes(0x0A, b"\x08" + seconds + b"\x10" + nanos)


PIECES = st.lists(
    st.one_of(
        st.builds(stamp, st.binary(max_size=6), st.binary(max_size=10)),
        st.binary(max_size=300).map(lambda line: encode_bytes(0x12, line)),
        st.binary(max_size=4),
    ),
    max_size=4,
)


@given(st.lists(st.tuples(TIMES, st.binary(max_size=400)), min_size=1, max_size=5))
def test_entries_are_read_as_they_were_written(entries: list[tuple[int, bytes]]) -> None:
    [read] = parse(push({"app": "a"}, *entries)).values()
    assert read == [(max(-MAX_NS, min(at, MAX_NS)), line.decode("utf-8", "replace"), ()) for at, line in entries]
    assert parse(encode({KEY: read})) == {KEY: read}


@given(PIECES)
def test_an_entry_of_any_shape_is_read_as_the_format_says(pieces: list[bytes]) -> None:
    request = loki.encode_stream(b'{app="a"}', encode_bytes(loki.ENTRY, b"".join(pieces)))
    try:
        [stream] = loki.decode(request)
    except MalformedError:
        with pytest.raises(MalformedError):
            parse(request)
        return
    [entry] = stream.entries
    time_ns = max(-MAX_NS, min(entry.time_ns, MAX_NS))
    assert parse(request) == {KEY: [New(time_ns, entry.line.decode("utf-8", "replace"), entry.metadata)]}
