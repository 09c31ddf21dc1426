"""Driving a page through scrapes, and looking at what it sends as a store would."""

from collections.abc import Generator, Sequence
from typing import TypeVar

import pytest

from agent.part import Part
from agent.scrape.fast import PackedStems
from agent.scrape.labelling import Labelling
from agent.scrape.metadata import MetadataBook
from agent.scrape.page import Page, PageOptions, Taken
from pipeline.wire import snappy
from pipeline.wire.histogram import STALE_HISTOGRAM, TIMESTAMP
from pipeline.wire.histogram_read import read_written
from pipeline.wire.protobuf import encode_varint, fields
from pipeline.wire.remote_write import METADATA, STALE_NAN, Labels, Series, decode, unpack_double

T = TypeVar("T")
T0 = 1_700_000_000_000
TARGET: Labels = (("instance", "host:1"), ("job", "test"))

IMPLEMENTATIONS = [
    pytest.param(False, id="plain"),
    pytest.param(
        True,
        id="accelerated",
        marks=pytest.mark.skipif(PackedStems is None, reason="the accelerator was not built (setup.py build_ext)"),
    ),
]


def drive(steps: Generator[None, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def new_page(accelerated: bool, options: PageOptions | None = None, labelling: Labelling | None = None) -> Page:
    return Page(labelling or Labelling(target=TARGET), options or PageOptions(), MetadataBook(), accelerated)


def scrape(page: Page, body: bytes, at_ms: int = T0, content_type: str = "text/plain") -> tuple[Taken, list[Part]]:
    taken = drive(page.take(body, content_type, at_ms))
    return taken, drive(page.parts(taken))


def shown(value: bytes) -> str:
    if len(value) > 8:
        return "stale histogram" if value == STALE_HISTOGRAM else f"histogram {value.hex()}"
    return "stale" if value == STALE_NAN else repr(unpack_double(value)[0])


def samples_of(series: Series) -> list[tuple[bytes, int]]:
    """Return a series' numbers and native histograms, these as encoded without their time."""
    out = list(series.samples)
    for histogram in series.histograms:
        _, at_ms = read_written(histogram)
        end = TIMESTAMP + encode_varint(at_ms)
        assert histogram.endswith(end)
        out.append((histogram.removesuffix(end), at_ms))
    return out


def stored(parts: Sequence[Part], reports: bool = False) -> dict[str, list[tuple[str, int]]]:
    """Return what a store holds of the parts: series (target labels left out) → samples."""
    out: dict[str, list[tuple[str, int]]] = {}
    for part in parts:
        raw = snappy.decompress(part.payload)
        assert part.raw_bytes == len(raw)
        series_list = list(decode(raw))
        samples = [sample for series in series_list for sample in samples_of(series)]
        assert part.items == len(samples)
        assert len({series.labels for series in series_list}) == len(series_list), "a series stands twice in a request"
        if samples:
            assert part.earliest_ms == min(at for _, at in samples)
            assert part.latest_ms == max(at for _, at in samples)
        for series in series_list:
            assert list(series.labels) == sorted(series.labels)
            name = dict(series.labels)["__name__"]
            found = samples_of(series)
            if found and (reports or not (name == "up" or name.startswith("scrape_"))):
                out.setdefault(show(series.labels), []).extend((shown(v), at) for v, at in found)
    return out


def show(labels: Labels) -> str:
    rest = [f'{name}="{value}"' for name, value in labels if name != "__name__" and (name, value) not in TARGET]
    return dict(labels)["__name__"] + ("{" + ",".join(rest) + "}" if rest else "")


def exemplars(parts: Sequence[Part]) -> list[tuple[str, Labels, float, int]]:
    return [
        (show(series.labels), exemplar.labels, unpack_double(exemplar.value)[0], exemplar.timestamp_ms)
        for part in parts
        for series in decode(snappy.decompress(part.payload))
        for exemplar in series.exemplars
    ]


def metadata(parts: Sequence[Part]) -> list[dict[int, str | int]]:
    """Return metadata entries as field number → content."""
    out = []
    for part in parts:
        raw = snappy.decompress(part.payload)
        for tag, _, start, end in fields(raw):
            if tag == METADATA:
                entry = {t >> 3: raw[s:e].decode() if t & 7 == 2 else n for t, n, s, e in fields(raw, start, end)}
                out.append(entry)
    return out


def report(parts: Sequence[Part]) -> dict[str, str]:
    """Return the last values of the series that tell about the scrape."""
    found = stored(parts, reports=True)
    return {name: samples[-1][0] for name, samples in found.items() if name == "up" or name.startswith("scrape_")}
