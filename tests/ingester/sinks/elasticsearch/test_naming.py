"""Ids and indices: the same for the same record, others for others."""

from dataclasses import replace
from itertools import islice
from typing import Any

from ingester.sinks.elasticsearch.naming import id_prefix, index_of, ordinals
from tests.ingester.sinks.elasticsearch.parts import LogLane


def test_an_id_follows_from_the_record_and_from_everything_that_tells_it_from_others() -> None:
    piece = LogLane().lines([b"x"])
    envelope = piece.envelope
    assert envelope is not None
    changes: list[dict[str, Any]] = [
        {"cluster": "c2"},
        {"agent": "a2"},
        {"epoch": 1},
        {"lane": 1},
        {"sequence": 1},
        {"sequence": 2**40},
    ]
    others = [replace(envelope, **change) for change in changes]
    # What a gateway or a redelivery may change says nothing.
    same = replace(envelope, created_ms=1, tenant="t", traceparent="x", lane_items=7)
    assert id_prefix(envelope, piece.payload) == id_prefix(same, piece.payload) == b"JS0AFkgBI4J_9wAAAAAAAAAA"
    assert len({id_prefix(one, piece.payload) for one in (envelope, *others)}) == 7


def test_a_part_of_a_record_has_ids_of_its_own() -> None:
    piece, other = LogLane().lines([b"x"]), LogLane().lines([b"y"])
    assert piece.envelope is not None and other.envelope is not None
    whole, part = id_prefix(piece.envelope, piece.payload), id_prefix(piece.envelope, other.payload)
    assert whole != part == id_prefix(piece.envelope, other.payload)


def test_ordinals_are_distinct_and_go_on_from_part_to_part() -> None:
    first = list(islice(ordinals(0), 10_000))
    assert len(set(first)) == 10_000
    assert list(islice(ordinals(4_000), 200)) == first[4_000:4_200]
    assert {len(one) for one in first} == {4}
    around = list(islice(ordinals(2**24 - 2), 8_200))
    assert len({*around, *first}) == 18_200


def test_an_index_is_that_of_the_day_in_utc() -> None:
    before_midnight_ms = 1_790_035_199_999
    assert index_of("p", "logs", "d", before_midnight_ms) == "p-logs-d-2026.09.21"
    assert index_of("p", "logs", "d", before_midnight_ms + 1) == "p-logs-d-2026.09.22"
    assert index_of("p", "metrics", "d", None) == "p-metrics-d"
    assert index_of("p", "logs", "d", 2**62) == "p-logs-d-1970.01.01"
