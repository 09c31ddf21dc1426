"""Syslog messages: the examples of RFC 5424 and RFC 3164, what devices send beside them, and what is none of both."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from pipeline.wire.syslog import FACILITIES, SEVERITIES, Message, parse

NOW_NS = 1_760_000_000 * 10**9  # 2025-10-09


def at(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int(moment.replace(microsecond=0).timestamp()) * 10**9 + moment.microsecond * 1000


GOLDEN = [
    (  # RFC 5424 6.5, example 1
        b"<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \xef\xbb\xbf'su root' failed for lonvick on"
        b" /dev/pts/8",
        Message(
            "'su root' failed for lonvick on /dev/pts/8",
            34,
            at("2003-10-11T22:14:15.003Z"),
            "mymachine.example.com",
            "su",
            "",
            "ID47",
        ),
    ),
    (  # example 2
        b"<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.",
        Message(
            "%% It's time to make the do-nuts.",
            165,
            at("2003-08-24T12:14:15.000003Z"),
            "192.0.2.1",
            "myproc",
            "8710",
        ),
    ),
    (  # example 3
        b'<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut="3" eventSource='
        b'"Application" eventID="1011"] \xef\xbb\xbfAn application event log entry...',
        Message(
            "An application event log entry...",
            165,
            at("2003-10-11T22:14:15.003Z"),
            "mymachine.example.com",
            "evntslog",
            "",
            "ID47",
            {"exampleSDID@32473": {"iut": "3", "eventSource": "Application", "eventID": "1011"}},
        ),
    ),
    (  # example 4: structured data only
        b'<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut="3"][example'
        b'Priority@32473 class="high"]',
        Message(
            "",
            165,
            at("2003-10-11T22:14:15.003Z"),
            "mymachine.example.com",
            "evntslog",
            "",
            "ID47",
            {"exampleSDID@32473": {"iut": "3"}, "examplePriority@32473": {"class": "high"}},
        ),
    ),
    (  # what has to be escaped in a value (6.3.3), and an element without parameters
        rb'<0>1 - - - - - [a b="\"x\" \\ \] \n"][c] t',
        Message("t", 0, elements={"a": {"b": '"x" \\ ] \\n'}, "c": {}}),
    ),
    (b"<0>1 - - - - - -", Message("", 0)),
    (b"<0>1 - - - - - - ", Message("", 0)),
    (b"<191>1 - h a p m - two\nlines\n", Message("two\nlines", 191, None, "h", "a", "p", "m")),
    (  # RFC 3164 5.4, example 1
        b"<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
        Message("'su root' failed for lonvick on /dev/pts/8", 34, at("2025-10-11T22:14:15Z"), "mymachine", "su"),
    ),
    (b"Use the BFG!", Message("Use the BFG!")),  # example 2
    (
        b"<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!",
        Message("Use the BFG!", 13, at("2026-02-05T17:32:18Z"), "10.0.0.99"),
    ),
    (  # rsyslog's RSYSLOG_ForwardFormat
        b"<30>2024-01-01T00:00:00.123456+01:00 host sshd[12]: hi",
        Message("hi", 30, at("2023-12-31T23:00:00.123456Z"), "host", "sshd", "12"),
    ),
    (  # Cisco's, with a year and milliseconds
        b"<189>Oct 11 2024 22:14:15.250: %SYS-5-CONFIG_I: Configured",
        Message("Configured", 189, at("2024-10-11T22:14:15.250Z"), "", "%SYS-5-CONFIG_I"),
    ),
    (b"<13>Oct 11 22:14:15 su[7]: local", Message("local", 13, at("2025-10-11T22:14:15Z"), "", "su", "7")),
    (b"<13>Oct 11 22:14:15 fe80::1 app: x", Message("x", 13, at("2025-10-11T22:14:15Z"), "fe80::1", "app")),
    (b"<13>Feb 30 22:14:15 h t: no such day", Message("no such day", 13, None, "h", "t")),
    (b"<192>x", Message("<192>x")),
    (b"<>x", Message("<>x")),
    (b"<13>", Message("", 13)),
    (b"", Message("")),
    (b"<13>\xff\x00\xfe\x00", Message("\ufffd\x00\ufffd", 13)),
]


@pytest.mark.parametrize(("frame", "message"), GOLDEN)
def test_a_message_is_read(frame: bytes, message: Message) -> None:
    assert parse(frame, NOW_NS, zone=UTC) == message


def test_priorities_have_the_names_that_promtail_gives_them() -> None:
    assert [Message("", 8 * number).facility for number in range(24)] == list(FACILITIES)
    assert [Message("", number).severity for number in range(8)] == list(SEVERITIES)
    assert (Message("", 165).facility, Message("", 165).severity) == ("local4", "notice")
    assert (Message("").facility, Message("").severity) == ("", "")


def test_an_old_message_is_of_the_year_that_is_nearest() -> None:
    january = at("2026-01-01T00:00:30Z")
    assert parse(b"<1>Dec 31 23:59:59 h t: x", january, zone=UTC).time_ns == at("2025-12-31T23:59:59Z")
    december = at("2025-12-31T23:59:50Z")
    assert parse(b"<1>Jan  1 00:00:10 h t: x", december, zone=UTC).time_ns == at("2026-01-01T00:00:10Z")
    east = timezone(timedelta(hours=2))
    assert parse(b"<1>Oct  9 10:00:00 h t: x", NOW_NS, zone=east).time_ns == at("2025-10-09T08:00:00Z")


def test_the_older_kind_is_read_of_everything_where_that_is_asked() -> None:
    assert parse(b"<13>1 - h a p m - text", NOW_NS, old=True).text == "1 - h a p m - text"


@pytest.mark.parametrize(
    "frame",
    [
        b"<1>1 - - - - - [a " + b'b="c" ' * 50_000,
        b'<1>1 - - - - - [a b="' + b"\\x" * 200_000,
        b"<1>1 " + b"- " * 100_000,
        b"<1>" + b"Jan  1 " * 50_000,
        b"<" * 200_000,
    ],
)
def test_no_message_takes_longer_than_it_is_long(frame: bytes) -> None:
    assert parse(frame, NOW_NS).text.endswith(frame[-5:].decode())
