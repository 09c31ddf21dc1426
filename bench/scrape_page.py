"""What the work on a page costs: read, encode, compress; no HTTP, no disk. CPU seconds a million samples, peak RSS.

    python -m bench.scrape_page [--series 100000] [--scrapes 12]

One line for each implementation (plain Python, and the accelerator where it was built) and share of changed values;
each runs in a process of its own, so that its peak is its own.

Notes, from the profile of 100,000 series (two shared cores, Python 3.11):
- plain, 2 %: 0.48 s/M, of which splitting the page into lines is 0.2, joining and snappy 0.24, comparing the rest.
- plain, 100 %: 1.6 s/M: reading a changed line 1.1 (two slices, a float, a new stem), the rest as above. A regex for
  every number cost 0.25 more, and was left to numbers that are not digits and a point.
- accelerated, 2 %: 0.04-0.06 s/M: one comparison of the page with the last one; compressing again (0.16) has gone,
  since blocks stay compressed. 100 %: 0.17-0.2, nearly all of it reading numbers.
- first sight: 24 s/M plain (35 before the encoded names of labels were kept, 8 of them in encode_labels), and as
  much accelerated: parsing and labelling a new series is Python in both.
- the whole agent (bench.agents) spends most of the accelerated 0.44 s/M elsewhere: receiving the body about 0.1, disk
  buffer and sending 0.2. Filling a buffer that is used again halved what receiving cost: fresh memory is page faults.
"""

import argparse
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


def one(series: int, churn: float, scrapes: int, accelerated: bool) -> None:
    labelling = Labelling(
        target=(("instance", "127.0.0.1:1"), ("job", "ksm")), external=(("cluster", "c1"),), cluster_label="cluster"
    )
    kept = Page(labelling, PageOptions(), MetadataBook(), accelerated)
    bodies = [page(series, turn, churn) for turn in range(BODIES)]
    slices: list[float] = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    first = used = 0.0
    at_ms = 1_760_000_000_000
    for turn in range(scrapes + 1):
        # A page arrives as bytes of its own.
        body = bytes(bytearray(bodies[turn % BODIES]))
        began = time.process_time()
        taken = drive(kept.take(body, "text/plain", at_ms + turn * 15_000), slices)
        del body
        parts = drive(kept.parts(taken), slices)
        spent = time.process_time() - began
        assert sum(part.items for part in parts) >= series
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
    parser.add_argument("--one", nargs=2, metavar=("CHURN", "IMPLEMENTATION"))
    given = parser.parse_args()
    if given.one:
        one(given.series, float(given.one[0]), given.scrapes, given.one[1] == "accelerated")
        return
    for implementation in ("plain", "accelerated"):
        for churn in ("0.02", "1.0"):
            arguments = ["--series", str(given.series), "--scrapes", str(given.scrapes), "--one", churn, implementation]
            subprocess.run([sys.executable, "-m", "bench.scrape_page", *arguments], check=False)


if __name__ == "__main__":
    main()
