import logging

import pytest
from prometheus_client import CollectorRegistry

from agent.push.standing import Standing
from pipeline.delivery import Delivered, Outcome, Rejected, Retry
from pipeline.telemetry import AgentMetrics


def test_that_a_receiver_is_away_is_said_once_and_that_it_is_back_when_all_lanes_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    registry = CollectorRegistry()
    standing = Standing("loki:l", AgentMetrics(registry))
    away, wrong = Retry("cannot connect"), Retry("HTTP 401", alarm=True)

    def after(lane: int, outcome: Outcome) -> tuple[float | None, str | None]:
        standing.note(lane, outcome)
        up = registry.get_sample_value("pronoia_agent_destination_up", {"destination": "loki:l"})
        return up, standing.trouble()

    assert after(0, Delivered()) == (1, None)
    assert after(0, away) == (0, "cannot connect")
    assert after(1, away) == (0, "cannot connect")
    assert after(0, away) == (0, "cannot connect")
    assert after(1, wrong) == (0, "cannot connect")
    assert after(0, Delivered()) == (0, "HTTP 401")
    assert after(1, Rejected("line too long", 400)) == (1, None), "it answers"
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "loki:l does not take batches: cannot connect; they wait on disk"),
        ("ERROR", "loki:l does not take batches: HTTP 401; they wait on disk"),
        ("INFO", "loki:l takes batches again"),
    ]
