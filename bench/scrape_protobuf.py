"""What the work on a protobuf page costs: read, encode, compress; no HTTP, no disk. CPU seconds a million samples.

    python -m bench.scrape_protobuf [--series 20000] [--histograms 1000] [--scrapes 12]

The same series as gauges in text and in protobuf, of which none, some or all change; then native histograms of twenty
buckets. `runtime` is what the official protobuf runtime (upb) would cost for the first step alone: parsing a page, and
reading labels and values off its messages; comparing, encoding and all else would come on top.

Notes, from 20,000 series (two shared cores with others at work, Python 3.11: ratios only):
- plain Python reads a page that changed everywhere in 1.4 s/M; the runtime needs 2.3 to 3.7 for its part, of which
  parsing is 0.1 to 0.3. What costs is making Python objects of every label at every scrape: here known labels are
  compared as bytes and not decoded again.
- accelerated 0.13 s/M, 0.07 where nothing changed: a family that is as it was costs a comparison. Text: 0.03, 0.01.
- a native histogram, 20 buckets: 50 s/M plain, 4.4 accelerated; its buckets are read, checked and written anew.
"""

import argparse
import time
from collections.abc import Callable
from struct import pack
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from agent.scrape.fast import PackedStems
from agent.scrape.labelling import Labelling
from agent.scrape.metadata import MetadataBook
from agent.scrape.page import Page, PageOptions
from agent.scrape.table import TableOptions
from bench.scrape_page import drive
from pipeline.wire.protobuf import decode_varint, encode_bytes, encode_varint

TEXT, PROTOBUF = "text/plain", "application/vnd.google.protobuf"
FAMILY_SERIES = 200


def labels(number: int) -> list[tuple[str, str]]:
    return [("namespace", f"team-{number % 40}"), ("pod", f"web-{number:06}"), ("node", f"node-{number % 100}")]


def name_of(number: int) -> str:
    return f"kube_{number // FAMILY_SERIES}"


def value_of(number: int, turn: int, churn: float) -> float:
    return number + 0.5 + (turn if number % 100 < churn * 100 else 0)


def text_page(series: int, turn: int, churn: float) -> bytes:
    out = []
    for number in range(series):
        if number % FAMILY_SERIES == 0:
            out.append(
                f"# HELP kube_{number // FAMILY_SERIES} What it is.\n# TYPE kube_{number // FAMILY_SERIES} gauge\n"
            )
        pairs = ",".join(f'{name}="{value}"' for name, value in labels(number))
        out.append(f"kube_{number // FAMILY_SERIES}{{{pairs}}} {value_of(number, turn, churn)}\n")
    return "".join(out).encode()


def encoded_labels(number: int) -> bytes:
    pairs = ((name.encode(), value.encode()) for name, value in labels(number))
    return b"".join(encode_bytes(0x0A, encode_bytes(0x0A, name) + encode_bytes(0x12, value)) for name, value in pairs)


def family(name: str, kind: int, metrics: list[bytes]) -> bytes:
    content = encode_bytes(0x0A, name.encode()) + encode_bytes(0x12, b"What it is.") + bytes([0x18, kind])
    content += b"".join(encode_bytes(0x22, metric) for metric in metrics)
    return encode_varint(len(content)) + content


def protobuf_page(series: int, turn: int, churn: float) -> bytes:
    out = []
    for start in range(0, series, FAMILY_SERIES):
        numbers = range(start, min(series, start + FAMILY_SERIES))
        values = (pack("<d", value_of(number, turn, churn)) for number in numbers)
        metrics = [
            encoded_labels(number) + b"\x12\x09\x09" + value for number, value in zip(numbers, values, strict=True)
        ]
        out.append(family(name_of(start), 1, metrics))
    return b"".join(out)


def histogram_page(count: int, turn: int) -> bytes:
    """Make a page of native histograms as client_golang writes them."""
    metrics = []
    for number in range(count):
        deltas = b"\x68" + encode_varint(2 * (turn + 1)) + b"\x68\x00" * 19
        content = b"\x08" + encode_varint(20 * (turn + 1)) + b"\x11" + pack("<d", 1.5 * turn)
        content += b"\x28\x06\x31" + pack("<d", 1e-9) + encode_bytes(0x62, b"\x08\x05\x10\x14") + deltas
        metrics.append(encoded_labels(number) + encode_bytes(0x3A, content))
    return family("rpc_seconds", 4, metrics)


def cost(make: Callable[[int], bytes], content_type: str, samples: int, scrapes: int, accelerated: bool) -> str:
    labelling = Labelling(target=(("instance", "127.0.0.1:1"), ("job", "ksm")))
    options = PageOptions(table=TableOptions(native_histograms=True))
    kept, slices, used = Page(labelling, options, MetadataBook(), accelerated), list[float](), 0.0
    bodies = [make(turn) for turn in range(4)]
    for turn in range(scrapes + 1):
        body = bytes(bytearray(bodies[turn % 4]))
        began = time.process_time()
        taken = drive(kept.take(body, content_type, 1_760_000_000_000 + turn * 15_000), slices)
        parts = drive(kept.parts(taken), slices)
        used += (time.process_time() - began) if turn else 0.0
        assert not taken.error and sum(part.items for part in parts) >= samples
    return f"{used / scrapes / samples * 1e6:8.3f} s/M  longest slice {max(slices) * 1000:5.1f} ms"


def runtime_cost(page: bytes, samples: int) -> str:
    """Read a page of gauges with the official runtime."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="bench.proto", package="bench", syntax="proto3")
    wanted: dict[str, list[tuple[int, str, Any]]] = {
        "LabelPair": [(1, "name", kinds.TYPE_STRING), (2, "value", kinds.TYPE_STRING)],
        "Gauge": [(1, "value", kinds.TYPE_DOUBLE)],
        "Metric": [(1, "label", "*LabelPair"), (2, "gauge", "Gauge"), (6, "timestamp_ms", kinds.TYPE_INT64)],
        "MetricFamily": [(1, "name", kinds.TYPE_STRING), (4, "metric", "*Metric")],
    }
    for name, fields in wanted.items():
        message = file.message_type.add(name=name)
        for number, field, kind in fields:
            added = message.field.add(name=field, number=number, label=kinds.LABEL_OPTIONAL)
            if isinstance(kind, str):
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".bench.{kind.removeprefix('*')}"
                added.label = kinds.LABEL_REPEATED if kind.startswith("*") else kinds.LABEL_OPTIONAL
            else:
                added.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    family_class: Any = message_factory.GetMessageClass(pool.FindMessageTypeByName("bench.MetricFamily"))
    began, at, found = time.process_time(), 0, []
    while at < len(page):
        size, at = decode_varint(page, at)
        found.append(family_class.FromString(page[at : at + size]))
        at += size
    parsed = time.process_time()
    read = [
        (tuple((label.name, label.value) for label in metric.label), metric.gauge.value, metric.timestamp_ms)
        for one in found
        for metric in one.metric
    ]
    assert len(read) == samples
    ended = time.process_time()
    parsing = (parsed - began) / samples * 1e6
    return f"{(ended - began) / samples * 1e6:8.3f} s/M, of which parsing {parsing:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=20_000)
    parser.add_argument("--histograms", type=int, default=1_000)
    parser.add_argument("--scrapes", type=int, default=12)
    given = parser.parse_args()
    for accelerated in (False, *([True] if PackedStems is not None else [])):
        name = "accelerated" if accelerated else "plain"
        for churn in (0.0, 0.02, 1.0):
            for content_type, make in ((TEXT, text_page), (PROTOBUF, protobuf_page)):
                spent = cost(
                    lambda turn, make=make, churn=churn: make(given.series, turn, churn),  # type: ignore[misc]
                    content_type,
                    given.series,
                    given.scrapes,
                    accelerated,
                )
                print(f"{name:12s} {content_type.rpartition('.')[2]:12s} {churn:4.0%} changed {spent}", flush=True)
        spent = cost(
            lambda turn: histogram_page(given.histograms, turn),
            PROTOBUF,
            given.histograms,
            given.scrapes,
            accelerated,
        )
        print(f"{name:12s} native histograms, all changed {spent}", flush=True)
    print(f"runtime      labels and values {runtime_cost(protobuf_page(given.series, 0, 1.0), given.series)}")


if __name__ == "__main__":
    main()
