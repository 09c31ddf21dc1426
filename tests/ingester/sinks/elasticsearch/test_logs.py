"""Records of logs as bulk bodies, byte by byte."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingester.sinks.elasticsearch.logs import LogDocuments
from pipeline.send.request import Piece
from pipeline.wire import loki, snappy
from pipeline.wire.errors import MalformedError
from pipeline.wire.protobuf import encode_bytes, encode_varint
from tests.ingester.sinks.elasticsearch.parts import CREATED_MS, Streams, payload_of, piece_of, section

NS = 1_000_000_000


def documents(**more: Any) -> LogDocuments:
    return LogDocuments(section(index_prefix="pronoia", **more))


def sources(piece: Piece, **more: Any) -> list[dict[str, Any]]:
    return [json.loads(document.split(b"\n")[1]) for document in documents(**more).build(piece).documents]


def of(*streams: bytes, items: int = 1) -> Piece:
    return piece_of(snappy.compress(b"".join(streams)), items)


def test_a_record_is_this_body() -> None:
    labels = {"cluster": "c1", "job": 'a "b"', "level": "warn"}
    piece = piece_of(
        payload_of(
            [
                (labels, [(NS, b"one"), (CREATED_MS * 10**6 + 5, b'two\n\x00"\\\xff', (("id", "7"), ("n", "\u2713")))]),
                ({"cluster": "c1", "service_name": "s"}, [(0, b"")]),
            ]
        ),
        3,
        sequence=2,
        first_item=4095,
    )
    built = documents().build(piece)
    assert built.indices == {"pronoia-logs-default-2026.09.21"}
    start = b'{"create":{"_index":"pronoia-logs-default-2026.09.21","_id":"JS0AFkgBI4J_9wAAAAAAAAAC'
    common = b'{"orchestrator.cluster.name":"c1","event.dataset":"default","labels":'
    first = common + rb'{"cluster":"c1","job":"a \"b\"","level":"warn"},"log.level":"warn","@timestamp":"'
    assert list(built.documents) == [
        start + b'AA__"}}\n' + first + b'1970-01-01T00:00:01.000000000Z","message":"one"}\n',
        start
        + b'ABAA"}}\n'
        + first
        + rb'2026-09-21T14:13:20.000000005Z","message":"two\n\u0000\"\\'
        + '\ufffd","metadata":{"id":"7","n":"\u2713"}}\n'.encode(),
        start
        + b'ABAB"}}\n'
        + common
        + b'{"cluster":"c1","service_name":"s"},"service.name":"s","@timestamp":"'
        + b'1970-01-01T00:00:00.000000000Z","message":""}\n',
    ]


def test_metadata_fills_a_field_that_no_label_does() -> None:
    piece = piece_of(
        payload_of(
            [
                ({"job": "j"}, [(NS, b"", (("detected_level", "info"),))]),
                ({"level": "warn"}, [(NS, b"", (("detected_level", "info"),))]),
            ]
        ),
        2,
    )
    assert [source["log.level"] for source in sources(piece)] == ["info", "warn"]
    assert ["log.level" in source for source in sources(piece, fields={})] == [False, False]
    assert [source["kubernetes.job"] for source in sources(piece, fields={"job": "kubernetes.job"})[:1]] == ["j"]


def test_a_tenant_is_told_and_is_not_taken_for_anothers() -> None:
    made, payload = documents(), payload_of([({"a": "b"}, [(0, b"")])])
    found = []
    for tenant in ("t1", "", "t2"):
        (document,) = made.build(piece_of(payload, 1, tenant=tenant)).documents
        found.append(json.loads(document.split(b"\n")[1]).get("organization.id"))
    assert found == ["t1", None, "t2"]


def test_entries_in_any_encoding_are_read() -> None:
    line, metadata = encode_bytes(loki.LINE, b"x"), encode_bytes(loki.METADATA, b"\x0a\x01k\x12\x01v")
    time = encode_bytes(loki.TIMESTAMP, b"\x10\x07\x08\x05")
    usual = encode_bytes(loki.TIMESTAMP, b"\x08\x05\x10\x07")
    padded = encode_bytes(loki.TIMESTAMP, b"\x08\x85\x00\x10\x07")
    unknown = encode_bytes(0x7A, b"what comes later")
    entries = [
        encode_bytes(loki.ENTRY, content)
        for content in (usual + line, line + usual, time + line, padded + line, unknown + usual + line, line)
    ]
    entries.append(encode_bytes(loki.ENTRY, usual + line + metadata))
    entries.append(encode_bytes(loki.ENTRY, metadata + usual + line + unknown))
    content = b"\x18" + encode_varint(9) + b"".join(entries) + encode_bytes(loki.STREAM_LABELS, b'{a="b"}')
    found = sources(of(encode_bytes(loki.STREAM, content), encode_bytes(0x7A, b"unknown"), items=8))
    assert {source["message"] for source in found} == {"x"}
    assert [source["labels"] for source in found] == [{"a": "b"}] * 8
    seconds = ["05.000000007"] * 5 + ["00.000000000"] + ["05.000000007"] * 2
    assert [source["@timestamp"] for source in found] == [f"1970-01-01T00:00:{second}Z" for second in seconds]
    assert [source.get("metadata") for source in found] == [None] * 6 + [{"k": "v"}] * 2


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (4_102_444_800 * NS, "2100-01-01T00:00:00.000000000Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854775807Z"),
        (-62_135_596_800 * NS, "0001-01-01T00:00:00.000000000Z"),
        (-62_135_596_801 * NS, "-62135596801.000000000Z"),
        (253_402_300_800 * NS, "253402300800.000000000Z"),
    ],
)
def test_every_time_is_written_for_the_store_to_judge(time_ns: int, text: str) -> None:
    (source,) = sources(piece_of(payload_of([({"a": "b"}, [(time_ns, b"")])]), 1))
    assert source["@timestamp"] == text


@pytest.mark.parametrize(
    "raw",
    [
        b"\x0a\x05",
        encode_bytes(loki.STREAM, encode_bytes(loki.ENTRY, b"")),
        encode_bytes(loki.STREAM, encode_bytes(loki.STREAM_LABELS, b"a")),
        encode_bytes(loki.STREAM, encode_bytes(loki.STREAM_LABELS, b'{a="\xff"}')),
        encode_bytes(loki.STREAM, encode_bytes(loki.STREAM_LABELS, b'{a="b"}') + b"\x12\x7f\x0a\x00\x12\x00"),
        encode_bytes(loki.STREAM, encode_bytes(loki.STREAM_LABELS, b'{a="b"}') + b"\x12\x07\x0a\x02\x08\x01\x12\x7fx"),
    ],
)
def test_what_is_no_request_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        documents().build(of(raw))


LABELS = st.dictionaries(st.from_regex(r"[a-z_]{1,5}", fullmatch=True), st.text(max_size=5), min_size=1, max_size=3)
PAIRS = st.dictionaries(st.text(min_size=1, max_size=3), st.text(max_size=3), max_size=2).map(
    lambda d: tuple(d.items())
)
ENTRIES = st.lists(st.tuples(st.integers(0, 2**62), st.binary(max_size=300), PAIRS), max_size=5)


@given(st.lists(st.tuples(LABELS, ENTRIES), max_size=4))
def test_documents_say_what_the_codec_reads(streams: Streams) -> None:
    piece = piece_of(payload_of(streams), sum(len(entries) for _, entries in streams))
    found = iter(sources(piece, fields={}))
    for stream in loki.decode(snappy.decompress(piece.payload)):
        for entry in stream.entries:
            source, whole = next(found), datetime.fromtimestamp(entry.time_ns // NS, UTC)
            assert source["labels"] == dict(loki.parse_labels(stream.labels))
            assert source["message"] == entry.line.decode(errors="replace")
            assert source["@timestamp"] == f"{whole:%Y-%m-%dT%H:%M:%S}.{entry.time_ns % NS:09d}Z"
            assert source.get("metadata", {}) == dict(entry.metadata)
    assert next(found, None) is None


@given(st.lists(st.tuples(LABELS, ENTRIES), max_size=4), st.sets(st.integers(0, 10)))
def test_a_part_holds_the_entries_of_its_documents(streams: Streams, chosen: set[int]) -> None:
    total = sum(len(entries) for _, entries in streams)
    wanted: Sequence[int] = sorted(number for number in chosen if number < total)
    piece = piece_of(payload_of(streams), total)
    part = documents().part(piece, wanted)
    every = [(s.labels, entry) for s in loki.decode(snappy.decompress(piece.payload)) for entry in s.entries]
    there = [(s.labels, entry) for s in loki.decode(snappy.decompress(part.payload)) for entry in s.entries]
    assert there == [every[number] for number in wanted]
    assert part.items == len(wanted)


def test_what_is_known_of_labels_is_forgotten_before_it_takes_too_much_memory() -> None:
    made = documents()
    for number in range(30):
        made.build(of(loki.encode_stream(loki.encode_labels([("a", f"{number}" + "x" * 2**20)]), b"")))
    assert len(made._known) < 20
