"""Real pages through `pronoia scrape -`: every series, and every digit, as Prometheus 3 reads them."""

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pronoia.cli import main
from tests.conformance.data import folder

PAGES = folder("exposition")


@pytest.mark.parametrize("golden", sorted((PAGES / "golden").glob("*.json.gz")), ids=lambda path: path.name)
def test_a_scrape_shows_every_series_with_every_digit(golden: Path) -> None:
    oracle = json.loads(gzip.decompress(golden.read_bytes()))
    body = (PAGES / Path(oracle["id"]).name).read_bytes()
    # Labels without a value are read, and not sent.
    expected = {
        (tuple(sorted(pair for pair in entry["labels"].items() if pair[1])), entry["value"], entry.get("ts_ms"))
        for entry in oracle["entries"]
        if entry["kind"] == "series"
    }
    timed = {labels for labels, _, timestamp_ms in expected if timestamp_ms is not None}
    result = CliRunner().invoke(main, ["scrape", "-", "--format", "text", "--canonical-bounds", "--json"], input=body)
    assert result.exit_code == 0
    shown = set()
    for sample in map(json.loads, result.stdout.splitlines()):
        labels = tuple(sorted(sample["labels"].items()))
        shown.add((labels, sample["value"], sample["timestamp"] if labels in timed else None))
    assert shown == expected
