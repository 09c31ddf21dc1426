"""Real pages once more, this time through protobuf: the series and every bit that Prometheus reads off the text."""

import gzip
import json
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pipeline.wire.exposition import Format, Sample, choose_format, entries
from tests.conformance.data import folder
from tests.servers.histograms import Histograms
from tests.servers.node_exporter import NodeExporter

PAGES = folder("exposition")
ACCEPT = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
OWN = ("node_textfile_", "node_exporter_build_info", "node_scrape_collector_")
"""What node_exporter adds to the pages that it shows."""
Series = tuple[tuple[tuple[str, str], ...], str, int | None]


def golden(path: Path) -> Counter[Series]:
    oracle = json.loads(gzip.decompress((PAGES / "golden" / f"{path.stem}.oracle.json.gz").read_bytes()))
    series = (entry for entry in oracle["entries"] if entry["kind"] == "series")
    return Counter((labels(entry["labels"].items()), entry["bits"], entry.get("ts_ms")) for entry in series)


def read(body: bytes, without: tuple[str, ...] = ()) -> Counter[Series]:
    found = [entry for entry in entries(body, Format.PROTOBUF) if isinstance(entry, Sample)]
    shown = (one for one in found if not dict(one.labels)["__name__"].startswith(without))
    return Counter((labels(one.labels), one.value[::-1].hex(), one.timestamp_ms) for one in shown)


def labels(pairs: Iterable[tuple[str, Any]]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in pairs if value))


# node_exporter takes no pages with timestamps, nor its own metrics once more.
@pytest.mark.parametrize("name", ["k8s1_31_etcd", "k8s1_31_ksm", "k8s1_31_scheduler"])
async def test_a_page_that_node_exporter_shows_in_protobuf(name: str, tmp_path: Path) -> None:
    path = PAGES / f"{name}.prom"
    (tmp_path / "pages").mkdir()
    shutil.copy(path, tmp_path / "pages")
    async with NodeExporter(tmp_path / "node_exporter", tmp_path / "pages") as exporter:
        body, content_type = await exporter.page(ACCEPT)
    assert choose_format(content_type) is Format.PROTOBUF
    assert read(body, without=OWN) == golden(path)


async def test_every_page_that_client_golang_writes_in_protobuf(tmp_path: Path) -> None:
    paths = sorted(PAGES.glob("*.prom"))
    assert len(paths) == 6
    async with Histograms(tmp_path) as target:
        for path in paths:
            assert read(await target.convert(path.read_bytes())) == golden(path), path


async def test_node_exporters_own_page_reads_in_protobuf_as_in_text(tmp_path: Path) -> None:
    async with NodeExporter(tmp_path) as exporter:
        text, _ = await exporter.page("text/plain")
        body, _ = await exporter.page(ACCEPT)
    names = {labels(one.labels) for one in entries(text, Format.TEXT) if isinstance(one, Sample)}
    assert len(names) > 300
    assert {labels(one.labels) for one in entries(body, Format.PROTOBUF) if isinstance(one, Sample)} == names
