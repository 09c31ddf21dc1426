"""What each answer of a bulk request means."""

import json
from typing import Any

import pytest

from ingester.sinks.elasticsearch.classify import Pressed, Verdict, judge
from pipeline.delivery import Retry, TooLarge

Status = int | tuple[int, str] | tuple[int, str, str]


def answer(*results: Status) -> bytes:
    items: list[Any] = []
    for result in results:
        status, kind, *reason = result if isinstance(result, tuple) else (result, "")
        error = {"error": {"type": kind, "reason": reason[0] if reason else "why"}} if kind else {}
        items.append({"create": {"status": status, **error}})
    return json.dumps({"errors": True, "items": items}).encode()


def judged(*results: Status) -> Verdict:
    verdict = judge(200, {}, answer(*results), range(len(results)), now_s=0)
    assert isinstance(verdict, Verdict)
    return verdict


def test_created_and_already_there_is_done() -> None:
    assert judged(201, 200, (409, "version_conflict_engine_exception")) == Verdict()


@pytest.mark.parametrize(
    "result",
    [
        (400, "document_parsing_exception"),
        (400, "mapper_parsing_exception"),
        (400, "illegal_argument_exception", "Limit of total fields [1000] has been exceeded"),
        (413, "too_large"),
    ],
)
def test_what_a_document_is_refused_for_concerns_it_alone(result: tuple[int, str]) -> None:
    verdict = judged(201, result, 201)
    assert [refused.number for refused in verdict.refused] == [1]
    assert (verdict.open, verdict.trouble) == ([], None)
    assert verdict.refused[0].reason.startswith(f"HTTP {result[0]}: {result[1]}: ")


@pytest.mark.parametrize(
    ("result", "alarm"),
    [
        ((429, "es_rejected_execution_exception"), False),
        ((429, "circuit_breaking_exception"), False),
        ((503, "unavailable_shards_exception"), False),
        ((429, "cluster_block_exception", "disk usage exceeded flood-stage watermark"), True),
        ((403, "cluster_block_exception", "index read-only (api)"), True),
        ((403, "security_exception"), True),
        ((404, "index_not_found_exception"), True),
        ((400, "index_closed_exception"), True),
        ((400, "validation_exception", "this cluster currently has [1000]/[1000] maximum shards open"), True),
        ((400, "illegal_argument_exception", "no write index is defined for alias [x]"), True),
        ((400, "illegal_argument_exception", "pipeline with id [x] does not exist"), True),
        ((500, "null_pointer_exception"), True),
    ],
)
def test_what_is_no_documents_fault_is_tried_again(result: tuple[int, str], alarm: bool) -> None:
    verdict = judged(result, 201)
    assert (verdict.open, verdict.refused) == ([0], [])
    assert verdict.trouble is not None and verdict.trouble.alarm is alarm


def test_an_alarm_is_told_before_what_heals_by_itself() -> None:
    verdict = judged((429, "es_rejected_execution_exception"), (403, "security_exception"), (503, "x"))
    assert verdict.open == [0, 1, 2]
    assert verdict.trouble is not None and "security_exception" in verdict.trouble.reason


def test_the_causes_of_a_refusal_are_told() -> None:
    cause: dict[str, Any] = {"type": "inner", "reason": "deep", "caused_by": {"type": "innermost", "reason": None}}
    error = {"type": "document_parsing_exception", "reason": "outer", "caused_by": cause}
    body = json.dumps({"errors": True, "items": [{"create": {"status": 400, "error": error}}]}).encode()
    verdict = judge(200, {}, body, [7], now_s=0)
    assert isinstance(verdict, Verdict)
    assert verdict.refused[0].number == 7
    assert verdict.refused[0].reason == "HTTP 400: document_parsing_exception: outer; inner: deep; innermost"


def test_the_words_of_a_pressed_server_are_the_same_every_time() -> None:
    words = {judged((429, "es_rejected_execution_exception", f"task {n}")).trouble for n in range(3)}
    assert words == {Retry("HTTP 429: es_rejected_execution_exception")}
    for n in range(2):
        body = json.dumps({"error": {"type": "es_rejected_execution_exception", "reason": f"{n} bytes"}}).encode()
        pressed = judge(429, {"Retry-After": "3"}, body, [0], now_s=0)
        assert pressed == Pressed(Retry("HTTP 429: es_rejected_execution_exception", after_s=3))


@pytest.mark.parametrize(("status", "alarm"), [(500, False), (503, False), (401, True), (403, True), (400, True)])
def test_a_request_refused_as_a_whole_is_tried_again(status: int, alarm: bool) -> None:
    retry = judge(status, {}, b"why", [0], now_s=0)
    assert isinstance(retry, Retry) and retry.alarm is alarm and "why" in retry.reason


def test_a_request_that_is_too_large_says_so() -> None:
    assert isinstance(judge(413, {}, b"", [0], now_s=0), TooLarge)


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"items": [{"create": {}}]}', answer(201, 201)])
def test_what_is_no_answer_to_the_request_is_no_success(body: bytes) -> None:
    retry = judge(200, {}, body, [0], now_s=0)
    assert isinstance(retry, Retry) and retry.alarm
