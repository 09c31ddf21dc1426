"""Programs that write numbered entries into files which are rotated under them, in the ways that real ones are.

An entry's text follows from its number, so that what arrives can be judged entry by entry.
"""

import gzip
import os
import random
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

PAD: Final = "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor"
TICK_S: Final = 0.01
PARTIAL_EVERY, MULTILINE_EVERY = 97, 53
KEPT: Final = 8
"""Rotated files that are kept beside the newest."""


def text_of(program: str, number: int) -> str:
    """Return an entry as it has to arrive."""
    text = f"[{program}] n={program}-{number} {PAD}"
    return f"{text}\n  at frame {number}\n  at frame {number + 1}" if _is_multiline(program, number) else text


def _is_multiline(program: str, number: int) -> bool:
    return program == "recreate" and number % MULTILINE_EVERY == 0


def lines_of(program: str, number: int) -> list[str]:
    """Return the lines that a program writes for an entry, without newlines."""
    text = text_of(program, number)
    if program != "rename":
        return text.split("\n")
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() % 1_000_000_000:09d}Z"
    if number % PARTIAL_EVERY:
        return [f"{at} stdout F {text}"]
    # What a container runtime makes of a line that is longer than its buffer.
    return [f"{at} stdout P {text[:40]}", f"{at} stdout F {text[40:]}"]


@dataclass
class Program:
    """One program: `name` is how its file is rotated (rename, copytruncate, recreate)."""

    name: str
    file: Path
    entries: int
    rotate_every: int
    written: int = 0
    rotations: int = 0
    exposed: set[int] = field(default_factory=set)
    """Entries written between copytruncate's copy and its truncation: whoever has not read them by then cannot."""
    compress: bool = False
    _out: IO[bytes] | None = None

    def write(self, count: int) -> None:
        """Write so many entries, a line at a time, and rotate when it is due."""
        out = self._open()
        for _ in range(min(count, self.entries - self.written)):
            for line in lines_of(self.name, self.written):
                out.write(line.encode() + b"\n")
            self.written += 1
            if self.written % self.rotate_every == 0:
                self.rotate()
                out = self._open()

    def _open(self) -> IO[bytes]:
        if self._out is None:
            self._out = self.file.open("ab", buffering=0)
        return self._out

    def close(self) -> None:
        """Close the file; the next entry opens it again."""
        if self._out is not None:
            self._out.close()
            self._out = None

    def rotate(self) -> None:
        """Rotate as logrotate does: `.1` is the newest of the old ones, and a file that is not there is left alone."""
        if not self.file.exists():
            return
        self.rotations += 1
        for number in range(KEPT, 0, -1):
            for suffix in ("", ".gz"):
                old = self._old(number, suffix)
                if old.exists():
                    old.rename(self._old(number + 1, suffix))
        {"rename": self._rename, "copytruncate": self._copy_and_truncate, "recreate": self._recreate}[self.name]()
        if self.compress:
            self._compress()

    def _old(self, number: int, suffix: str = "") -> Path:
        return self.file.with_name(f"{self.file.name}.{number}{suffix}")

    def _rename(self) -> None:
        self.file.rename(self._old(1))
        # A program that was not told yet goes on writing to the file that it has open.
        self._finish(late=3)

    def _recreate(self) -> None:
        self._finish()
        self.file.rename(self._old(1))

    def _finish(self, late: int = 0) -> None:
        out = self._open()
        for _ in range(min(late, self.entries - self.written)):
            out.write("".join(line + "\n" for line in lines_of(self.name, self.written)).encode())
            self.written += 1
        self.close()

    def _copy_and_truncate(self) -> None:
        out = self._open()
        shutil.copyfile(self.file, self._old(1))
        first = self.written
        for _ in range(min(2, self.entries - self.written)):
            out.write("".join(line + "\n" for line in lines_of(self.name, self.written)).encode())
            self.written += 1
        self.exposed.update(range(first, self.written))
        os.truncate(self.file, 0)

    def _compress(self) -> None:
        """Compress the newest rotated file."""
        newest = self._old(1)
        with newest.open("rb") as plain, gzip.open(self._old(1, ".gz"), "wb") as packed:
            shutil.copyfileobj(plain, packed)
        newest.unlink()


class Programs:
    """Writes all programs' entries at a steady rate, on a thread of its own; `paused` stops the writing for a while."""

    def __init__(self, programs: list[Program], entries_per_s: int, seed: int) -> None:
        self.programs = programs
        self._per_tick = max(1, round(entries_per_s * TICK_S / len(programs)))
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="programs", daemon=True)

    def __enter__(self) -> "Programs":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for program in self.programs:
            program.close()

    @property
    def done(self) -> bool:
        """Whether everything is written."""
        return all(program.written >= program.entries for program in self.programs)

    @property
    def written(self) -> int:
        """How many entries are written."""
        return sum(program.written for program in self.programs)

    @property
    def entries(self) -> int:
        """How many entries there are to write."""
        return sum(program.entries for program in self.programs)

    def rotate_all(self, *, compress: bool) -> None:
        """Rotate every file now."""
        with self._lock:
            for program in self.programs:
                program.compress = compress and program.name != "copytruncate"
                program.rotate()
                program.compress = False

    def _run(self) -> None:
        due_s = time.monotonic()
        while not self._stop.is_set() and not self.done:
            with self._lock:
                for program in self.programs:
                    program.write(self._random.randint(1, 2 * self._per_tick))
            due_s = max(due_s + TICK_S, time.monotonic() - 1.0)
            self._stop.wait(max(0.0, due_s - time.monotonic()))


def numbers(program: Program) -> Iterator[tuple[str, int]]:
    """Yield every entry that was written."""
    for number in range(program.written):
        yield program.name, number
