import pytest

from agent.discovery import Place
from pipeline.errors import TransientError
from tests.agent.discovery.tools import bench

AT = Place("job", "http_sd_configs", 0)


async def test_a_failure_is_counted_each_time_and_logged_when_it_begins_or_changes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with bench() as made:
        for reason in ("away", "away", "broken", "broken"):
            made.tools.failed(AT, "a", TransientError(reason))
        made.tools.failed(AT, "b", TransientError("broken"))
        made.tools.succeeded(AT, "a")
        made.tools.failed(AT, "a", TransientError("broken"))
        assert made.failures("job", "http_sd_configs") == 6
        reasons = [record.__dict__["reason"] for record in caplog.records]
        assert reasons == ["away", "broken", "broken", "broken"]
        assert made.tools.failures == {(AT, "a"): "broken", (AT, "b"): "broken"}
