import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pronoia.cli import main
from pronoia.histograms import format_value

TEXT = """\
# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{code="200",empty=""} 1027 1395066363000
requests_total{code="500"} 3
# TYPE latency histogram
latency_bucket{le="1"} 5
latency_bucket{le="+Inf"} 7
latency_sum 3.5e-7
latency_count 7
odd NaN
"""
OPENMETRICS = """\
# TYPE requests counter
requests_total{code="200"} 5 # {trace_id="abc"} 0.67 1520879607.789
# EOF
"""


def run(*arguments: str, body: str | None = None) -> tuple[int, list[dict[str, Any]], str]:
    result = CliRunner().invoke(main, ["scrape", *arguments, "--json"], input=body)
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()], result.stderr


def shown(samples: list[dict[str, Any]]) -> dict[str, str]:
    """Values by what tells the samples apart."""
    return {",".join(value for name, value in sorted(sample["labels"].items())): sample["value"] for sample in samples}


@contextmanager
def serving(body: str, content_type: str) -> Iterator[tuple[str, list[dict[str, str]]]]:
    requests: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append({**self.headers, "path": self.path})
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/metrics", requests
        finally:
            server.shutdown()
            thread.join()


def test_each_sample_of_a_page_is_a_line() -> None:
    code, samples, _ = run("-", body=TEXT)
    assert code == 0
    assert {
        "labels": {"__name__": "requests_total", "code": "200"},
        "value": "1027",
        "timestamp": 1395066363000,
        "type": "counter",
        "exemplar": None,
    } in samples
    assert shown(samples) == {
        "requests_total,200": "1027",
        "requests_total,500": "3",
        "latency_bucket,1": "5",
        "latency_bucket,+Inf": "7",
        "latency_sum": "3.5e-07",
        "latency_count": "7",
        "odd": "NaN",
    }
    types = {sample["labels"]["__name__"]: sample["type"] for sample in samples}
    assert (types["latency_bucket"], types["latency_sum"], types["odd"]) == ("histogram", "histogram", "unknown")


def test_openmetrics_is_known_by_its_last_line() -> None:
    code, (sample,), _ = run("-", body=OPENMETRICS)
    assert code == 0
    assert (sample["type"], sample["value"]) == ("counter", "5")
    assert sample["exemplar"] == {"labels": {"trace_id": "abc"}, "value": "0.67", "timestamp": 1520879607789}


def test_a_format_can_be_demanded() -> None:
    code, samples, err = run("-", "--format", "openmetrics", body="a 1\n")
    assert (code, samples) == (1, [])
    assert "does not end with # EOF" in err


def test_a_broken_page_names_the_line_and_the_reason() -> None:
    code, samples, err = run("-", body='a 1\nb{x="1" 2\n')
    assert (code, samples) == (1, [])
    assert err.startswith("Error: line 2: ")


def test_a_page_is_fetched_the_way_an_agent_does() -> None:
    with serving("a 1\n", "text/plain; version=0.0.4") as (url, requests):
        code, samples, _ = run(url)
    assert (code, shown(samples)) == (0, {"a": "1"})
    assert requests[0]["Accept"].startswith("application/openmetrics-text;version=1.0.0")
    assert requests[0]["User-Agent"].startswith("Pronoia/")


def test_a_page_without_a_known_type_is_refused_unless_its_format_is_demanded() -> None:
    with serving("a 1\n", "application/json") as (url, _):
        code, _, err = run(url)
        assert code == 1
        assert "unsupported Content-Type 'application/json'" in err
        assert run(url, "--format", "text")[0] == 0


def test_a_target_that_does_not_answer_is_an_error() -> None:
    code, _, err = run("http://127.0.0.1:1/metrics")
    assert code == 1
    assert "127.0.0.1:1" in err


CONFIG = """\
cluster: c1
scrape_configs:
- job_name: one
  sample_limit: 2
  basic_auth: {username: u, password: p}
  static_configs: [{targets: ["ADDRESS"], labels: {env: prod}}]
  metric_relabel_configs: [{source_labels: [__name__], regex: drop_.*, action: drop}]
- job_name: two
  relabel_configs: [{action: drop}]
"""


def config(folder: Path, address: str = "a:1") -> str:
    path = folder / "prometheus.yml"
    path.write_text(CONFIG.replace("ADDRESS", address))
    return str(path)


def test_a_job_s_labels_rules_and_identity_apply(tmp_path: Path) -> None:
    page = 'a{job="x"} 1\ndrop_me 2\n'
    with serving(page, "text/plain; version=0.0.4") as (url, requests):
        address = url.removeprefix("http://").removesuffix("/metrics")
        code, (sample,), _ = run(url, "--config", config(tmp_path, address), "--job", "one")
    assert code == 0
    assert sample["labels"] == {
        "__name__": "a",
        "cluster": "c1",
        "env": "prod",
        "exported_job": "x",
        "instance": address,
        "job": "one",
    }
    assert requests[0]["Authorization"] == "Basic dTpw"


def test_standard_input_is_read_as_the_job_s_only_target(tmp_path: Path) -> None:
    code, (sample,), _ = run("-", "--config", config(tmp_path), "--job", "one", body="a 1\n")
    assert (code, sample["labels"]["env"], sample["labels"]["instance"]) == (0, "prod", "a:1")


def test_a_job_s_limits_apply(tmp_path: Path) -> None:
    code, samples, err = run("-", "--config", config(tmp_path), "--job", "one", body="a 1\nb 1\nc 1\n")
    assert (code, samples) == (1, [])
    assert "sample limit exceeded" in err


def test_a_target_that_the_job_drops_is_an_error(tmp_path: Path) -> None:
    code, _, err = run("http://x:1/metrics", "--config", config(tmp_path), "--job", "two")
    assert code == 1
    assert "job two does not scrape this target: relabel_configs[0]: action=drop" in err


def test_a_job_must_be_chosen_where_there_are_several(tmp_path: Path) -> None:
    code, _, err = run("-", "--config", config(tmp_path), body="a 1\n")
    assert code == 2
    assert "has these jobs: one, two" in err


def test_what_a_scrape_tells_of_itself_is_shown_on_demand() -> None:
    code, samples, _ = run("-", "--reports", body="a 1\n")
    assert code == 0
    assert {sample["labels"]["__name__"] for sample in samples} == {
        "a",
        "up",
        "scrape_duration_seconds",
        "scrape_samples_scraped",
        "scrape_samples_post_metric_relabeling",
        "scrape_series_added",
    }


def test_text_is_for_people() -> None:
    result = CliRunner().invoke(main, ["scrape", "-"], input='a{x="é\\"\\n"} 1 5\n')
    assert result.stdout == 'a{x="é\\"\\n"} 1 5 # unknown\n'


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (0.1, "0.1"),
        (123456.0, "123456"),
        (1234567.0, "1.234567e+06"),
        (1e-5, "1e-05"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
        (float("nan"), "NaN"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
    ],
)
def test_values_are_written_as_go_writes_them(number: float, text: str) -> None:
    assert format_value(number) == text
