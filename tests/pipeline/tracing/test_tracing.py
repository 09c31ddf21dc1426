"""Spans, from their beginning to a collector on a real socket, and what becomes of those that do not get there."""

import asyncio
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from pipeline.errors import PermanentError
from pipeline.telemetry import TracingMetrics
from pipeline.tracing import NO_SPAN, OFF, TracingConfig, open_tracing
from pipeline.tracing.otlp import MAX_LINKS, MAX_QUEUED_SPANS
from tests.certificates import CA, CLIENT, CLIENT_KEY
from tests.pipeline.tracing.collector import ABOVE, BESIDE, UNSAMPLED, collecting, collecting_grpc, tracing


def outcomes(registry: CollectorRegistry) -> dict[str, float]:
    names = ("exported", "failed", "dropped")
    labels = [{"component": "agent", "outcome": name} for name in names]
    found = [registry.get_sample_value("pronoia_tracing_spans_total", one) or 0.0 for one in labels]
    return {name: value for name, value in zip(names, found, strict=True) if value}


async def test_spans_reach_the_collector_with_what_was_noted() -> None:
    registry = CollectorRegistry()
    async with collecting() as collector:
        async with tracing(collector.config(), registry=registry) as on:
            assert on.on
            with on.span("outer", sink="s") as outer, outer.child("inner") as inner:
                inner.note(items=3, share=0.5, good=True)
                context = outer.traceparent
        outer_span, inner_span = collector.one("outer"), collector.one("inner")
    assert outer_span.attributes == {"sink": "s"}
    assert (outer_span.service, outer_span.parent, outer_span.traceparent) == ("pronoia-agent", "", context)
    assert inner_span.attributes == {"items": 3, "share": 0.5, "good": True}
    assert (inner_span.trace, inner_span.parent) == (outer_span.trace, outer_span.id)
    assert outcomes(registry) == {"exported": 2}


async def test_spans_reach_a_collector_over_grpc_compressed_and_with_headers() -> None:
    async with collecting_grpc() as collector:
        config = collector.config("grpc", headers={"X-Tenant": "t"}, compression="gzip")
        async with tracing(config) as on, asyncio.timeout(20):
            on.span("work").end()
            while not collector.spans:  # noqa: ASYNC110 - the exporter has a thread of its own
                await asyncio.sleep(0.01)
        assert collector.one("work").parent == ""
        assert collector.headers[0]["x-tenant"] == "t"


FILES = {"ca_file": str(CA), "cert_file": str(CLIENT), "key_file": str(CLIENT_KEY)}
INLINE = {"ca": CA.read_text(), "cert": CLIENT.read_text(), "key": CLIENT_KEY.read_text(), "server_name": "server.test"}


@pytest.mark.parametrize(("client_type", "tls"), [("http", FILES), ("grpc", FILES), ("grpc", INLINE)])
async def test_both_ways_are_encrypted_and_prove_who_we_are(client_type: str, tls: dict[str, str]) -> None:
    registry = CollectorRegistry()
    async with (collecting if client_type == "http" else collecting_grpc)(tls=True) as collector:
        async with tracing(collector.config(client_type, tls_config=tls, timeout="10s"), registry=registry) as on:
            on.span("work").end()
            async with asyncio.timeout(20):
                while not outcomes(registry):  # noqa: ASYNC110 - the exporter has a thread of its own
                    await asyncio.sleep(0.01)
        assert collector.one("work")


async def test_http_requests_are_compressed_and_carry_the_headers() -> None:
    async with collecting() as collector:
        async with tracing(collector.config(headers={"X-Tenant": "t"}, compression="gzip")) as on:
            on.span("work").end()
        assert collector.one("work")
        headers = {name.lower(): value for name, value in collector.headers[0].items()}
    assert (headers["x-tenant"], headers["content-encoding"]) == ("t", "gzip")


async def test_a_span_is_a_child_of_the_first_context_and_linked_to_some_of_the_others() -> None:
    others = [f"00-{n:032x}-b7ad6b7169203331-01" for n in range(1, 10)]
    async with collecting() as collector:
        async with tracing(collector.config()) as on:
            on.span("joint", ["", "nonsense", UNSAMPLED, ABOVE, ABOVE, BESIDE, *others]).end()
        span = collector.one("joint")
    assert (span.trace, span.parent) == (ABOVE.split("-")[1], ABOVE.split("-")[2])
    assert span.links == [BESIDE, *others][:MAX_LINKS]


async def test_what_comes_with_a_context_follows_its_sender_and_the_rest_the_fraction() -> None:
    async with collecting() as collector:
        async with tracing(collector.config(sampling_fraction=0)) as on:
            assert on.span("root") is NO_SPAN
            assert on.span("root", ["nonsense"]) is NO_SPAN
            on.span("child", [ABOVE]).end()
        async with tracing(collector.config(sampling_fraction=1)) as on:
            assert on.span("child", [UNSAMPLED]) is NO_SPAN
        assert [span.name for span in collector.spans] == ["child"]


async def test_a_failure_is_told_and_goes_on() -> None:
    async with collecting() as collector:
        async with tracing(collector.config()) as on:
            with pytest.raises(ValueError, match="bad"), on.span("raised"):
                raise ValueError("bad")
            ended = on.span("ended")
            ended.end("the store is away")
            ended.end()
        assert collector.one("raised").error == "ValueError: bad"
        assert collector.one("ended").error == "the store is away"


async def test_a_collector_that_is_away_is_told_of_once_and_holds_up_nothing(caplog: pytest.LogCaptureFixture) -> None:
    registry = CollectorRegistry()
    config = TracingConfig(
        client_type="http", endpoint="127.0.0.1:1", insecure=True, sampling_fraction=1.0, timeout=2.0
    )
    async with tracing(config, registry=registry) as on, asyncio.timeout(20):
        for failed in (1, 2):
            on.span("work").end()
            while outcomes(registry) != {"failed": failed}:  # noqa: ASYNC110 - the exporter has a thread of its own
                await asyncio.sleep(0.01)
    (line,) = caplog.records
    assert (line.name, line.levelno) == ("pipeline.tracing.otlp", logging.WARNING)
    assert "spans do not reach 127.0.0.1:1, they are dropped: " in line.getMessage()
    assert "refused" in line.getMessage()


async def test_a_collector_that_comes_back_gets_spans_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pipeline.tracing.otlp")
    registry = CollectorRegistry()
    async with collecting() as collector:
        collector.status = 400
        async with tracing(collector.config(), registry=registry) as on, asyncio.timeout(20):
            on.span("lost").end()
            while outcomes(registry) != {"failed": 1}:  # noqa: ASYNC110 - the exporter has a thread of its own
                await asyncio.sleep(0.01)
            collector.status = 200
            on.span("kept").end()
        assert [span.name for span in collector.spans] == ["kept"]
    assert [record.levelname for record in caplog.records if record.name == "pipeline.tracing.otlp"] == [
        "WARNING",
        "INFO",
    ]


async def test_the_queue_is_bounded_and_every_span_is_accounted_for() -> None:
    registry = CollectorRegistry()
    ended = 3 * MAX_QUEUED_SPANS
    async with collecting() as collector:
        collector.hold = asyncio.Event()
        async with tracing(collector.config(timeout="10s"), registry=registry) as on:
            for _ in range(ended):
                on.span("work").end()
            assert 0 < outcomes(registry)["dropped"] < ended
            collector.hold.set()
        found = outcomes(registry)
        assert found["exported"] == len(collector.spans)
        assert sum(found.values()) == ended


async def test_closing_is_not_held_up_by_a_collector_that_never_answers() -> None:
    registry = CollectorRegistry()
    async with collecting() as collector:
        collector.hold = asyncio.Event()
        on = open_tracing(collector.config(timeout="1m"), "agent", "1.2.3", TracingMetrics(registry))
        await on.start()
        for _ in range(1_000):
            on.span("work").end()
        async with asyncio.timeout(20):
            await on.close()
        on.span("late").end()
        # The request that is on its way when we give up is neither: nobody knows what will become of it.
        found = outcomes(registry)
        assert found.get("failed", 0) + found["dropped"] in (1_001, 1_001 - 512)


async def test_nothing_is_traced_when_it_is_off() -> None:
    async with tracing(None) as off:
        assert off is OFF
        assert not off.on
        with off.span("outer", ["nonsense"], sink="s") as span, span.child("inner") as inner:
            inner.note(items=1)
            assert span.traceparent == inner.traceparent == ""


def test_nothing_of_opentelemetry_is_imported_where_tracing_is_off() -> None:
    program = """
import sys
import agent.service, gateway.service, ingester.service, pronoia.up, pronoia.agent
from prometheus_client import CollectorRegistry
from pipeline.telemetry import TracingMetrics
from pipeline.tracing import open_tracing
open_tracing(None, "agent", "1", TracingMetrics(CollectorRegistry()))
print([name for name in sys.modules if name.startswith("opentelemetry") or name == "pipeline.tracing.otlp"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_package_is_named_with_what_installs_it(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["opentelemetry.sdk"] = None
from prometheus_client import CollectorRegistry
from pipeline.errors import PermanentError
from pipeline.telemetry import TracingMetrics
from pipeline.tracing import TracingConfig, open_tracing
try:
    open_tracing(TracingConfig(endpoint="h:1"), "agent", "1", TracingMetrics(CollectorRegistry()))
except PermanentError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'pronoia[tracing]'" in done.stdout
    assert "opentelemetry.sdk" in done.stdout


@pytest.mark.parametrize("client_type", ["grpc", "http"])
def test_a_certificate_that_cannot_be_read_is_named_before_anything_starts(tmp_path: Path, client_type: str) -> None:
    missing = tmp_path / "ca.pem"
    config = TracingConfig.model_validate(
        {"endpoint": "h:1", "client_type": client_type, "tls_config": {"ca_file": str(missing)}}
    )
    with pytest.raises(PermanentError, match=r"tracing\.tls_config: cannot be read: .*ca\.pem: No such file"):
        open_tracing(config, "agent", "1", TracingMetrics(CollectorRegistry()))
