import gzip
import json
import zlib
from typing import Any

import pytest

from pipeline.receive.errors import BadRequestError
from pipeline.receive.go_json import read_go_time_ns
from pipeline.receive.loki_push import Form, body_form, read_request, read_streams
from pipeline.wire import snappy
from pipeline.wire.loki import MAX_TIME_NS, MIN_TIME_NS, Entry, Stream, decode, encode_entry, encode_stream

TIME_NS = 1_790_000_000_123_456_789
PATH = "/loki/api/v1/push"
JSON = body_form(PATH, "application/json", "")
LEGACY = body_form("/api/prom/push", "application/json", "")
PROTOBUF = body_form(PATH, "application/x-protobuf", "")


def push(*values: Any, **labels: Any) -> bytes:
    return json.dumps({"streams": [{"stream": labels or {"a": "b"}, "values": values}]}).encode()


def only(body: bytes, form: Form = JSON) -> Stream:
    (stream,) = read_streams(body, form, 1 << 20)
    assert list(decode(read_request(body, form, 1 << 20))) == [stream]
    return stream


def refused(body: bytes, form: Form = JSON, max_bytes: int = 1 << 20) -> BadRequestError:
    with pytest.raises(BadRequestError) as raised:
        read_streams(body, form, max_bytes)
    with pytest.raises(BadRequestError):
        read_request(body, form, max_bytes)
    return raised.value


def test_json_is_read_with_structured_metadata() -> None:
    body = push([str(TIME_NS), "a line"], [str(TIME_NS + 1), "ü\n", {"trace": "1", "b": "\t"}], b="2", a='"')
    assert only(body) == Stream(
        r'{a="\"", b="2"}',
        [Entry(TIME_NS, b"a line"), Entry(TIME_NS + 1, "ü\n".encode(), (("b", "\t"), ("trace", "1")))],
    )


def test_legacy_json_is_read_with_times_of_any_zone_to_the_nanosecond() -> None:
    entries = [
        {"ts": "2018-12-18T08:28:06.801064-04:00", "line": "baz"},
        {"ts": "2018-12-18T12:28:06.801064001Z", "line": "foo", "structuredMetadata": {"a": "b"}},
    ]
    body = json.dumps({"streams": [{"labels": '{test="a"}', "entries": entries}]}).encode()
    assert only(body, LEGACY) == Stream(
        '{test="a"}',
        [Entry(1_545_136_086_801_064_000, b"baz"), Entry(1_545_136_086_801_064_001, b"foo", (("a", "b"),))],
    )


def test_times_of_1970_and_2100_and_before_are_carried() -> None:
    times = [0, 1, -1, 4_102_444_800 * 10**9, MAX_TIME_NS, MIN_TIME_NS]
    assert [entry.time_ns for entry in only(push(*([str(time), "x"] for time in times))).entries] == times
    assert read_go_time_ns("1969-12-31T23:59:59.999999999Z") == -1


def test_protobuf_is_carried_as_it_came() -> None:
    raw = encode_stream(b'{ a = "b"}', encode_entry(TIME_NS, b"x", [("t", "1")]))
    assert read_request(snappy.compress(raw), PROTOBUF, 1 << 20) == raw
    assert only(snappy.compress(raw), PROTOBUF) == Stream('{ a = "b"}', [Entry(TIME_NS, b"x", (("t", "1"),))])


@pytest.mark.parametrize(
    ("content_encoding", "compressed"),
    [
        ("gzip", gzip.compress),
        ("GZIP", lambda body: gzip.compress(body[:10]) + gzip.compress(body[10:])),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compressobj(wbits=-15).compress(body) + _rest(body)),
        ("identity", bytes),
        ("snappy", bytes),
    ],
)
def test_bodies_are_inflated(content_encoding: str, compressed: Any) -> None:
    body = push(["1", "x"])
    form = body_form(PATH, "application/json", content_encoding)
    assert only(compressed(body), form).entries == [Entry(1, b"x")]


def _rest(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(body)[:0] + compressor.flush()


def test_what_is_larger_than_it_may_be_is_refused_before_it_is_made() -> None:
    bomb = gzip.compress(b" " * 10_000_000)
    error = refused(bomb, body_form(PATH, "application/json", "gzip"), 1000)
    assert (error.status, error.reason) == (413, "more than 1000 bytes when decompressed")
    error = refused(snappy.compress(b"\0" * 2000), PROTOBUF, 1000)
    assert (error.status, error.reason) == (413, "2000 bytes when decompressed; 1000 are allowed")


def test_json_of_more_entries_than_there_is_memory_for_is_refused_before_it_is_read() -> None:
    body = push(*(["1", ""] for _ in range(3000)))
    assert len(only(body).entries) == 3000
    error = refused(body, JSON, 100_000)
    assert (error.status, "entries; 1562 are allowed" in error.reason) == (413, True)


def test_a_line_of_ten_megabytes_is_read() -> None:
    body = push(["1", "x" * 10_000_000])
    (stream,) = read_streams(body, JSON, 1 << 30)
    assert len(stream.entries[0].line) == 10_000_000


def test_bytes_that_are_not_utf8_are_replaced_and_cost_no_other_line() -> None:
    body = push(["1", "GARBLED"], ["2", "good"]).replace(b"GARBLED", b"caf\xe9")
    assert [entry.line for entry in only(body).entries] == ["caf�".encode(), b"good"]


def test_values_of_labels_may_be_numbers_as_in_loki() -> None:
    body = b'{"streams": [{"stream": {"a": 1.50, "b": true, "c": "\\u00e9"}, "values": [["1", "x"]]}]}'
    assert only(body).labels == '{a="1.50", b="true", c="é"}'


def test_streams_and_requests_may_be_empty() -> None:
    for body in (b'{"streams": []}', b"{}", b'{"streams": [{"stream": {"a": "b"}, "values": []}]}'):
        assert read_request(body, JSON, 100) == b""
    body = b'{"streams": [{"stream": {"a": "b"}, "values": null}, {"stream": {}, "values": [null, ["1", "x"]]}]}'
    assert read_streams(body, JSON, 1000) == [Stream('{a="b"}'), Stream("{}", [Entry(1, b"x")])]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "not a push request"),
        (b'{"streams": [{"values": [["1", "x"]]}]}', "missing required field `stream`"),
        (push([1, "x"]), "Expected `str`, got `int`"),
        (push(["1"]), "not a push request"),
        (push(["1", {"a": "b"}]), "Expected `str`, got `object`"),
        (push(["1", "x", {"a": 1}]), "Expected `str`, got `int`"),
        (push(["1.5", "x"]), "not a time in Unix nanoseconds"),
        (push(["+1", "x"]), "not a time in Unix nanoseconds"),
        (push(["٣", "x"]), "not a time in Unix nanoseconds"),
        (push(["9223372036854775808", "x"]), "not a time in Unix nanoseconds"),
        (b'{"x": ' + b"[" * 10_000, "not JSON"),
    ],
)
def test_what_is_no_push_in_json_is_refused_with_words(body: bytes, reason: str) -> None:
    error = refused(body)
    assert error.status == 400
    assert reason in error.reason


@pytest.mark.parametrize("time", ["", "now", "2018-02-30T00:00:00Z", "2018-01-01T00:00:00", "0001-01-01T00:00:00Z"])
def test_what_is_no_time_in_legacy_json_is_refused_with_words(time: str) -> None:
    body = json.dumps({"streams": [{"labels": "{}", "entries": [{"ts": time, "line": "x"}]}]}).encode()
    assert "not a time of RFC 3339" in refused(body, LEGACY).reason


@pytest.mark.parametrize(
    ("content_type", "content_encoding", "status", "reason"),
    [
        ("application/json", "br", 415, "content encoding 'br' is not accepted: gzip, deflate, snappy are"),
        ("", "", 400, "content type '' cannot be read"),
        ("json", "", 400, "content type 'json' cannot be read"),
        ("application/json; charset", "", 400, "cannot be read"),
    ],
)
def test_heads_that_say_nothing_we_know_are_refused(
    content_type: str, content_encoding: str, status: int, reason: str
) -> None:
    with pytest.raises(BadRequestError, match=reason) as raised:
        body_form(PATH, content_type, content_encoding)
    assert raised.value.status == status


@pytest.mark.parametrize(
    ("body", "content_type", "content_encoding", "status"),
    [
        (b"not snappy", "application/x-protobuf", "", 400),
        (snappy.compress(b"\x0a\x05ab"), "application/x-protobuf", "", 400),
        (push(["1", "x"]), "text/plain", "", 415),
        (b"not gzip", "application/json", "gzip", 400),
        (b"not deflate", "application/json", "deflate", 400),
        (gzip.compress(push(["1", "x"]))[:-4], "application/json", "gzip", 400),
    ],
)
def test_bodies_that_are_not_what_their_heads_say_are_refused(
    body: bytes, content_type: str, content_encoding: str, status: int
) -> None:
    with pytest.raises(BadRequestError) as raised:
        read_streams(body, body_form(PATH, content_type, content_encoding), 1 << 20)
    assert raised.value.status == status
