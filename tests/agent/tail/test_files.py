"""Files are followed: found, read whole, rotated, and read on where a stop left them."""

import os
from pathlib import Path

from tests.agent.tail.following import Buffer, following


def numbered(first: int, behind: int) -> list[str]:
    return [f"line {number} of a file that is followed" for number in range(first, behind)]


def append(path: Path, lines: list[str], end: str = "\n") -> None:
    with path.open("a") as file:
        file.write("\n".join(lines) + end)


async def test_lines_are_given_as_they_are_written(tmp_path: Path) -> None:
    log, buffer = tmp_path / "app.log", Buffer()
    append(log, numbered(0, 10))
    async with following(buffer, tmp_path / "*.log"):
        await buffer.until_lines(numbered(0, 10))
        append(log, numbered(10, 20))
        await buffer.until_lines(numbered(0, 20))


async def test_a_line_is_given_once_its_newline_is_there(tmp_path: Path) -> None:
    log, buffer = tmp_path / "app.log", Buffer()
    append(log, ["whole", "half"], end="")
    async with following(buffer, log):
        await buffer.until_lines(["whole"])
        append(log, [" and half"])
        await buffer.until_lines(["whole", "half and half"])


async def test_a_start_goes_on_where_the_buffer_is(tmp_path: Path) -> None:
    log, buffer = tmp_path / "app.log", Buffer()
    append(log, numbered(0, 10))
    async with following(buffer, log):
        await buffer.until_lines(numbered(0, 10))
    append(log, numbered(10, 20))
    async with following(buffer, log):
        await buffer.until_lines(numbered(0, 20))
    buffer.lose(1)
    async with following(buffer, log):
        await buffer.until_lines(numbered(0, 20))


async def test_what_is_written_to_a_renamed_file_comes_before_what_the_new_one_has(tmp_path: Path) -> None:
    log, buffer = tmp_path / "app.log", Buffer()
    append(log, numbered(0, 10))
    async with following(buffer, log):
        await buffer.until_lines(numbered(0, 10))
        log.rename(tmp_path / "app.log.1")
        append(tmp_path / "app.log.1", numbered(10, 12))
        append(log, numbered(12, 20))
        await buffer.until_lines(numbered(0, 20))


async def test_a_truncated_file_is_read_from_its_start(tmp_path: Path) -> None:
    log, buffer = tmp_path / "app.log", Buffer()
    append(log, numbered(0, 10))
    async with following(buffer, log):
        await buffer.until_lines(numbered(0, 10))
        os.truncate(log, 0)
        append(log, numbered(10, 12))
        await buffer.until_lines(numbered(0, 12))


async def test_a_file_that_takes_an_inode_again_is_read_from_its_start(tmp_path: Path) -> None:
    log, buffer = tmp_path / "app.log", Buffer()
    append(log, numbered(0, 10))
    async with following(buffer, log):
        await buffer.until_lines(numbered(0, 10))
    inode = log.stat().st_ino
    log.unlink()
    append(log, numbered(10, 30))
    if log.stat().st_ino != inode:
        os.truncate(log, 0)
        append(log, numbered(10, 30))
    async with following(buffer, log):
        await buffer.until_lines(numbered(0, 30))
