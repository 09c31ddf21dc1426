"""What files hold: encodings, compression, lines too long, zeros, no newline."""

import bz2
import gzip
import os
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agent.tail import Decompression, LineLimit
from tests.agent.tail.following import QUICK, Buffer, files, following, source


@pytest.mark.parametrize(
    "encoding", ["UTF-16LE", "UTF-16BE", "utf-16", "ISO-8859-1", "windows-1252", "gb18030", "UTF-8"]
)
async def test_encodings_become_utf8(tmp_path: Path, encoding: str) -> None:
    log, buffer = tmp_path / "app.log", Buffer()
    text = "Zeile eins: über\r\nzwei Ċ Āਊ\n" if encoding not in ("ISO-8859-1", "windows-1252") else "über\nzwei\n"
    log.write_bytes(text.encode(encoding))
    async with following(buffer, log, options=replace(QUICK, encoding=encoding)):
        await buffer.until_lines(text.split("\n")[:-1])
        with log.open("ab") as file:
            file.write("drei\n".encode("utf-16-le" if encoding == "utf-16" else encoding))
        await buffer.until_lines([*text.split("\n")[:-1], "drei"])
    async with following(buffer, log, options=replace(QUICK, encoding=encoding)):
        with log.open("ab") as file:
            file.write("vier\n".encode("utf-16-le" if encoding == "utf-16" else encoding))
        await buffer.until_lines([*text.split("\n")[:-1], "drei", "vier"])


async def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    log, buffer = tmp_path / "app.log", Buffer()
    log.write_bytes(b"\xff\xfe" + "eins\n".encode("utf-16-le"))
    async with following(buffer, log, options=replace(QUICK, encoding="UTF-16LE")):
        await buffer.until_lines(["eins"])


@pytest.mark.parametrize("encoding", ["klingon", "utf-7", "iso2022_jp", "base64"])
def test_an_encoding_that_cannot_be_followed_is_refused(encoding: str) -> None:
    with pytest.raises(ValueError, match=encoding):
        files(Buffer(), replace(QUICK, encoding=encoding))


@pytest.mark.parametrize(
    ("ending", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("z", zlib.compress)], ids=["gz", "bz2", "z"]
)
async def test_compressed_files_are_read_once_and_on_from_where_a_kill_left_them(
    tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]
) -> None:
    lines = [f"line {number}" for number in range(50_000)]
    (tmp_path / f"app.{ending}").write_bytes(pack("\n".join(lines).encode()))
    buffer, options = Buffer(), replace(QUICK, decompression=Decompression(ending))
    async with following(buffer, tmp_path / "*", options=options):
        await buffer.until_lines(lines)
    buffer.lose(2)
    assert len(buffer.lines) < len(lines)
    async with following(buffer, tmp_path / "*", options=options):
        await buffer.until_lines(lines)
    async with following(buffer, tmp_path / "*", options=options):
        (tmp_path / "other").write_text("plain\n")
        await buffer.until_lines([*lines, "plain"])


async def test_a_compressed_file_that_nobody_asked_for_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"one\n"))
    (tmp_path / "b.log").write_text("two\n")
    buffer = Buffer()
    async with following(buffer, tmp_path / "*") as input_:
        await buffer.until_lines(["two"])
        assert "a.gz is compressed (gz)" in str(input_.trouble())


@pytest.mark.parametrize(
    ("name", "head", "said"),
    [
        ("a.log.lz4", b"\x04\x22\x4d\x18", "lz4"),
        ("a.log", b"\x02\x21\x4c\x18", "lz4"),
        ("a.log.Z", b"\x1f\x9d", "Z"),
        ("a.log", b"\x28\xb5\x2f\xfd", "zst"),
        ("a.log", b"PK\x03\x04", "zip"),
        ("a.log.lz4", b"", "lz4"),
        ("a.log.Z", b"neither tells", "Z"),
    ],
)
@pytest.mark.parametrize("asked", [None, Decompression("gz")])
async def test_a_format_that_is_not_read_is_refused_by_name_and_said_once(
    tmp_path: Path, name: str, head: bytes, said: str, asked: Decompression | None
) -> None:
    (tmp_path / name).write_bytes(head + b"\x90\nno line\n")
    (tmp_path / "z.log").write_bytes(b"line\n")
    buffer = Buffer()
    async with following(buffer, tmp_path / "*", options=replace(QUICK, decompression=asked)) as input_:
        await buffer.until_lines(["line"])
        assert f"{name} is compressed: the format {said} is not supported" in str(input_.trouble())


async def test_a_broken_compressed_file_costs_no_other(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"one\n" * 100)[:20] + b"broken" * 10)
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"two\n"))
    buffer = Buffer()
    async with following(buffer, tmp_path / "*", options=replace(QUICK, decompression=Decompression("gz"))) as input_:
        await buffer.until(lambda: "two" in buffer.lines)
        assert "cannot be decompressed" in str(input_.trouble())


@pytest.mark.parametrize("cut", [True, False])
async def test_a_line_that_is_too_long_is_cut_or_dropped_and_counted(tmp_path: Path, cut: bool) -> None:
    log, buffer = tmp_path / "app.log", Buffer()
    with log.open("w") as file:
        file.write("first\n" + "x" * 3_000_000 + "\nsecond\n" + "y" * 1500 + "\nthird\n")
    options = replace(QUICK, limit=LineLimit(1000, cut=cut))
    async with following(buffer, log, options=options) as input_:
        kept = ["x" * 1000], ["y" * 1000]
        await buffer.until_lines(["first", *(kept[0] * cut), "second", *(kept[1] * cut), "third"])
        metrics = input_.tools.metrics
        counted = metrics.cut_lines.labels("job") if cut else metrics.dropped_lines.labels("job", "line_too_long")
        assert counted._value.get() == 2


async def test_a_hundred_megabytes_without_a_newline_take_little_memory(tmp_path: Path) -> None:
    log, buffer = tmp_path / "app.log", Buffer()
    with log.open("wb") as file:
        for _ in range(100):
            file.write(b"x" * 2**20)
        file.write(b"\nshort\n")
    async with following(buffer, log):
        await buffer.until(lambda: buffer.lines[-1:] == ["short"])
    assert [len(line) for line in buffer.lines] == [2**20, 5]


async def test_a_kill_inside_a_line_that_is_too_long_repeats_nothing_of_it(tmp_path: Path) -> None:
    log, buffer = tmp_path / "app.log", Buffer()
    log.write_text("x" * 3000)
    options = replace(QUICK, limit=LineLimit(1000))
    async with following(buffer, log, options=options):
        await buffer.until_lines(["x" * 1000])
    with log.open("a") as file:
        file.write("x" * 3000 + "\nnext\n")
    async with following(buffer, log, options=options):
        await buffer.until_lines(["x" * 1000, "next"])


async def test_zeros_that_truncating_left_are_no_line(tmp_path: Path) -> None:
    log, buffer = tmp_path / "app.log", Buffer()
    with log.open("wb") as file:
        file.write(b"before\n" * 1000)
        file.flush()
        async with following(buffer, log):
            await buffer.until_lines(["before"] * 1000)
            os.truncate(log, 0)
            # Not opened for appending: the writer goes on where it was, and leaves a hole.
            file.write(b"after\n")
            file.flush()
            await buffer.until_lines(["before"] * 1000 + ["after"])


async def test_room_made_ahead_is_not_taken_for_content(tmp_path: Path) -> None:
    log, buffer = tmp_path / "app.log", Buffer()
    with log.open("wb") as file:
        file.truncate(2**20)
        file.write(b"one\n")
        file.flush()
        async with following(buffer, log):
            await buffer.until_lines(["one"])
            file.write(b"two\n")
            file.flush()
            await buffer.until_lines(["one", "two"])


async def test_bytes_that_are_no_text_go_on_as_they_are(tmp_path: Path) -> None:
    buffer = Buffer()
    (tmp_path / "app.log").write_bytes(b"a\x00b\xff\xfe\n\x80\n")
    async with following(buffer, tmp_path / "app.log"):
        await buffer.until(lambda: len(buffer.takes) > 0)
    assert b"".join(chunk.raw for take in buffer.takes for chunk in take.chunks) == b"a\x00b\xff\xfe\n\x80\n"


async def test_the_end_of_a_renamed_file_is_a_line_without_its_newline(tmp_path: Path) -> None:
    log, buffer = tmp_path / "app.log", Buffer()
    log.write_text("one\ntwo")
    async with following(buffer, source(str(log))):
        await buffer.until_lines(["one"])
        log.rename(tmp_path / "app.log.1")
        log.write_text("")
        await buffer.until_lines(["one", "two"])
