"""Native histograms as `pronoia scrape` shows them."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline.wire.histogram import Histogram
from pipeline.wire.remote_write import pack_double
from pronoia.cli import main
from pronoia.histograms import as_json, buckets
from tests.pipeline.wire.client_model import GAUGE, GAUGE_HISTOGRAM, HISTOGRAM, encode, family, labels

PAGE = encode(
    family("g", GAUGE, {"gauge": {"value": 1}}),
    family(
        "rpc_seconds",
        HISTOGRAM,
        {
            "label": labels(method="get"),
            "histogram": {
                "sample_count": 6,
                "sample_sum": 4.2,
                "schema": 1,
                "zero_threshold": 0.25,
                "zero_count": 1,
                "negative_span": [{"offset": 2, "length": 1}],
                "negative_delta": [2],
                "positive_span": [{"offset": 3, "length": 1}],
                "positive_delta": [3],
                "exemplars": [{"value": 1.75, "label": labels(id="x"), "timestamp": {"seconds": 1700000000}}],
            },
        },
    ),
)


def run(*arguments: str) -> list[str]:
    result = CliRunner().invoke(main, ["scrape", "-", "--format", "protobuf", *arguments], input=PAGE)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_json_has_the_buckets_as_prometheus_api_has_them() -> None:
    shown: list[dict[str, Any]] = [json.loads(line) for line in run("--json")]
    (found,) = [one for one in shown if "histogram" in one]
    assert found.pop("timestamp") > 0
    assert found == {
        "labels": {"__name__": "rpc_seconds", "method": "get"},
        "histogram": {
            "count": "6",
            "sum": "4.2",
            "schema": 1,
            "zero_threshold": "0.25",
            "gauge": False,
            "buckets": [
                [1, "-2", "-1.4142135623730951", "2"],
                [3, "-0.25", "0.25", "1"],
                [0, "2", "2.8284271247461903", "3"],
            ],
        },
        "type": "histogram",
        "exemplars": [{"labels": {"id": "x"}, "value": "1.75", "timestamp": 1700000000000}],
    }
    assert [one["value"] for one in shown if "histogram" not in one] == ["1"]


def test_text_is_what_prometheus_writes() -> None:
    text = next(line for line in run() if line.startswith("rpc_seconds"))
    shown = "{count:6, sum:4.2, [-2,-1.4142135623730951):2, [-0.25,0.25]:1, (2,2.8284271247461903]:3}"
    assert text.startswith(f'rpc_seconds{{method="get"}} {shown} ')
    assert text.endswith(" # histogram")


@pytest.mark.parametrize(
    ("schema", "index", "bounds"),
    [
        (0, 0, (0.5, 1.0)),
        (-4, 1, (1.0, 65536.0)),
        (0, 1024, (2.0**1023, 1.7976931348623157e308)),
        (0, 1025, (1.7976931348623157e308, float("inf"))),
        (8, 256, (2 ** (255 / 256), 2.0)),
    ],
)
def test_bounds_are_powers_of_the_schemas_base(schema: int, index: int, bounds: tuple[float, float]) -> None:
    ((_, *found, _),) = buckets(Histogram(schema=schema, positive=[(index, 1)]))
    assert found == pytest.approx(list(bounds))


def test_custom_buckets_have_the_bounds_that_they_came_with() -> None:
    custom = Histogram(count=4, sum=pack_double(1.0), schema=-53, positive=[(0, 1), (2, 3)], custom=(0.5, 1.0))
    assert as_json(custom)["buckets"] == [[0, "-Inf", "0.5", "1"], [0, "1", "+Inf", "3"]]


def test_a_gauge_histogram_says_so() -> None:
    page = encode(family("queue", GAUGE_HISTOGRAM, {"histogram": {"sample_count": 1, "zero_count": 1}}))
    result = CliRunner().invoke(main, ["scrape", "-", "--format", "protobuf", "--json"], input=page)
    shown = json.loads(result.stdout.splitlines()[0])
    assert (shown["type"], shown["histogram"]["gauge"]) == ("gaugehistogram", True)
