"""What a Docker daemon answers to a container's logs, fed whole and byte by byte."""

from itertools import chain

import pytest

from pipeline.wire.docker_logs import ContainerLines, Line
from pipeline.wire.errors import MalformedError

STAMP = b"2024-05-02T13:23:37.998232014Z "
AT_NS = 1_714_656_217_998_232_014
LATER = b"2024-05-02T13:23:38Z "
LATER_NS = 1_714_656_218_000_000_000


def frame(stream: int, payload: bytes) -> bytes:
    return bytes((stream, 0, 0, 0)) + len(payload).to_bytes(4, "big") + payload


def lines_of(data: bytes, step: int, *, is_tty: bool = False, limit: int = 100_000) -> tuple[list[Line], int]:
    lines = ContainerLines(is_tty=is_tty, max_line_bytes=limit)
    found = [*chain.from_iterable(lines.feed(data[at : at + step]) for at in range(0, len(data), step)), *lines.end()]
    return found, lines.cut


@pytest.mark.parametrize("step", [1, 7, 1_000_000])
def test_streams_are_told_apart_and_pieces_joined(step: int) -> None:
    data = (
        frame(1, STAMP + b"out\n")
        + frame(2, STAMP + b"err \xff\r\n")
        + frame(1, LATER + b"a" * 16384)
        + frame(2, LATER + b"between\n")
        + frame(1, LATER + b"b" * 10 + b"\n")
        + frame(1, STAMP + b"\n")
        + frame(1, b"")
        + frame(1, STAMP + b"without an end")
    )
    assert lines_of(data, step)[0] == [
        Line("stdout", AT_NS, b"out"),
        Line("stderr", AT_NS, b"err \xff"),
        Line("stderr", LATER_NS, b"between"),
        Line("stdout", LATER_NS, b"a" * 16384 + b"b" * 10),
        Line("stdout", AT_NS, b""),
        Line("stdout", AT_NS, b"without an end"),
    ]


@pytest.mark.parametrize("step", [1, 7, 1_000_000])
def test_a_terminal_has_lines_without_frames(step: int) -> None:
    data = STAMP + b"one\r\n" + LATER + b"a" * 16384 + LATER + b"b\r\n" + STAMP + b"three"
    assert lines_of(data, step, is_tty=True)[0] == [
        Line("stdout", AT_NS, b"one"),
        Line("stdout", LATER_NS, b"a" * 16384 + b"b"),
        Line("stdout", AT_NS, b"three"),
    ]


def test_lines_without_an_end_are_cut() -> None:
    pieces = b"".join(frame(1, STAMP + b"x" * 16384) for _ in range(100))
    data = pieces + frame(1, STAMP + b"x\n") + frame(1, LATER + b"next\n")
    assert lines_of(data, 4096, limit=1000) == (
        [Line("stdout", AT_NS, b"x" * 1000), Line("stdout", LATER_NS, b"next")],
        1,
    )


@pytest.mark.parametrize(
    "data", [b"\x09\0\0\0\0\0\0\1x", b"\1\0\0\0\xff\xff\xff\xff", frame(1, b"2024-13-02T13:23:37Z x\n")]
)
def test_what_is_no_answer_of_a_daemon_is_told(data: bytes) -> None:
    with pytest.raises(MalformedError):
        ContainerLines(is_tty=False, max_line_bytes=1000).feed(data)
