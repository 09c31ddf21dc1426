"""What the work on a page costs: read, encode, compress; no HTTP, no disk. CPU seconds a million samples, peak RSS.

    python -m bench.scrape_page [--series 100000] [--scrapes 12] [--moving 50 | --timed]

One line for each implementation (plain Python, and the accelerator where it was built) and share of changed values;
each runs in a process of its own, so that its peak is its own.

Notes, from the profile of 100,000 series (two shared cores, Python 3.11):
- plain, 2 %: 0.48 s/M, of which splitting the page into lines is 0.2, joining and snappy 0.24, comparing the rest.
- plain, 100 %: 1.6 s/M: reading a changed line 1.1 (two slices, a float, a new stem), the rest as above. A regex for
  every number cost 0.25 more, and was left to numbers that are not digits and a point.
- accelerated, 2 %: 0.04-0.06 s/M: one comparison of the page with the last one; compressing again (0.16) has gone,
  since blocks stay compressed. 100 %: 0.17-0.2, nearly all of it reading numbers.
- `--moving 50`, 2 % (50 lines go and 50 come back at every scrape): 2.3 s/M plain and 3.4 accelerated when every line
  was placed by itself; 1.1-1.3 and 1.4 since lines are aligned first. Splitting pages into lines is a good part of the
  rest, the old page too where it is kept whole.
- `--timed` (every line has a new value and timestamp), 10,000 series: 11 s/M plain and 13 accelerated when each line
  was read in full; 2.5 and 0.5 since value and time are read off the line's end. Of 100,000: 2.7 and 0.6.
- first sight: 24 s/M plain (35 before the encoded names of labels were kept, 8 of them in encode_labels), and as
  much accelerated: parsing and labelling a new series is Python in both.
- the whole agent (bench.agents) spends most of the accelerated 0.44 s/M elsewhere: receiving the body about 0.1, disk
  buffer and sending 0.2. Filling a buffer that is used again halved what receiving cost: fresh memory is page faults.
"""

import argparse
import random
import resource
import subprocess
import sys
import time
from collections.abc import Generator
from typing import Any

from agent.scrape.labelling import Labelling
from agent.scrape.metadata import MetadataBook
from agent.scrape.page import Page, PageOptions
from bench.agents import page

BODIES = 4


def drive(steps: Generator[None, None, Any], slices: list[float]) -> Any:
    while True:
        began = time.process_time()
        try:
            next(steps)
        except StopIteration as end:
            return end.value
        finally:
            slices.append(time.process_time() - began)


def without(body: bytes, turn: int, missing: int) -> bytes:
    """Leave out some lines, others at every turn."""
    lines = body.split(b"\n")
    gone = set(random.Random(turn).sample(range(len(lines) - 1), missing))
    return b"\n".join([line for number, line in enumerate(lines) if number not in gone or line.startswith(b"#")])


def timed_page(series: int, at_ms: int) -> bytes:
    """Make a page of which all values and timestamps change."""
    value = at_ms // 1000 % 1_000_000
    lines = [f'served_total{{target="t",series="{i}"}} {value + i} {at_ms - i % 977}\n' for i in range(series)]
    return ("# TYPE served_total counter\n" + "".join(lines)).encode()


def one(series: int, churn: float, scrapes: int, accelerated: bool, moving: int, timed: bool) -> None:
    labelling = Labelling(
        target=(("instance", "127.0.0.1:1"), ("job", "ksm")), external=(("cluster", "c1"),), cluster_label="cluster"
    )
    kept = Page(labelling, PageOptions(), MetadataBook(), accelerated)
    at_ms = 1_760_000_000_000
    bodies = [] if timed else [without(page(series, turn, churn), turn, moving) for turn in range(BODIES)]
    slices: list[float] = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    first = used = 0.0
    for turn in range(scrapes + 1):
        # A page arrives as bytes of its own.
        body = timed_page(series, at_ms + turn * 15_000) if timed else bytes(bytearray(bodies[turn % BODIES]))
        began = time.process_time()
        taken = drive(kept.take(body, "text/plain", at_ms + turn * 15_000), slices)
        del body
        parts = drive(kept.parts(taken), slices)
        spent = time.process_time() - began
        assert sum(part.items for part in parts) >= series - moving
        if turn:
            used += spent
        else:
            first = spent
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    name = "accelerated" if accelerated else "plain"
    wire = sum(len(part.payload) for part in parts) / series
    print(
        f"{name:12s} {churn:4.0%} changed  {used / scrapes / series * 1e6:6.3f} s/M"
        f"  first sight {first / series * 1e6:6.2f} s/M  {wire:5.1f} B/sample"
        f"  longest slice {max(slices) * 1000:5.1f} ms  peak rss {rss:4.0f} MiB, {before:.0f} of it bodies",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--scrapes", type=int, default=12)
    parser.add_argument(
        "--moving", type=int, default=0, metavar="N", help="N lines are missing, others at every scrape"
    )
    parser.add_argument("--timed", action="store_true", help="lines with timestamps, all of which change")
    parser.add_argument("--one", nargs=2, metavar=("CHURN", "IMPLEMENTATION"))
    given = parser.parse_args()
    if given.one:
        one(given.series, float(given.one[0]), given.scrapes, given.one[1] == "accelerated", given.moving, given.timed)
        return
    for implementation in ("plain", "accelerated"):
        for churn in ("1.0",) if given.timed else ("0.02", "1.0"):
            arguments = ["--series", str(given.series), "--scrapes", str(given.scrapes), "--moving", str(given.moving)]
            arguments += ["--one", churn, implementation, *(["--timed"] if given.timed else [])]
            subprocess.run([sys.executable, "-m", "bench.scrape_page", *arguments], check=False)


if __name__ == "__main__":
    main()
