"""What the embedded store of logs costs: CPU and bytes a line, and how long searches take, with its index and without.

    python -m bench.log_store [--lines 1000000]

Lines are of four kinds in equal parts, as machines write them: a web server's access log, JSON of a service, syslog,
and klog; with addresses, UUIDs, paths and numbers that hardly repeat. Beside the store, the same lines in plain FTS5
tables of a row a line show what the index of chunks saves.
"""

import argparse
import asyncio
import json
import random
import re
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import cramjam
from prometheus_client import CollectorRegistry

from pipeline.store.logs import LogStore, LogStoreConfig, Query, parse_text
from pipeline.wire import loki

REQUEST_LINES = 2_000
START_NS = 1_800_000_000_000_000_000
STEP_NS = 5_000_000
_WORDS = re.findall(
    r"\w+",
    "connection refused timeout handler started container failed mount volume secret pod controller reconcile request "
    "response upstream client closed sync lease renewed node ready probe liveness image pulled scheduled evicted",
)
SCANS = '~"^[ab] "'
KINDS = ("access", "json", "syslog", "klog")


def line(n: int, chance: random.Random) -> str:
    """Return one line of about 190 characters."""
    clock = f"{n // 720_000 % 24:02}:{n // 12_000 % 60:02}:{n // 200 % 60:02}"
    address = f"10.{chance.randrange(4)}.{chance.randrange(256)}.{chance.randrange(256)}"
    request = uuid.UUID(int=chance.getrandbits(128), version=4)
    word, words = chance.choice, chance.choices
    match KINDS[n % 4]:
        case "access":
            return (
                f'{address} - - [21/Nov/2026:{clock} +0000] "GET /a/{word(_WORDS)}/{chance.randrange(10**6)} HTTP/1.1" '
                f'{word([200, 200, 200, 404, 500])} {chance.randrange(50_000)} "-" "Mozilla/5.0 (X11; Linux)" {request}'
            )
        case "json":
            message = {"level": word(["info", "info", "warn", "error"]), "msg": " ".join(words(_WORDS, k=8))}
            return json.dumps(message | {"request_id": str(request), "took_ms": chance.randrange(5_000)})
        case "syslog":
            told = " ".join(words(_WORDS, k=12))
            return f"Nov 21 {clock} host-1 {word(_WORDS)}[{chance.randrange(32_768)}]: {told} from {address}"
        case _:
            return (
                f'I1121 {clock}.{chance.randrange(10**6):06} {chance.randrange(9_999)} {word(_WORDS)}.go:77] "Told"'
                f' pod="kube-system/{word(_WORDS)}-{chance.getrandbits(40):010x}" id="{chance.getrandbits(256):064x}"'
            )


def requests(count: int) -> Iterator[bytes]:
    """Yield push requests of four streams."""
    chance = random.Random(1)
    for first in range(0, count, REQUEST_LINES):
        streams: dict[str, list[bytes]] = {kind: [] for kind in KINDS}
        for n in range(first, min(first + REQUEST_LINES, count)):
            streams[KINDS[n % 4]].append(loki.encode_entry(START_NS + n * STEP_NS, line(n, chance).encode()))
        yield b"".join(
            loki.encode_stream(loki.encode_labels({"app": kind, "cluster": "local"}.items()), b"".join(entries))
            for kind, entries in streams.items()
        )


async def measure(count: int, folder: Path) -> None:
    """Fill a store and ask it."""
    config = LogStoreConfig(path=folder / "logs.db", max_bytes=8 << 30)
    store = LogStore(config, CollectorRegistry(), clock=lambda: START_NS / 1e9)
    await store.start()
    cpu_s, raw_bytes = 0.0, 0
    for request in requests(count):
        began_s = time.process_time()
        await store.append(request)
        cpu_s += time.process_time() - began_s
        raw_bytes += len(request)
    began_s = time.process_time()
    await store.maintain(seal=True)
    cpu_s += time.process_time() - began_s
    stored_bytes = (await store.summary()).stored_bytes
    print(
        f"{count} lines of {raw_bytes / count:.0f} bytes: {cpu_s / count * 1e6:.1f} µs CPU and "
        f"{stored_bytes / count:.0f} bytes on disk each, {raw_bytes / stored_bytes:.1f} times smaller"
    )
    await ask(store, count)
    await store.close()


async def ask(store: LogStore, count: int) -> None:
    """Search for what stands anywhere in one line, in some and in many, and print how long each takes."""
    middle = Query(start_ns=START_NS + count // 2 * STEP_NS, end_ns=START_NS + (count // 2 + 4) * STEP_NS)
    by_kind = {dict(entry.labels)["app"]: entry.line for entry in (await store.entries(middle, 4)).entries}
    request, pod = json.loads(by_kind["json"])["request_id"], by_kind["klog"].partition('pod="')[2].partition('"')[0]
    scan_s, _ = await search(store, SCANS)
    print(f"  what no index helps with ({SCANS}): {scan_s * 1000:.0f} ms")
    for name, text in {
        "a UUID": request,
        "the middle of a UUID": request[6:24],
        "a pod": pod[12:],
        "an address": by_kind["access"].split()[0],
        "a number of five digits": by_kind["syslog"].partition("[")[2].partition("]")[0].zfill(5),
        "a phrase of common words": '"refused timeout"',
        "a common word": "error",
        "nothing there is": "zzz-nothing",
        "a regular expression": f'~"{request[:8]}-.{{4}}-"',
    }.items():
        took_s, found = await search(store, text)
        print(f"  {name}: {found} lines in {took_s * 1000:.1f} ms, {scan_s / took_s:.0f} times as fast")


async def search(store: LogStore, text: str) -> tuple[float, int]:
    """Return the least of three times that a search for 500 lines takes, in seconds, and how many it found."""
    query = Query(text=parse_text(text))
    times = []
    for _ in range(3):
        began_s = time.perf_counter()
        found = await store.entries(query, 500, budget_s=600)
        times.append(time.perf_counter() - began_s)
    return min(times), len(found.entries)


def in_rows(count: int, folder: Path) -> None:
    """Print what plain FTS5 tables take for the same lines, one row each, beside zstd of 64 lines at a time."""
    chance = random.Random(1)
    lines = [line(n, chance) for n in range(min(count, 100_000))]
    packed = sum(
        len(cramjam.zstd.compress("".join(lines[n : n + 64]).encode(), level=3)) for n in range(0, len(lines), 64)
    )
    print(f"lines alone, packed by 64: {packed / len(lines):.0f} bytes")
    for tokenizer, detail in (("unicode61", "full"), ("unicode61", "none"), ("trigram", "none")):
        took_s, size = _index(folder / f"{tokenizer}-{detail}.db", tokenizer, detail, lines)
        each = f"{took_s / len(lines) * 1e6:.1f} µs, {size / len(lines):.0f} bytes"
        print(f"  index of rows, {tokenizer}, detail={detail}: {each}")


def _index(path: Path, tokenizer: str, detail: str, lines: Sequence[str]) -> tuple[float, int]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA page_size = 16384")
        options = f"content='', columnsize=0, detail={detail}, tokenize='{tokenizer}'"
        connection.execute(f"CREATE VIRTUAL TABLE words USING fts5(text, {options})")
        began_s = time.process_time()
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO words (rowid, text) VALUES (?, ?)", enumerate(lines))
        connection.execute("COMMIT")
        return time.process_time() - began_s, path.stat().st_size


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        asyncio.run(measure(chosen.lines, Path(made)))
        in_rows(chosen.lines, Path(made))
