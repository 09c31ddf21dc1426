"""grafana/loki, pkg/loghttp/push/push_test.go, as data: the requests that Loki takes, and what it reads in them."""

import base64
from typing import Any

import pytest

from pipeline.receive.errors import BadRequestError
from pipeline.receive.loki_push import body_form, read_request, read_streams
from pipeline.wire.loki import Stream, decode, parse_labels
from tests.conformance.data import folder, json_lines

CASES = json_lines(folder("loki") / "push_cases.jsonl")


def read_both(case: dict[str, Any]) -> tuple[list[Stream], list[Stream]]:
    """Read a case's request as values, and as what is carried on."""
    body = base64.b64decode(case["body_b64"])
    form = body_form(case["path"], case["content_type"], case["content_encoding"])
    return read_streams(body, form, 1 << 20), list(decode(read_request(body, form, 1 << 20)))


def test_the_cases_are_the_ones_that_were_recorded() -> None:
    assert (len(CASES), sum(case["valid"] for case in CASES)) == (13, 8)


@pytest.mark.parametrize("case", CASES)
def test_requests_are_taken_and_refused_as_by_loki(case: dict[str, Any]) -> None:
    if not case["valid"]:
        with pytest.raises(BadRequestError) as raised:
            read_both(case)
        assert raised.value.status in (400, 415)
        assert raised.value.reason
        return
    streams, carried = read_both(case)
    assert [(*parse_labels(one.labels), *one.entries) for one in streams] == [
        (*parse_labels(one.labels), *one.entries) for one in carried
    ]
    # Loki names a service after other labels where a tenant's limits ask for it: left for the Loki at the end.
    sent = [dict(parse_labels(stream.labels)) for stream in streams]
    expected = [dict(labels) for labels in case["expected_labels"]]
    assert [
        labels | {"service_name": labels["job"]} if "service_name" in theirs else labels
        for labels, theirs in zip(sent, expected, strict=True)
    ] == expected
    # The counts are by a policy that a test of Loki's finds in the label `environment`.
    assert sum(len(stream.entries) for stream in streams) == sum(case["expected_lines"].values())
    assert {entry.line for stream in streams for entry in stream.entries} == {b"fizzbuzz"}
