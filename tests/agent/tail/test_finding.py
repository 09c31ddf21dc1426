"""Which files are found, under which names, and what is refused."""

# ruff: noqa: ASYNC230, ASYNC240, PTH208

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from agent.tail import Decompression
from agent.tail.folders import Folders
from agent.tail.position import gone_key
from agent.tail.scan import scan
from agent.tail.trace import Question, trace
from tests.agent.tail.following import DEADLINE_S, QUICK, Buffer, files, following, source
from tests.e2e.processes import until

BACK_OFF = replace(QUICK, inotify=False)


async def test_a_thousand_files_that_appear_at_once_are_all_read(tmp_path: Path) -> None:
    buffer = Buffer()
    async with following(buffer, tmp_path / "**" / "*.log"):
        for number in range(1000):
            folder = tmp_path / f"pod{number % 10}"
            folder.mkdir(exist_ok=True)
            (folder / f"{number}.log").write_text(f"{number}\n")
        await buffer.until(lambda: len(buffer.lines) >= 1000)
    assert sorted(map(int, buffer.lines)) == list(range(1000))


async def test_few_files_are_held_open(tmp_path: Path) -> None:
    buffer, options = Buffer(), replace(QUICK, max_open=5, inotify=False)
    for number in range(100):
        (tmp_path / f"{number}.log").write_text(f"{number}\n")
    before = len(os.listdir("/proc/self/fd"))
    async with following(buffer, tmp_path / "*.log", options=options):
        await buffer.until(lambda: len(buffer.lines) == 100)
        assert len(os.listdir("/proc/self/fd")) - before < 12
        for number in range(100):
            with (tmp_path / f"{number}.log").open("a") as file:
                file.write(f"{number}\n")
        await buffer.until(lambda: len(buffer.lines) == 200)
    assert sorted(map(int, buffer.lines)) == sorted([*range(100), *range(100)])


async def test_labels_are_the_targets_and_the_files_name(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("one\n")
    buffer = Buffer()
    async with following(buffer, source(str(tmp_path / "*.log"), {"job": "x"})) as input_:
        await buffer.until_lines(["one"])
        assert input_.pipelines[0].labels == {"job": "x", "filename": str(tmp_path / "a.log")}  # type: ignore[attr-defined]


async def test_each_target_of_a_path_with_labels_of_its_own_gets_its_lines(tmp_path: Path) -> None:
    path, buffer = str(tmp_path / "a.log"), Buffer()
    Path(path).write_text("one\n")
    targets = [source(path, {"a": "1"}), source(path, {"a": "2"}), source(path, {"a": "1"})]
    async with following(buffer, *targets):
        await buffer.until_lines(["one", "one"])
    async with following(buffer, *targets):
        with Path(path).open("a") as file:
            file.write("two\n")
        await buffer.until_lines(["one", "one", "two", "two"])


async def test_a_target_that_goes_and_comes_back_changes_nothing_for_another_of_its_file(tmp_path: Path) -> None:
    path, buffer, options = tmp_path / "a.log", Buffer(), replace(QUICK, ended_wait_s=0.5)
    path.write_text("one\n")
    first, second = (source(str(path), {"a": text}) for text in "12")
    async with following(buffer, first, second, options=options) as input_:
        await buffer.until_lines(["one", "one"])
        for targets, line in (([second], "two"), ([second, first], "three")):
            input_.follow(targets)
            await asyncio.sleep(2 * options.sync_period_s)
            with path.open("a") as file:
                file.write(f"{line}\n")
            await asyncio.sleep(2 * options.ended_wait_s)
        assert buffer.lines == ["one", "one", "two", "two", "three", "three"]
        made = [pipeline.labels["a"] for pipeline in input_.pipelines]  # type: ignore[attr-defined]
        assert made == ["1", "2", "1"], "none is given another one's labels"


async def test_new_labels_do_not_read_a_file_again(tmp_path: Path) -> None:
    log, buffer = tmp_path / "a.log", Buffer()
    log.write_text("one\nheld\\\n")
    async with following(buffer, source(str(log), {"a": "1"})) as input_:
        await buffer.until_lines(["one"])
        input_.follow([source(str(log), {"a": "2"})])
        async with asyncio.timeout(DEADLINE_S):
            while len(input_.pipelines) < 2:  # type: ignore[attr-defined]  # noqa: ASYNC110
                await asyncio.sleep(0)
        with log.open("a") as file:
            file.write(" on\n")
        await buffer.until_lines(["one", "held on"])
        assert input_.pipelines[-1].labels["a"] == "2"  # type: ignore[attr-defined]


async def test_a_target_that_goes_is_read_to_its_end_and_goes_on_when_it_comes_back(tmp_path: Path) -> None:
    log, buffer = tmp_path / "a.log", Buffer()
    log.write_text("one\n" * 100_000)
    async with following(buffer, log) as input_:
        await buffer.until(lambda: len(buffer.lines) > 0)
        input_.follow([])
        await buffer.until_lines(["one"] * 100_000)
        input_.follow([source(str(log))])
        with log.open("a") as file:
            file.write("two\n")
        await buffer.until_lines([*["one"] * 100_000, "two"])


@pytest.mark.parametrize("options", [QUICK, BACK_OFF], ids=["inotify", "polling"])
async def test_what_is_gone_is_forgotten_but_for_when_it_was_written(tmp_path: Path, options: object) -> None:
    log, buffer = tmp_path / "a.log", Buffer()
    log.write_text("one\nheld\\\n")
    async with following(buffer, log, options=options):  # type: ignore[arg-type]
        await buffer.until_lines(["one"])
        assert list(buffer.rows()) == [str(log)]
        log.unlink()
        await buffer.until(lambda: not buffer.rows())
    assert buffer.lines == ["one", "held"]
    assert list(buffer.state(b"")) == [gone_key("job", str(log), 0)]


async def test_what_went_while_nobody_followed_is_forgotten(tmp_path: Path) -> None:
    log, buffer = tmp_path / "a.log", Buffer()
    log.write_text("one\n")
    async with following(buffer, log):
        await buffer.until_lines(["one"])
    log.unlink()
    async with following(buffer, tmp_path / "*.log"):
        await buffer.until(lambda: not buffer.rows())


async def test_excluded_files_are_not_read(tmp_path: Path) -> None:
    for name in ("a.log", "b.log", "c.log"):
        (tmp_path / name).write_text(f"{name}\n")
    buffer = Buffer()
    async with following(buffer, source(str(tmp_path / "*"), exclude=str(tmp_path / "{a,c}.*"))):
        await buffer.until_lines(["b.log"])


async def test_directories_fifos_and_sockets_are_refused_and_hold_nothing_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.log")
    (tmp_path / "b.log").mkdir()
    (tmp_path / "c.log").write_text("one\n")
    (tmp_path / "d.log").symlink_to("d.log")
    buffer = Buffer()
    async with following(buffer, tmp_path / "*.log") as input_:
        await buffer.until_lines(["one"])
        assert "(and 1 more)" in str(input_.trouble())


async def test_rotated_files_that_a_pattern_names_are_read_once_as_their_logs(tmp_path: Path) -> None:
    (tmp_path / "a.log.2").write_text("one\n")
    (tmp_path / "a.log.1").write_text("two\n")
    (tmp_path / "a.log").write_text("three\n")
    buffer = Buffer()
    async with following(buffer, tmp_path / "*"):
        await buffer.until_lines(["one", "two", "three"])
        for number in (2, 1):
            (tmp_path / f"a.log.{number}").rename(tmp_path / f"a.log.{number + 1}")
        (tmp_path / "a.log").rename(tmp_path / "a.log.1")
        (tmp_path / "a.log").write_text("four\n")
        await buffer.until_lines(["one", "two", "three", "four"])
    async with following(buffer, tmp_path / "*"):
        with (tmp_path / "a.log").open("a") as file:
            file.write("five\n")
        await buffer.until_lines(["one", "two", "three", "four", "five"])


async def test_rotated_files_that_no_pattern_names_are_not_read_at_first(tmp_path: Path) -> None:
    (tmp_path / "a.log.1").write_text("old\n")
    (tmp_path / "a.log").write_text("one\n")
    buffer = Buffer()
    async with following(buffer, tmp_path / "*.log"):
        await buffer.until_lines(["one"])
        (tmp_path / "a.log.1").rename(tmp_path / "a.log.2")
        (tmp_path / "a.log").rename(tmp_path / "a.log.1")
        (tmp_path / "a.log").write_text("two\n")
        await buffer.until_lines(["one", "two"])


async def test_a_file_renamed_to_another_name_of_the_pattern_is_not_read_again(tmp_path: Path) -> None:
    log, buffer = tmp_path / "test.log", Buffer()
    log.write_text("one\n")
    async with following(buffer, tmp_path / "*.log"):
        await buffer.until_lines(["one"])
        log.rename(tmp_path / "test.20200707-183213.408507.log")
        log.write_text("two\n")
        await buffer.until_lines(["one", "two"])
        (tmp_path / "other.log").write_text("three\n")
        await buffer.until_lines(["one", "two", "three"])
    async with following(buffer, tmp_path / "*.log"):
        with log.open("a") as file:
            file.write("four\n")
        await buffer.until_lines(["one", "two", "three", "four"])


async def test_a_file_with_two_names_is_read_once_through_rotations_and_stops(tmp_path: Path) -> None:
    pods, containers, buffer = tmp_path / "pods", tmp_path / "containers", Buffer()
    pods.mkdir()
    containers.mkdir()
    (pods / "0.log").write_text("a\n")
    (containers / "c.log").symlink_to(pods / "0.log")
    (tmp_path / "all").symlink_to(pods)
    names = [str(tmp_path / name / "*.log") for name in ("all", "containers", "pods")]
    for letter in "bcd":
        async with following(buffer, *names):
            await buffer.until(lambda letter=letter: len(buffer.lines) >= ord(letter) - ord("a"))  # type: ignore[misc]
            (pods / "0.log").rename(pods / f"0.log.20260101-00000{ord(letter) - ord('a')}")
            (pods / "0.log").write_text(f"{letter}\n")
            await buffer.until(lambda letter=letter: len(buffer.lines) > ord(letter) - ord("a"))  # type: ignore[misc]
    (containers / "c.log").unlink()
    async with following(buffer, *names):
        (containers / "d.log").symlink_to(pods / "0.log")
        os.link(pods / "0.log", containers / "e.log")
        with (pods / "0.log").open("a") as file:
            file.write("e\n")
        await buffer.until_lines("abcde")
        await asyncio.sleep(3 * QUICK.sync_period_s)
        assert buffer.lines == list("abcde")


async def test_a_link_that_is_led_to_a_file_that_is_read_gives_what_it_led_to_before(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("a\n")
    (tmp_path / "other").write_text("one\n")
    (tmp_path / "link.log").symlink_to(tmp_path / "other")
    buffer = Buffer()
    async with following(buffer, str(tmp_path / "*.log")):
        await buffer.until(lambda: len(buffer.lines) == 2)
        (tmp_path / "new").symlink_to(tmp_path / "a.log")
        (tmp_path / "new").rename(tmp_path / "link.log")
        for path, text in (("other", "two\n"), ("a.log", "b\n")):
            with (tmp_path / path).open("a") as file:
                file.write(text)
        await buffer.until(lambda: len(buffer.lines) == 4)
        await asyncio.sleep(3 * QUICK.sync_period_s)
    assert sorted(buffer.lines) == ["a", "b", "one", "two"]


@pytest.mark.parametrize("stopped", [False, True])
async def test_a_link_that_is_led_elsewhere_leaves_nothing_unread(tmp_path: Path, stopped: bool) -> None:
    pod, link, buffer = tmp_path / "pods" / "x", tmp_path / "containers" / "x.log", Buffer()
    pod.mkdir(parents=True)
    link.parent.mkdir()
    (pod / "0.log").write_text("one\n")
    link.symlink_to(pod / "0.log")

    def go_on() -> None:
        with (pod / "0.log").open("a") as file:
            file.write("two\n")
        (pod / "0.log").rename(pod / "0.log.20260101-000000")
        (pod / "0.log").write_text("three\n")
        (pod / "1.log").write_text("four\n")
        (link.parent / "new").symlink_to(pod / "1.log")
        (link.parent / "new").rename(link)

    async with following(buffer, link.parent / "*.log"):
        await buffer.until_lines(["one"])
        if not stopped:
            go_on()
            await buffer.until_lines(["one", "two", "three", "four"])
    if stopped:
        go_on()
        async with following(buffer, link.parent / "*.log"):
            await buffer.until_lines(["one", "two", "three", "four"])


async def test_kubelets_compressed_rotation_while_stopped(tmp_path: Path) -> None:
    import gzip

    log, buffer = tmp_path / "0.log", Buffer()
    log.write_text("one\n")
    async with following(buffer, log):
        await buffer.until_lines(["one"])
    (tmp_path / "0.log.20260101-000000.gz").write_bytes(gzip.compress(b"one\ntwo\n"))
    (tmp_path / "0.log.20260101-010000").write_text("three\n")
    log.unlink()
    log.write_text("four\n")
    async with following(buffer, log):
        await buffer.until_lines(["one", "two", "three", "four"])


async def test_promtails_positions_are_where_reading_begins(tmp_path: Path) -> None:
    log, buffer = tmp_path / "a.log", Buffer()
    log.write_text("one\ntwo\n")
    async with following(buffer, log, imported={str(log): 4}):
        await buffer.until_lines(["two"])
    async with following(buffer, log, imported={str(log): 0}):
        with log.open("a") as file:
            file.write("three\n")
        await buffer.until_lines(["two", "three"])


async def test_reading_stops_while_the_buffer_has_no_room_and_no_file_starves(tmp_path: Path) -> None:
    buffer = Buffer()
    (tmp_path / "huge.log").write_text("huge line\n" * 500_000)
    (tmp_path / "small.log").write_text("small\n")
    buffer.room.clear()
    async with following(buffer, tmp_path / "*.log"):
        await asyncio.sleep(0)
        assert not buffer.takes
        buffer.room.set()
        await buffer.until(lambda: any(take.lane_key.endswith("small.log") for take in buffer.takes))
        assert len(buffer.takes) < 5
        await buffer.until(lambda: len(buffer.lines) == 500_001)


async def test_decompression_waits_for_its_writer(tmp_path: Path) -> None:
    import gzip

    packed, buffer = tmp_path / "a.gz", Buffer()
    packed.write_bytes(gzip.compress(b"one\n"))
    os.utime(packed, (1, 1))
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"two\n"))
    options = replace(QUICK, decompression=Decompression("gz", initial_delay_s=3600.0))
    async with following(buffer, tmp_path / "*.gz", options=options):
        await buffer.until_lines(["one"])


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give its rights away and take them back")
async def test_a_file_that_may_not_be_read_is_said_and_tried_again(tmp_path: Path) -> None:
    # pytest's folders are for their owner only; the system's temporary folder above them is left as it is.
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    log, buffer = tmp_path / "a.log", Buffer()
    log.write_text("one\n")
    log.chmod(0o000)
    os.seteuid(65534)
    try:
        async with following(buffer, log) as input_:
            while input_.trouble() is None:  # noqa: ASYNC110
                await asyncio.sleep(0)
            assert "Permission denied" in str(input_.trouble())
    finally:
        os.seteuid(0)


def test_a_bad_pattern_is_refused() -> None:
    with pytest.raises(ValueError, match="does not close"):
        files(Buffer()).follow([source("/var/log/{a,b")])


def test_what_cannot_be_looked_at_is_not_taken_for_gone(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    paths = [str(tmp_path / "loop" / "a.log"), str(tmp_path / "gone.log")]
    assert scan([], dict.fromkeys(paths)).missing == {paths[1]}
    with pytest.raises(OSError, match="symbolic links"):
        trace(Question(paths[0]), Folders())


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """A file system of its own that the returned function mounts at `tmp_path / "logs"`, and unmounts."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "logs").mkdir()

    def run(*words: str | Path) -> None:
        if shutil.which("mount") is None or subprocess.run(words, check=False, capture_output=True).returncode:
            pytest.skip("file systems cannot be mounted here")

    run("mount", "-t", "tmpfs", "logs", tmp_path / "disk")
    try:
        yield lambda how: run(
            *{"in": ("mount", "--bind", tmp_path / "disk"), "out": ("umount",)}[how], tmp_path / "logs"
        )
    finally:
        subprocess.run(("umount", tmp_path / "logs"), check=False, capture_output=True)
        subprocess.run(("umount", tmp_path / "disk"), check=False)


async def test_logs_that_are_mounted_after_the_start_go_on_where_they_were(
    tmp_path: Path, disk: Callable[[str], None]
) -> None:
    log, gone, buffer = tmp_path / "logs" / "a.log", tmp_path / "gone.log", Buffer()
    patterns = [str(tmp_path / "logs" / "*.log"), str(gone)]
    disk("in")
    for path in (log, gone):
        path.write_text("one\n")
    async with following(buffer, *patterns):
        await buffer.until_lines(["one", "one"])
    disk("out")
    gone.unlink()
    async with following(buffer, *patterns):
        await buffer.until(lambda: str(gone) not in buffer.rows())
        assert str(log) in buffer.rows()
        disk("in")
        with log.open("a") as file:
            file.write("two\n")
        await buffer.until_lines(["one", "one", "two"])


async def test_what_is_deleted_while_there_is_no_room_was_opened_before(tmp_path: Path) -> None:
    log, other, buffer = tmp_path / "a.log", tmp_path / "pod" / "0.log", Buffer()
    other.parent.mkdir()
    log.write_text("0\n")
    async with following(buffer, str(tmp_path / "**" / "*.log")) as input_:
        await buffer.until_lines("0")
        buffer.room.clear()
        other.write_text("pod\n")
        for number in range(1, 5):
            with log.open("a") as file:
                file.write(f"{number}\n")
            await until(partial(_is_open, log), "the log is open")
            log.rename(tmp_path / "a.log.1")
        await until(partial(_is_open, other), "the pod's log is open")
        shutil.rmtree(other.parent)
        (tmp_path / "a.log.1").unlink()
        buffer.room.set()
        await buffer.until(lambda: len(buffer.lines) == 6)
        assert [line for line in buffer.lines if line != "pod"] == list("01234")
        assert "pod" in buffer.lines
        await buffer.until(lambda: not buffer.rows())
        assert input_.trouble() is None


async def _is_open(path: Path) -> bool:
    return any(_is(path, fd) for fd in os.listdir("/proc/self/fd"))


def _is(path: Path, fd: str) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(int(fd)), path.stat())
    return False
