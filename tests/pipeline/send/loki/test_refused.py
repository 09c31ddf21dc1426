"""Loki's words, as Loki 3.7.8 wrote them, and which of the sent entries they mean."""

import time

import pytest

from pipeline.send.loki.refused import Sent, refused_entries
from pipeline.send.loki.words import Rate, read_rate
from pipeline.wire.loki import NS, Entry, encode_entry

A = b'{app="a"}'
NAMED = '{app="a", service_name="a"}'
AT = 1_795_284_477 * NS  # 2026-11-21T18:07:57Z


def sent(*lines: tuple[int, str], metadata: tuple[tuple[str, str], ...] = ()) -> list[Sent]:
    entries = [Entry(at_ns, line.encode(), metadata) for at_ns, line in lines]
    return [Sent(0, encode_entry(*entry), entry) for entry in entries]


def refused(words: str, entries: list[Sent], labels: bytes = A) -> list[str] | None:
    found = refused_entries(words, {labels: entries, b'{app="other"}': []} if labels == A else {labels: entries})
    return None if found is None else sorted(one.sent.entry.line.decode() for one in found)


def behind(words: str, entries: list[Sent]) -> list[str] | None:
    found = refused_entries(words, {A: entries})
    return None if found is None else [one.sent.entry.line.decode() for one in found]


def test_lines_are_known_by_their_length_and_their_number() -> None:
    words = (
        f"2 errors like: max entry size '3' bytes exceeded for stream '{NAMED}' while adding an entry with length '5'"
        f" bytes; 1 errors like: max entry size '3' bytes exceeded for stream '{NAMED}' while adding an entry with"
        " length '6' bytes"
    )
    entries = sent((AT, "four4"), (AT, "abc"), (AT, "five5"), (AT, "sixsix"))
    assert refused(words, entries) == ["five5", "four4", "sixsix"]
    assert refused(words, entries[:3]) is None
    assert refused(words, [*entries, *sent((AT, "more!"))]) is None


def test_of_a_second_that_is_named_the_oldest_are_too_old_and_the_newest_too_new() -> None:
    entries = sent((AT + 5, "5"), (AT + 1, "1"), (AT + 9, "9"), (AT + NS, "next"))
    old = f"2 errors like: entry for stream '{NAMED}' has timestamp too old: 2026-11-21T18:07:57Z, oldest acceptable"
    assert refused(old + " timestamp is: 2026-11-21T18:07:57Z", entries) == ["1", "5"]
    new = f"entry for stream '{NAMED}' has timestamp too new: 2026-11-21T18:07:57Z"
    assert refused(new, entries) == ["9"]


def test_an_entry_is_refused_for_the_first_of_its_faults() -> None:
    entries = sent((AT - 1, "old and long"), (AT, "just as long"))
    words = (
        f"1 errors like: max entry size '3' bytes exceeded for stream '{NAMED}' while adding an entry with length '12'"
        f" bytes; 1 errors like: entry for stream '{NAMED}' has timestamp too old: 2026-11-21T18:07:56Z, oldest"
        " acceptable timestamp is: 2026-11-21T18:07:57Z"
    )
    found = refused_entries(words, {A: entries})
    assert found is not None
    assert {one.sent.entry.line.decode(): one.reason.split()[0] for one in found} == {
        "old and long": "entry",
        "just as long": "max",
    }


@pytest.mark.parametrize(
    "words",
    [
        f"stream '{NAMED}' has label value too long: 'it's; 3 errors'",
        f"stream '{NAMED}' has label name too long: 'x'",
        f"stream '{NAMED}' has duplicate label name: 'x'",
        f"entry for stream '{NAMED}' has 16 label names; limit 15",
        f"missing required labels 'team' for user 'fake' for stream '{NAMED}' (policy: '')",
        f"maximum active stream limit exceeded when trying to create stream {NAMED}, reduce the number of active"
        " streams (reduce labels or reduce label values), or contact your Loki administrator to see if the limit can be"
        " increased, user: 'fake'",
    ],
)
def test_a_fault_of_a_stream_is_one_of_all_its_entries(words: str) -> None:
    assert refused(words, sent((AT, "one"), (AT, "two"))) == ["one", "two"]


@pytest.mark.parametrize(
    "words",
    [
        "",
        "something else",
        f"max entry size '3' bytes exceeded for stream '{NAMED}' while adding an entry with length '4' bytes and more",
        "max entry size '3' bytes exceeded for stream '{app=\"b\"}' while adding an entry with length '4' bytes",
        "stream '{app=}' has duplicate label name: 'x'",
        f"entry for stream '{NAMED}' has timestamp too new: yesterday",
    ],
)
def test_what_does_not_fit_is_not_understood(words: str) -> None:
    assert refused(words, sent((AT, "four"))) is None


def test_labels_that_hold_quotes_braces_and_words_of_errors_are_read() -> None:
    labels = rb'{app="a}\"; 2 errors like: "}'
    words = "stream '" + labels.decode() + "' has duplicate label name: 'x'"
    assert refused(words, sent((AT, "one")), labels) is None
    plain = rb'{app="a}\"' b", 'b\"}"
    assert refused("stream '" + plain.decode() + "' has duplicate label name: 'x'", sent((AT, "one")), plain) == ["one"]


def late(entries: int, *times: str, refused: int | None = None) -> str:
    return (
        "".join(
            f"entry with timestamp 2026-11-21 {at} +0000 UTC ignored, reason: 'entry too far behind, entry timestamp"
            " is: 2026-11-21T18:07:57Z, oldest acceptable timestamp is: 2026-11-21T18:08:00Z',\n"
            for at in times
        )
        + f"user 'fake', total ignored: {refused or len(times)} out of {entries} for stream: {NAMED}\n"
    )


def test_an_ingester_names_the_first_and_the_oldest_are_meant() -> None:
    entries = sent((AT + 3, "c"), (AT + 1, "a"), (AT + 9, "new"), (AT + 2, "b"))
    three = late(4, "18:07:57.000000003", "18:07:57.000000001", "18:07:57.000000002")
    assert behind(three, entries) == ["c", "a", "b"]
    assert behind(late(4, "18:07:57.000000003", refused=3), entries) == ["c", "a", "b"]
    assert behind(late(4, "18:07:57.000000009", refused=3), entries) is None


def test_where_the_ingester_got_less_than_was_sent_something_else_was_refused_too() -> None:
    assert behind(late(1, "18:07:57"), sent((AT, "a"), (AT + NS, "too long"))) is None


def test_thousands_of_refusals_do_not_take_long() -> None:
    entries = sent(*((AT + n * NS, f"{n}") for n in range(5000)))
    words = "; ".join(
        f"1 errors like: entry for stream '{NAMED}' has timestamp too new: "
        + time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(AT // NS + n))
        for n in range(5000)
    )
    found = refused(words, entries)
    assert found is not None
    assert len(found) == 5000


def test_rates_are_read() -> None:
    tenant = (
        "ingestion rate limit exceeded for user t (limit: 4194304 bytes/sec) while attempting to ingest '1' lines"
        " totaling '9' bytes, reduce log volume"
    )
    assert read_rate(tenant) == Rate(False, 4194304)
    stream = (
        "entry with timestamp x ignored, reason: 'Per stream rate limit exceeded (limit: 3MB/sec) while attempting to"
        f" ingest for stream '{NAMED}' totaling 1.5KB, consider',\nuser 'fake', total ignored: 2 out of 3 for stream:"
        f" {NAMED}"
    )
    assert read_rate(stream) == Rate(True, 3 * 2**20, 2)
    assert read_rate("HTTP 503") is None
