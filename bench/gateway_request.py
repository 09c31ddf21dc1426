"""What one request costs a gateway, step by step: CPU microseconds for 2,000 samples, or log lines of 200 bytes.

    python -m bench.gateway_request [--signal logs] [--requests 1000]

Metrics come by remote write, logs by Loki's push, both as snappy protobuf. The steps are measured alone; `whole`
is a gateway's process (identity check on, a log that takes everything at once), pushed to over 8 connections by
another; what is left over is HTTP, the event loop and the gateway's own bookkeeping. The scan is the compiled one where
it is built; the plain one is measured beside it.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Sequence

from aiohttp import ClientSession, TCPConnector
from prometheus_client import CollectorRegistry

from bench.payloads import SIGNALS, Payloads
from bench.processes import free_port, stop, usage
from gateway.accept import accept_block, digest_of
from gateway.codec import CODECS
from gateway.config import GatewayConfig
from gateway.senders import Senders
from gateway.service import Gateway, rules_of
from pipeline.log.interface import Appending, Partition, TopicSpec
from pipeline.wire import snappy
from pipeline.wire.envelope import Envelope, Headers, Signal, crc32c, to_headers
from pipeline.wire.loki_scan import scan_logs, scan_logs_plain
from pipeline.wire.scan import Known, Memory, scan, scan_plain

TOKEN = "secret"
CONNECTIONS = 8
Scans = tuple[Callable[..., object], Callable[..., object]]
SCANS: dict[Signal, Scans] = {Signal.METRICS: (scan, scan_plain), Signal.LOGS: (scan_logs, scan_logs_plain)}


class InstantLog:
    """A log that has everything at once and keeps nothing: what the gateway costs without one."""

    max_record_bytes = 1_000_000

    async def ensure_topic(self, spec: TopicSpec) -> int:
        return 6

    async def append(self, at: Partition, headers: Headers, payload: bytes, *, key: bytes | None = None) -> Appending:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        done.set_result(0)
        return done


def config(port: int) -> GatewayConfig:
    return GatewayConfig.model_validate(
        {
            "log": {"kafka": {"brokers": ["127.0.0.1:9092"]}},
            "listen": {"http": f"127.0.0.1:{port}", "grpc": None},
            "clusters": [{"name": "c1", "tokens": [TOKEN]}],
        }
    )


async def serve(port: int) -> None:
    """Run the gateway that is measured, until it is killed."""
    part = Gateway(config(port), InstantLog(), CollectorRegistry())  # type: ignore[arg-type]  # what it calls of a log
    await part.start()
    await asyncio.Event().wait()


def cost_us(step: Callable[[bytes], object], inputs: Sequence[bytes]) -> float:
    """Return the CPU microseconds that a step takes on average, over two rounds."""
    for one in inputs:
        step(one)
    began_s = time.process_time()
    for one in inputs:
        step(one)
    return (time.process_time() - began_s) / len(inputs) * 1e6


def measure_steps(signal: Signal, bodies: Sequence[bytes]) -> dict[str, float]:
    """Measure each step by itself."""
    codec, (fastest, plain) = CODECS[signal], SCANS[signal]
    raws = [snappy.decompress(body) for body in bodies]
    settings = config(0)
    senders = Senders(settings, time.monotonic)
    sender = senders.authenticate(f"Bearer {TOKEN}")
    rules = rules_of(settings, InstantLog.max_record_bytes)
    values = {"signal": signal, "encoding": codec.encoding, "cluster": "c1", "agent": "gw", "epoch": 1}
    envelope = Envelope(**values, lane=1, sequence=1, items=2000, raw_bytes=1, created_ms=1, crc32c=1, digest="0" * 32)  # type: ignore[arg-type]
    known = Known(Memory(1 << 30))
    compiled = {"identity scan, compiled": cost_us(lambda raw: fastest(raw, b"cluster", b"c1", known), raws)}
    return {
        "decompress": cost_us(snappy.decompress, bodies),
        **(compiled if fastest is not plain else {}),
        "identity scan, plain": cost_us(lambda raw: plain(raw, b"cluster", b"c1", known), raws),
        "CRC32C": cost_us(crc32c, bodies),
        "digest": cost_us(lambda body: digest_of(body, "c1", ""), bodies),
        "token": cost_us(lambda _: senders.authenticate(f"Bearer {TOKEN}"), bodies),
        "envelope to headers": cost_us(lambda _: to_headers(envelope), bodies),
        "accept, all of it": cost_us(lambda body: accept_block(codec, body, sender, senders, rules), bodies),  # type: ignore[arg-type]
    }


async def measure_whole(payloads: Payloads, bodies: Sequence[bytes], count: int) -> tuple[float, float]:
    """Push to a gateway's process; return its CPU microseconds a request, and requests a second."""
    port = free_port()
    command = (sys.executable, "-m", "bench.gateway_request", "--serve", str(port))
    process = await asyncio.create_subprocess_exec(*command)
    try:
        url = f"http://127.0.0.1:{port}{payloads.write_path}"
        headers = {**payloads.headers, "Authorization": f"Bearer {TOKEN}"}
        async with ClientSession(connector=TCPConnector(limit=CONNECTIONS), headers=headers) as session:

            async def push(numbers: range) -> None:
                for number in numbers:
                    async with session.post(url, data=bodies[number % len(bodies)]) as answer:
                        assert answer.status == 204, await answer.text()

            for _ in range(100):
                try:
                    await push(range(1))
                    break
                except OSError:
                    await asyncio.sleep(0.1)
            await push(range(len(bodies)))
            before, began_s = usage(process.pid).cpu_s, time.monotonic()
            await asyncio.gather(*(push(range(part, count, CONNECTIONS)) for part in range(CONNECTIONS)))
            elapsed_s, cpu_s = time.monotonic() - began_s, usage(process.pid).cpu_s - before
    finally:
        await stop(process)
    return cpu_s / count * 1e6, count / elapsed_s


async def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.gateway_request", description=__doc__)
    parser.add_argument("--signal", choices=sorted(SIGNALS), default="metrics")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--serve", type=int, default=0, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        await serve(chosen.serve)
    signal, payloads = Signal(chosen.signal), SIGNALS[chosen.signal]
    source = payloads.requests(2000)
    bodies = [next(source) for _ in range(100)]
    raw_bytes = snappy.decompressed_bytes(bodies[0])
    print(f"requests of 2,000 {payloads.items}, {len(bodies[0])} bytes, {raw_bytes} decompressed")
    for name, microseconds in measure_steps(signal, bodies).items():
        print(f"  {name:28s} {microseconds:7.0f} µs")
    microseconds, per_second = await measure_whole(payloads, bodies, chosen.requests)
    how = "plain" if SCANS[signal][0] is SCANS[signal][1] else "compiled"
    print(f"  {'whole, without a log':28s} {microseconds:7.0f} µs   ({how} scan, {per_second:.0f} requests/s)")


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
