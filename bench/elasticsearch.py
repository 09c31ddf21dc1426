"""The Elasticsearch sink against a real server on this machine: who is at their limit?

    python -m bench.elasticsearch [--server elasticsearch|opensearch] [--signal logs|metrics] [--seconds 30]

Requests are as the engine gives them, from records that were made before. The sink runs in a process of its own. Lines
are of 200 bytes, ten streams a record. Printed are documents a second, and the cores that each side used: the server at
its limit takes what the machine has beyond the sink's share.
"""

import argparse
import asyncio
import multiprocessing
import os
import struct
import time
from multiprocessing.queues import Queue
from typing import Any

from crc32c import crc32c

from bench.processes import usage
from pipeline.send.request import Piece
from pipeline.wire import loki, snappy
from pipeline.wire.envelope import LOGS_ENCODING, METRICS_ENCODING, Envelope, Signal
from pipeline.wire.remote_write import encode_labels, encode_sample, encode_series

RECORD_ITEMS = 2_000
STREAMS = 6
"""Partitions that send at the same time."""
HEAP = "1g"
NOW_MS = 1_790_000_000_000


def line(number: int) -> bytes:
    """A line as services write them: words that repeat, and numbers that do not."""
    what = (number % 300, number * 7919 % 100_003, number % 9973, number * 0x9E3779B97F4A7C15 % 2**64, number % 997)
    text = (
        b'level=info caller=h.go:%d msg="request served" method=GET path=/items/%d took=%dus trace=%016x user=u%d'
        % what
    )
    return text.ljust(200, b".")


def log_record(lane: int, sequence: int) -> Piece:
    """Make one record of log lines."""
    first, entries = sequence * RECORD_ITEMS, RECORD_ITEMS // 10
    streams = []
    for stream in range(10):
        labels = {"cluster": "c1", "namespace": f"n{stream % 3}", "pod": f"p{lane}-{stream}", "container": "app"}
        numbers = range(first + stream * entries, first + (stream + 1) * entries)
        encoded = b"".join(loki.encode_entry((NOW_MS + n) * 1_000_000 + n % 1000, line(n)) for n in numbers)
        streams.append(loki.encode_stream(loki.encode_labels(labels.items()), encoded))
    return _piece(b"".join(streams), Signal.LOGS, LOGS_ENCODING, lane, sequence, RECORD_ITEMS)


def metric_record(lane: int, sequence: int) -> Piece:
    """Make one record of a scrape: five samples share their labels, as of a node exporter."""
    parts = []
    for n in range(RECORD_ITEMS):
        labels = {"__name__": f"metric_{n % 5}_{n % 300 // 5}", "instance": f"node-{lane}", "device": f"d{n // 5}"}
        sample = encode_sample(struct.pack("<d", float(n * sequence % 9973)), NOW_MS + sequence * 15_000)
        parts.append(encode_series(encode_labels(sorted(labels.items())) + sample))
    return _piece(b"".join(parts), Signal.METRICS, METRICS_ENCODING, lane, sequence, RECORD_ITEMS)


def _piece(raw: bytes, signal: Signal, encoding: str, lane: int, sequence: int, items: int) -> Piece:
    payload = snappy.compress(raw)
    envelope = Envelope(
        signal=signal, encoding=encoding, cluster="c1", agent="bench", epoch=1, lane=lane, sequence=sequence,
        items=items, raw_bytes=len(raw), created_ms=NOW_MS, crc32c=crc32c(payload),
    )  # fmt: skip
    return Piece(payload, items, envelope=envelope)


def send(url: str, signal: str, seconds: float, told: "Queue[Any]") -> None:
    """Be the sink's process: send for some seconds after a warm-up, and tell what it came to."""
    asyncio.run(_send(url, signal, seconds, told))


async def _send(url: str, signal: str, seconds: float, told: "Queue[Any]") -> None:
    from prometheus_client import CollectorRegistry

    from ingester.config import SinkConfig
    from ingester.sinks.kinds import KINDS, SinkTools
    from pipeline.delivery import Delivered
    from pipeline.send.codec import CODECS
    from pipeline.send.request import Request
    from pipeline.telemetry import IngesterMetrics

    section = {"hosts": [url], "replicas": 0, "signal": signal}
    config = SinkConfig.model_validate({"name": "bench", "elasticsearch": section})
    sink = KINDS["elasticsearch"](config, SinkTools(IngesterMetrics(CollectorRegistry())))
    await sink.start()
    make = log_record if signal == "logs" else metric_record
    # The payloads repeat, and the envelopes do not: making them is not what is measured.
    kept = [[make(lane, sequence) for sequence in range(20)] for lane in range(STREAMS)]
    done = 0

    async def feed(lane: int) -> None:
        nonlocal done
        number = 0
        while True:
            pieces = []
            for _ in range(5):
                piece = kept[lane][number % 20]
                assert piece.envelope is not None
                fields = {name: getattr(piece.envelope, name) for name in piece.envelope.__slots__}
                envelope = Envelope(**{**fields, "sequence": number})
                pieces.append(Piece(piece.payload, piece.items, envelope=envelope))
                number += 1
            request = Request(pieces, CODECS[sink.signal], "c1", "")
            while not isinstance(await sink.send(request), Delivered):
                await asyncio.sleep(0.1)
            done += request.items

    async with asyncio.TaskGroup() as tasks:
        feeds = [tasks.create_task(feed(lane)) for lane in range(STREAMS)]
        await asyncio.sleep(seconds / 2)
        told.put("warm")
        before, cpu_s, began_s = done, time.process_time(), time.monotonic()
        await asyncio.sleep(seconds)
        told.put((done - before, time.process_time() - cpu_s, time.monotonic() - began_s))
        for task in feeds:
            task.cancel()
    await sink.close()


async def main(argv: list[str] | None = None) -> None:
    """Measure."""
    from tests.servers.elasticsearch import Elasticsearch
    from tests.servers.opensearch import OpenSearch

    parser = argparse.ArgumentParser(prog="bench.elasticsearch", description=__doc__)
    parser.add_argument("--server", choices=("elasticsearch", "opensearch"), default="elasticsearch")
    parser.add_argument("--signal", choices=("logs", "metrics"), default="logs")
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args(argv)
    kind = {"elasticsearch": Elasticsearch, "opensearch": OpenSearch}[options.server]
    # As a server runs: with a heap to work in, and with the compiler that tests go without.
    async with kind(jvm_options=(f"-Xms{HEAP}", f"-Xmx{HEAP}", "-XX:+UseG1GC")) as server:
        context = multiprocessing.get_context("spawn")
        told = context.Queue()
        process = context.Process(target=send, args=(server.url, options.signal, options.seconds, told))
        process.start()
        try:
            await asyncio.to_thread(told.get)
            before_s = usage(server.pids[0]).cpu_s
            items, cpu_s, took_s = await asyncio.to_thread(told.get)
            server_s = usage(server.pids[0]).cpu_s - before_s
        finally:
            await asyncio.to_thread(process.join)
        documents = await server.count("pronoia-*")
    cores = os.cpu_count() or 1
    print(
        f"  {options.server}, {options.signal}: {items / took_s:,.0f} items/s ({documents:,} documents in all);"
        f" sink {cpu_s / items * 1e6:.1f} us an item, {cpu_s / took_s:.2f} cores;"
        f" server {server_s / items * 1e6:.1f} us, {server_s / took_s:.2f} of {cores} cores",
        flush=True,
    )


if __name__ == "__main__":
    asyncio.run(main())
