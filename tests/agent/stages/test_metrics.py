"""Metrics that stages make of lines, as the agent exposes them."""

import gc

from prometheus_client import CollectorRegistry, generate_latest

from agent.stages.metrics import CustomMetrics
from tests.agent.stages.running import NOW_NS, Running

STAGES = """
- regex: {expression: '^(?P<code>\\d+) (?P<took>\\S+)'}
- labels: {code: }
- labeldrop: [pod, filename]
- metrics:
    lines_total: {type: Counter, description: all of them, config: {match_all: true, action: inc}}
    bytes_total: {type: counter, prefix: my_, config: {match_all: true, count_entry_bytes: true, action: add}}
    errors: {type: counter, source: code, config: {value: "500", action: inc}}
    last_code: {type: gauge, source: code, config: {action: set}}
    seconds: {type: histogram, source: took, config: {buckets: [0.1, 1]}}
"""
LINES = "200 50ms é\n500 2s\n200 0.5\nnothing\n".encode()


class Exposed:
    def __init__(self, text: str = STAGES) -> None:
        self.now_ns = NOW_NS
        self.registry = CollectorRegistry()
        self.custom = CustomMetrics(self.registry)
        self.running = Running(text, custom=self.custom, clock_ns=lambda: self.now_ns)

    def page(self) -> list[str]:
        lines = generate_latest(self.registry).decode().splitlines()
        return [line for line in lines if not line.startswith("# HELP")]


def test_lines_become_series_by_their_labels() -> None:
    exposed = Exposed()
    exposed.running.source({"job": "web", "pod": "p"}).block(LINES, NOW_NS)
    page = exposed.page()
    assert 'promtail_custom_lines_total{code="200",job="web"} 2.0' in page
    assert 'promtail_custom_lines_total{job="web"} 1.0' in page
    assert 'my_bytes_total{code="200",job="web"} 18.0' in page
    assert 'promtail_custom_errors{code="500",job="web"} 1.0' in page
    assert 'promtail_custom_last_code{code="500",job="web"} 500.0' in page
    assert 'promtail_custom_seconds_bucket{code="200",job="web",le="0.1"} 1.0' in page
    assert 'promtail_custom_seconds_bucket{code="200",job="web",le="+Inf"} 2.0' in page
    assert 'promtail_custom_seconds_sum{code="500",job="web"} 2.0' in page
    assert "# TYPE promtail_custom_lines_total counter" in page


def test_sources_of_a_job_share_their_series_and_jobs_a_name() -> None:
    exposed = Exposed()
    other = Running(STAGES, custom=exposed.custom)
    for make in (exposed.running.make, exposed.running.make, other.make):
        make({"job": "web"}).block(b"200 1\n", NOW_NS)
    page = exposed.page()
    assert page.count("# TYPE promtail_custom_lines_total counter") == 1
    assert [line for line in page if line.startswith('promtail_custom_lines_total{code="200"')] == [
        'promtail_custom_lines_total{code="200",job="web"} 3.0'
    ]


def test_a_series_that_does_not_change_for_long_goes() -> None:
    exposed = Exposed()
    exposed.running.source({"job": "web"}).block(b"200 1\n", NOW_NS)
    exposed.now_ns += 301 * 10**9
    assert any("lines_total" in line for line in exposed.page())
    assert not any("lines_total" in line for line in exposed.page())


def test_a_jobs_metrics_go_with_it() -> None:
    exposed = Exposed()
    exposed.running.source({"job": "web"}).block(b"200 1\n", NOW_NS)
    del exposed.running
    gc.collect()
    assert exposed.page() == []
