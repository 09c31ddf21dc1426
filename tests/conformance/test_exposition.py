"""Pages of other systems' test suites, against what Prometheus makes of them."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.wire.errors import MalformedError
from pipeline.wire.exposition import Comment, Entry, Format, Help, Sample, Type, Unit, choose_format, entries
from pipeline.wire.remote_write import unpack_double
from tests.conformance.data import folder, json_lines

OPENMETRICS, TEXTPARSE, PAGES = folder("openmetrics-testdata"), folder("prom-textparse") / "cases", folder("exposition")


def read(body: bytes, content_type: str) -> tuple[list[Entry], str]:
    """Return the entries up to the end or to what is wrong, and what is wrong."""
    found: list[Entry] = []
    try:
        found.extend(entry for entry in entries(body, choose_format(content_type)) if not isinstance(entry, Comment))
    except MalformedError as error:
        return found, str(error)
    return found, ""


def as_oracle(entry: Entry) -> dict[str, Any]:
    match entry:
        case Help(family, text):
            return {"kind": "help", "metric": family, "text": text}
        case Type(family, kind):
            return {"kind": "type", "metric": family, "text": kind.name.lower()}
        case Unit(family, unit):
            return {"kind": "unit", "metric": family, "text": unit}
        case Sample():
            out: dict[str, Any] = {
                "kind": "series",
                "metric": entry.series.decode(),
                "labels": dict(entry.labels),
                "bits": entry.value[::-1].hex(),
            }
            if entry.timestamp_ms is not None:
                out["ts_ms"] = entry.timestamp_ms
            for exemplar in entry.exemplars:
                ms = exemplar.timestamp_ms
                shown = {"labels": dict(exemplar.labels), "has_ts": ms is not None, "ts_ms": ms or 0}
                out["exemplars"] = [shown | {"value": float(unpack_double(exemplar.value)[0])}]
            return out
    raise AssertionError(entry)


def expected(entry: dict[str, Any]) -> dict[str, Any]:
    """What the oracle says, less what no scrape keeps: the shown value and start timestamps."""
    out = {key: value for key, value in entry.items() if key not in ("value", "start_ts_ms")}
    if entry["kind"] != "series":
        out.setdefault("text", "")
    if "exemplars" in out:
        out["exemplars"] = [shown | {"value": float(shown["value"])} for shown in out["exemplars"]]
    return out


def series_only(entry: dict[str, Any]) -> bool:
    # What the recorder skipped (`_created` lines are start timestamps to it) a scrape keeps as series.
    return not (entry["kind"] == "series" and entry["labels"]["__name__"].endswith("_created"))


def check(body: bytes, oracle: dict[str, Any]) -> None:
    found, reason = read(body, oracle["ct"])
    assert (reason == "") == oracle["ok"], (reason, oracle.get("err"))
    want = [expected(entry) for entry in oracle.get("entries", [])]
    got, want = ([entry for entry in some if series_only(entry)] for some in (map(as_oracle, found), want))
    # Where a line is refused behind its value, Prometheus has already given the sample out, and drops it again.
    assert got == want or (reason and got == want[:-1])


def test_every_page_of_the_openmetrics_suite_is_read_or_refused_as_prometheus_does() -> None:
    oracles = json_lines(OPENMETRICS / "prometheus_oracle.jsonl")
    assert len(oracles) > 400
    for oracle in oracles:
        check((OPENMETRICS / "parsers" / oracle["id"] / "metrics").read_bytes(), oracle)


def test_every_good_page_of_the_openmetrics_suite_parses_as_openmetrics() -> None:
    pages = sorted((OPENMETRICS / "parsers").iterdir())
    good = [path for path in pages if json.loads((path / "test.json").read_text())["shouldParse"]]
    assert len(good) == 44
    for path in good:
        list(entries((path / "metrics").read_bytes(), Format.OPENMETRICS))


def test_every_parser_case_of_prometheus_gives_the_same_series_to_the_last_bit() -> None:
    cases, oracles = json_lines(TEXTPARSE / "parse_cases.jsonl"), json_lines(TEXTPARSE / "parse_cases.oracle.jsonl")
    assert len(cases) == len(oracles) == 115
    for case, oracle in zip(cases, oracles, strict=True):
        check(base64.b64decode(case["input_b64"]), oracle)


@pytest.mark.parametrize("path", sorted(PAGES.glob("*.prom")), ids=lambda path: path.stem)
def test_a_real_page_gives_the_series_that_prometheus_reads(path: Path) -> None:
    golden = PAGES / "golden" / f"{path.stem}.oracle.json.gz"
    check(path.read_bytes(), json.loads(gzip.decompress(golden.read_bytes())))
