"""Lines with timestamps of their own, read the short way and in full, in Python and compiled."""

import pytest

from agent.scrape.labelling import Labelling
from agent.scrape.page import PageOptions
from agent.scrape.table import TableOptions
from agent.scrape.timed import split_timed
from pipeline.wire.errors import MalformedError
from pipeline.wire.exposition import Format, Lines, Sample
from pipeline.wire.remote_write import Labels
from tests.agent.scrape.pages import IMPLEMENTATIONS, T0, new_page, scrape, shown, stored

VALUES = ["1", "-2.5", "+.5", "5.", "1e9", "1.23456789012345e+09", "0.1", "9007199254740993", "123456789012345678901"]
ODD_VALUES = ["NaN", "nan", "-Inf", "1e999", "0x1p3", "1_0", ".", "1.2.3", "-", "", "1e", "é"]
STAMPS = ["0", "1", "1700000000001", "999999999999999999", "9223372036854775807", "9223372036854775808", "-5", "+5"]
ODD_STAMPS = [
    "1700000000.001",
    "1.7e9",
    "1700000000.123456789",
    ".5",
    "5.",
    "1.2.3",
    "NaN",
    "1_0",
    "0x5",
    "123456789012345678",
]
GAPS = [(" ", " ", ""), ("  ", " ", ""), ("\t", "\t ", " \t"), ("", " ", ""), (" ", "  ", ""), (" ", " ", " ")]
TAILS = [f" {value} {stamp}" for value in VALUES + ODD_VALUES for stamp in ["1700000000001", "1700000000.5"]]
TAILS += [f" 1.5 {stamp}" for stamp in STAMPS + ODD_STAMPS]
TAILS += [f"{before}1{between}1700000000001{behind}" for before, between, behind in GAPS]
TAILS += [" 1 5 6", ' 1 5 # {a="b"} 7', ' 1 # {a="b"} 7 8', " 1 5 x", " 1", " ", "", " 1\r 5", " 1 5\v"]
CONTENT_TYPES = {Format.TEXT: "text/plain", Format.OPENMETRICS: "application/openmetrics-text"}


def in_full(tail: str, page_format: Format) -> tuple[bytes, int | None] | None:
    try:
        entry = Lines(page_format).read(b'a{x="1"}' + tail.encode())
    except MalformedError:
        return None
    return (entry.value, entry.timestamp_ms) if isinstance(entry, Sample) else None


@pytest.mark.parametrize("page_format", list(CONTENT_TYPES))
@pytest.mark.parametrize("tail", TAILS)
def test_what_is_read_the_short_way_is_what_the_full_reader_reads(tail: str, page_format: Format) -> None:
    short = split_timed(tail.encode(), page_format)
    assert short is None or short == in_full(tail, page_format)


@pytest.mark.parametrize("page_format", list(CONTENT_TYPES))
@pytest.mark.parametrize("value", VALUES)
def test_ordinary_numbers_with_a_timestamp_are_read_the_short_way(value: str, page_format: Format) -> None:
    assert split_timed(f" {value} 1700000000".encode(), page_format) == in_full(f" {value} 1700000000", page_format)


@pytest.mark.parametrize("accelerated", IMPLEMENTATIONS)
@pytest.mark.parametrize("page_format", list(CONTENT_TYPES))
@pytest.mark.parametrize("tail", TAILS)
def test_a_known_series_takes_a_line_as_a_new_one_does(accelerated: bool, tail: str, page_format: Format) -> None:
    end = b"# EOF\n" if page_format is Format.OPENMETRICS else b""
    page = new_page(accelerated)
    scrape(page, b'a{x="1"} 7 0.0\n# EOF\n' if end else b'a{x="1"} 7 0\n', T0, CONTENT_TYPES[page_format])
    taken, parts = scrape(page, b'a{x="1"}' + tail.encode() + b"\n" + end, T0 + 1000, CONTENT_TYPES[page_format])
    read = in_full(tail, page_format)
    assert bool(taken.error) == (read is None)
    found = stored(parts)
    if read is None:
        assert found == {}
    elif read[1] is None:
        assert found == {'a{x="1"}': [(shown(read[0]), T0 + 1000)]}
    elif read[1] > T0 + 601_000:
        assert (found, taken.reading.out_of_bounds) == ({}, 1)
    elif read[1] > 0:
        assert found == {'a{x="1"}': [(shown(read[0]), read[1])]}
    else:
        assert found == {}
        assert taken.reading.out_of_order + taken.reading.duplicates == 1


@pytest.mark.parametrize("accelerated", IMPLEMENTATIONS)
def test_lines_of_known_series_are_not_labelled_again_whatever_becomes_of_their_timestamps(accelerated: bool) -> None:
    calls = []

    def relabel(labels: Labels) -> Labels | None:
        calls.append(labels)
        return None if dict(labels)["__name__"] == "dropped" else labels

    for honor in (True, False):
        options = PageOptions(table=TableOptions(honor_timestamps=honor))
        page = new_page(accelerated, options, Labelling(target=(), relabel=relabel))
        scrape(page, b"kept 1 1000\ndropped 1 1000\n")
        known = len(calls)
        taken, parts = scrape(page, b"kept 2.5 2000\ndropped 2 2000\n", T0 + 5)
        assert len(calls) == known
        assert stored(parts) == {"kept": [("2.5", 2000 if honor else T0 + 5)]}
        assert (taken.reading.scraped, taken.reading.kept, taken.reading.added) == (2, 1, 0)


@pytest.mark.parametrize("accelerated", IMPLEMENTATIONS)
def test_requests_of_timed_samples_keep_within_samples_and_bytes(accelerated: bool) -> None:
    # A time of 1970 or of another age has a shorter or longer encoding.
    times = [5, 300, 70_000, T0 - 1, T0, -7]
    for most_samples, most_bytes in [(10, 1 << 20), (4, 1 << 20), (1, 1 << 20), (10, 100), (10, 1)]:
        page = new_page(accelerated, PageOptions(max_samples=most_samples, max_bytes=most_bytes))
        seconds = [f"{time_ms // 1000}.{time_ms % 1000:03d}" if time_ms > 0 else "-0.007" for time_ms in times]
        body = "".join(f'a{{x="{"y" * 60}{number}"}} 1 {at}\n' for number, at in enumerate(seconds)) + "# EOF\n"
        _, parts = scrape(page, body.encode(), T0, "application/openmetrics-text")
        assert sorted(samples[0][1] for samples in stored(parts).values()) == sorted(times)
        for part in parts:
            assert part.items <= most_samples
            assert part.items <= 1 or part.raw_bytes <= most_bytes
