import pytest

from pipeline.delivery import Delivered, Rejected, Retry, TooLarge
from pipeline.send.classify import classify

NOW_S = 1_790_000_000.0


@pytest.mark.parametrize("status", [200, 202, 204])
def test_success_is_delivered(status: int) -> None:
    assert classify(status, {}, b"", now_s=NOW_S) == Delivered()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_store_in_trouble_is_tried_again(status: int) -> None:
    unclear = status in (500, 502, 504)
    assert classify(status, {}, b"later", now_s=NOW_S) == Retry(f"HTTP {status}: later", perhaps_taken=unclear)


@pytest.mark.parametrize("status", [301, 401, 403, 404, 405, 415])
def test_what_concerns_the_sink_is_tried_again_with_an_alarm(status: int) -> None:
    assert classify(status, {}, b"", now_s=NOW_S) == Retry(f"HTTP {status}", alarm=True)


@pytest.mark.parametrize(
    ("value", "after_s"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("Mon, 21 Sep 2026 14:13:30 GMT", 10.0),
        ("Mon, 21 Sep 2020 14:13:30 GMT", 0.0),
        ("soon", None),
        ("-1", None),
    ],
)
def test_retry_after_is_read_in_both_forms(value: str, after_s: float | None) -> None:
    assert classify(429, {"Retry-After": value}, b"", now_s=NOW_S) == Retry("HTTP 429", after_s)


def test_a_request_that_is_too_large_is_split() -> None:
    assert classify(413, {}, b"max 1 MiB", now_s=NOW_S) == TooLarge("HTTP 413: max 1 MiB")


@pytest.mark.parametrize("status", [400, 409, 422])
def test_refused_data_is_rejected_in_the_stores_own_words(status: int) -> None:
    assert classify(status, {}, b"label  name\nis bad", now_s=NOW_S) == Rejected(
        f"HTTP {status}: label name is bad", status
    )


@pytest.mark.parametrize(
    "words",
    [
        "out of order sample",
        "duplicate sample for timestamp 1790000000000; overrides not allowed: existing 1, new value 2",
        "too old sample",
        "out of bounds",
        "the sample has been rejected because another sample with a more recent timestamp has already been ingested and"
        " out-of-order samples are not allowed (err-mimir-sample-out-of-order)",
        "failed pushing to ingester: user=a: the sample has been rejected because its timestamp is too old"
        " (err-mimir-sample-timestamp-too-old)",
        "(err-mimir-sample-duplicate-timestamp)",
    ],
)
def test_words_that_say_the_sample_is_there_or_older_mean_a_duplicate(words: str) -> None:
    outcome = classify(400, {}, words.encode(), now_s=NOW_S)
    assert isinstance(outcome, Rejected)
    assert outcome.duplicate


@pytest.mark.parametrize(
    "words",
    [
        "out of bounds: timestamp is too far in the future",
        "received a sample whose timestamp is too far in the future (err-mimir-too-far-in-future)",
        "label name too long (err-mimir-label-name-too-long)",
        "",
    ],
)
def test_other_words_do_not(words: str) -> None:
    outcome = classify(400, {}, words.encode(), now_s=NOW_S)
    assert isinstance(outcome, Rejected)
    assert not outcome.duplicate


def test_long_answers_are_cut() -> None:
    outcome = classify(400, {}, b"x" * 100_000, now_s=NOW_S)
    assert isinstance(outcome, Rejected)
    assert len(outcome.reason) < 1100


def test_a_2_0_success_is_believed_when_the_receiver_confirms_it() -> None:
    headers = {"X-Prometheus-Remote-Write-Samples-Written": "3", "X-Prometheus-Remote-Write-Histograms-Written": "2"}
    assert classify(204, headers, b"", now_s=NOW_S, confirm_items=5) == Delivered()


def test_a_2_0_success_without_confirmation_is_a_receiver_that_does_not_know_2_0() -> None:
    outcome = classify(204, {}, b"", now_s=NOW_S, confirm_items=5)
    assert isinstance(outcome, Retry)
    assert outcome.alarm


def test_a_2_0_success_that_confirms_less_is_a_refusal_of_some() -> None:
    headers = {"X-Prometheus-Remote-Write-Samples-Written": "3"}
    assert isinstance(classify(204, headers, b"", now_s=NOW_S, confirm_items=5), Rejected)
