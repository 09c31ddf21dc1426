"""Pages that change at random, against a model that reads every page anew."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from agent.scrape.labelling import Labelling
from agent.scrape.page import PageOptions
from agent.scrape.table import TableOptions
from pipeline.wire.errors import MalformedError
from pipeline.wire.exposition import Format, Sample, entries
from pipeline.wire.remote_write import Labels
from tests.agent.scrape.pages import IMPLEMENTATIONS, T0, new_page, scrape, show, shown, stored

NAMES = [*(f"plain_{n}" for n in range(8)), *(f'label_{n}{{x="{n}",y="a}}b"}}' for n in range(8))]
TIMED = [*(f"timed_{n}" for n in range(3)), 'timed{x="1"}', "plain_3"]
TIMED_VALUES = ["1", "2", "1.5e3", "-.5", "NaN", "+Inf"]
VALUES = ["0", "1", "-2.5", "1e9", "NaN", "+Inf", "123456.78901234567", "0.1"]
CONTENT_TYPES = {Format.TEXT: "text/plain", Format.OPENMETRICS: "application/openmetrics-text"}


def relabel(labels: Labels) -> Labels | None:
    name = dict(labels)["__name__"]
    if name == "plain_3":
        return None
    # Two series of the page become one.
    return tuple(sorted({**dict(labels), "__name__": "plain_5"}.items())) if name == "plain_6" else labels


@dataclass
class Model:
    """What Prometheus would store, worked out without remembering anything but what is live."""

    honor_timestamps: bool
    live: set[str] = field(default_factory=set)
    newest: dict[str, tuple[int, str]] = field(default_factory=dict)

    def scrape(self, body: bytes, page_format: Format, at_ms: int) -> tuple[bool, dict[str, list[tuple[str, int]]]]:
        samples: list[Sample] = []
        good = True
        try:
            samples.extend(entry for entry in entries(body, page_format) if isinstance(entry, Sample))
        except MalformedError:
            good = False
        out: dict[str, list[tuple[str, int]]] = {}
        seen: set[str] = set()
        timed: set[str] = set()
        for sample in samples:
            labels = relabel(tuple(pair for pair in sample.labels if pair[1]))
            if labels is None:
                continue
            series, value = show(labels), shown(sample.value)
            if sample.timestamp_ms is None or not self.honor_timestamps:
                if series not in seen:
                    out[series] = [(value, at_ms)]
                seen.add(series)
                continue
            timed.add(series)
            if good and (series not in self.newest or sample.timestamp_ms > self.newest[series][0]):
                self.newest[series] = (sample.timestamp_ms, value)
                out.setdefault(series, []).append((value, sample.timestamp_ms))
        if good:
            self.newest = {series: newest for series, newest in self.newest.items() if series in timed}
        ended = {series: [("stale", at_ms)] for series in self.live - seen}
        self.live = seen if good else self.live & seen | (seen & self.known)
        self.known = seen if good else self.known
        return good, {**(out if good else {}), **ended}

    known: set[str] = field(default_factory=set)


def timed(chance: random.Random, clock: int) -> str:
    return f"{chance.choice(TIMED_VALUES)} {clock + chance.choice([0, 0, 0, 5, -5])}"


def pages(chance: random.Random) -> Iterator[tuple[bytes, Format]]:
    lines: list[tuple[str, str]] = [(name, chance.choice(VALUES)) for name in chance.sample(NAMES, 8)]
    page_format = chance.choice(list(CONTENT_TYPES))
    clock = 1000
    for _ in range(12):
        for _ in range(chance.choice([0, 1, 1, 3])):
            at = chance.randrange(len(lines) + 1)
            match chance.randrange(5):
                case 0:
                    lines.insert(at, (chance.choice(NAMES), chance.choice(VALUES)))
                case 1:
                    lines[at : at + chance.choice([1, 1, 4])] = []
                case 2:
                    chance.shuffle(lines)
                case 3:
                    lines.insert(at, (chance.choice(["# HELP a b", "# TYPE a gauge"]), ""))
                case 4:
                    clock += 1
                    lines.insert(at, (chance.choice(TIMED), timed(chance, clock)))
        moves = chance.random() < 0.5
        clock += moves
        lines = [
            (name, chance.choice(VALUES) if value in VALUES and chance.random() < 0.3 else value)
            if " " not in value
            else (name, timed(chance, clock) if moves and chance.random() < 0.8 else value)
            for name, value in lines
        ]
        texts = [f"{name} {value}".rstrip() for name, value in lines]
        if chance.random() < 0.15:
            texts.insert(chance.randrange(len(texts) + 1), chance.choice(["bad", "plain_1 x", 'a{b="c" 1', "{} 1"]))
        if chance.random() < 0.1:
            page_format = chance.choice(list(CONTENT_TYPES))
        end = "# EOF\n" if page_format is Format.OPENMETRICS else ""
        body = "".join(text + "\n" for text in texts) + end
        if body:
            yield body.encode(), page_format


@pytest.mark.parametrize("accelerated", IMPLEMENTATIONS)
@pytest.mark.parametrize("block", [1, 3, 10_000])
@pytest.mark.parametrize("honor_timestamps", [True, False])
def test_pages_that_change_at_random_are_stored_as_if_each_were_read_anew(
    accelerated: bool, block: int, honor_timestamps: bool
) -> None:
    for seed in range(150):
        chance = random.Random(seed)
        options = PageOptions(table=TableOptions(honor_timestamps=honor_timestamps), max_samples=block)
        page = new_page(accelerated, options, Labelling(target=(), relabel=relabel))
        model = Model(honor_timestamps)
        for number, (body, page_format) in enumerate(pages(chance)):
            at_ms = T0 + number * 1000
            good, expected = model.scrape(body, page_format, at_ms)
            taken, parts = scrape(page, body, at_ms, CONTENT_TYPES[page_format])
            found = {series: sorted(samples, key=lambda s: s[1]) for series, samples in stored(parts).items()}
            assert (not taken.error, found) == (good, expected), (seed, number, taken.error, body)
