"""What people are told of files while they are followed."""

import asyncio
import gzip
from collections.abc import Callable
from pathlib import Path

from agent.tail import TailOptions
from agent.tail.options import Decompression
from tests.agent.tail.following import DEADLINE_S, QUICK, Buffer, following, source


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not reached():  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.01)


async def test_a_file_says_how_far_it_is_read_and_whose_it_is(tmp_path: Path) -> None:
    file, buffer = tmp_path / "a.log", Buffer()
    file.write_text("one\ntwo\npart")
    async with following(buffer, source(str(file), {"job": "x"}, key="the target")) as files:
        await buffer.until_lines(["one", "two"])
        [part] = files.parts()()
        assert (part.name, part.source, part.labels["job"]) == (str(file), "the target", "x")
        assert (part.offset, part.behind_bytes, part.lines, part.trouble) == (8, 4, 2, "")
        assert part.read_s is not None
        assert (part.at, part.inode) == (str(file), file.stat().st_ino)
        buffer.room.clear()
        with file.open("a") as log:
            log.write("\nthree\n" * 1000)
        sizes = {str(file): (file.stat().st_ino, file.stat().st_size)}
        [part] = files.parts()()
        assert part.measured(sizes).behind_bytes == file.stat().st_size - (part.offset or 0), (
            "also while nothing is kept"
        )
        buffer.room.set()
    assert list(files.parts()()) == [], "nothing is known where nothing runs"


async def test_what_cannot_be_read_is_told_by_its_name(tmp_path: Path) -> None:
    good, packed, folder, buffer = tmp_path / "a.log", tmp_path / "b.log", tmp_path / "c.log", Buffer()
    good.write_text("one\n")
    packed.write_bytes(gzip.compress(b"two\n"))
    folder.symlink_to("/dev/null")
    async with following(buffer, tmp_path / "*.log") as files:
        await until(lambda: sum(bool(part.trouble) for part in files.parts()()) == 2)
        told = {part.name: part.trouble for part in files.parts()()}
    assert told[str(good)] == ""
    assert "is compressed (gz)" in told[str(packed)]
    assert "is not a regular file" in told[str(folder)]


async def test_of_compressed_files_it_is_not_known_how_much_is_left(tmp_path: Path) -> None:
    file, buffer = tmp_path / "a.gz", Buffer()
    file.write_bytes(gzip.compress(b"one\n"))
    options = TailOptions(decompression=Decompression("gz"), sync_period_s=QUICK.sync_period_s, poll_s=QUICK.poll_s)
    async with following(buffer, file, options=options) as files:
        await buffer.until_lines(["one"])
        [part] = files.parts()()
    assert (part.offset, part.behind_bytes) == (4, None)
