"""Frames of syslog streams, fed whole and byte by byte."""

import random

import pytest

from pipeline.wire.syslog_frames import Framer


def all_of(stream: bytes, step: int, max_bytes: int = 100) -> tuple[list[bytes], int]:
    framer, found = Framer(max_bytes), list[bytes]()
    for at in range(0, len(stream), step):
        found += framer.feed(stream[at : at + step])
    return found + framer.end(), framer.cut


STREAMS = [
    (b"<1>a\n<2>b\r\n\n<3>c", [b"<1>a", b"<2>b\r", b"<3>c"], 0),
    (b"4 <1>a7 <2>b\ncc4 <3>d", [b"<1>a", b"<2>b\ncc", b"<3>d"], 0),
    (b"4 <1>a\n4 <2>b\n<3>c\n", [b"<1>a", b"<2>b", b"<3>c"], 0),  # counted, with a line feed behind; then without
    (b"no priority\n12 monkeys\n<1>a\n", [b"no priority", b"12 monkeys", b"<1>a"], 0),
    (b"9 <1>cut off", [b"<1>cut of", b"f"], 0),
    (b"20 <1>cut off", [b"<1>cut off"], 0),
    (b"2 <1>lies\n<2>b\n", [b"<1", b">lies", b"<2>b"], 0),  # a count that lies costs its own message only
    (b"<1>" + b"x" * 500 + b"\n<2>b\n", [b"<1>" + b"x" * 97, b"<2>b"], 1),
    (b"203 <1>" + b"x" * 200 + b"4 <2>b", [b"<1>" + b"x" * 97, b"<2>b"], 1),
    (b"<1>" + b"x" * 500, [b"<1>" + b"x" * 97], 1),
    (b"999999999 <1>" + b"x" * 500, [b"<1>" + b"x" * 97], 1),
    (b"0 <1>a\n", [b"0 <1>a"], 0),
    (b"\0\0\n\x80\xff\n", [b"\x80\xff"], 0),
    (b"", [], 0),
]


@pytest.mark.parametrize(("stream", "frames", "cut"), STREAMS)
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_frames_are_found_however_the_stream_comes(stream: bytes, frames: list[bytes], cut: int, step: int) -> None:
    assert all_of(stream, step) == (frames, cut)


def test_a_hundred_megabytes_without_a_newline_are_one_short_message() -> None:
    framer, block = Framer(8192), b"x" * (1 << 20)
    found = framer.feed(b"<1>")
    for _ in range(100):
        found += framer.feed(block)
        assert len(framer._rest) <= 8192
    found += framer.feed(b"\n<2>b\n")
    assert [len(frame) for frame in found] == [8192, 4]
    assert framer.cut == 1


def test_any_bytes_give_frames_that_are_no_longer_than_allowed() -> None:
    chance = random.Random(5)
    for _ in range(200):
        stream = bytes(chance.choices(b"<>0123456789 \nab\0\xff", k=chance.randrange(400)))
        step = chance.randrange(1, 50)
        found, _ = all_of(stream, step, max_bytes=20)
        assert all(len(frame) <= 20 for frame in found)
        assert found == all_of(stream, 1000, max_bytes=20)[0]
