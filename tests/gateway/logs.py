"""Requests of logs, and the entries that then are in the log."""

from typing import Any

from pipeline.log.interface import Record
from pipeline.wire import snappy
from pipeline.wire.envelope import LOGS_ENCODING, Signal
from pipeline.wire.loki import decode, encode_entry, encode_labels, encode_stream
from pipeline.wire.push_pb2 import Batch
from tests.gateway.running import TIME_MS, Running, batch

TIME_NS = TIME_MS * 1_000_000


def lines(*texts: bytes | str, **labels: str) -> bytes:
    """Encode one stream with an entry for each line, a nanosecond apart."""
    entries = [
        encode_entry(TIME_NS + n, text if isinstance(text, bytes) else text.encode()) for n, text in enumerate(texts)
    ]
    return encode_stream(encode_labels(labels.items()), b"".join(entries))


def own_line(number: int, cluster: str = "c1") -> bytes:
    """Encode a stream of the cluster with its n-th line."""
    return lines(f"line {number}", cluster=cluster)


def logs_batch(raw: bytes, sequence: int, lane: int = 3, **changes: Any) -> Batch:
    """Make an agent's batch of logs."""
    return batch(raw, sequence, lane, **{"signal": Signal.LOGS, "encoding": LOGS_ENCODING, **changes})


def lines_of(*records: Record) -> list[tuple[str, str]]:
    """Return labels and line of every entry in records, in order."""
    return [
        (stream.labels, entry.line.decode())
        for record in records
        for stream in decode(snappy.decompress(record.payload))
        for entry in stream.entries
    ]


async def kept_lines(run: Running) -> list[tuple[str, str]]:
    """Return labels and line of every entry in the log."""
    return lines_of(*await run.records(Signal.LOGS))
