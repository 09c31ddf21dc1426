from agent.push.spans import PushSpans
from pipeline.wire.envelope import METRICS_ENCODING, Envelope, Signal
from tests.pipeline.tracing.collector import ABOVE, Collector, collecting, tracing


def envelope(traceparent: str = ABOVE) -> Envelope:
    return Envelope(
        signal=Signal.METRICS,
        encoding=METRICS_ENCODING,
        cluster="c1",
        agent="n1",
        epoch=1,
        lane=0,
        sequence=0,
        items=3,
        raw_bytes=9,
        created_ms=1,
        crc32c=0,
        traceparent=traceparent,
    )


def errors(collector: Collector) -> dict[tuple[int, int], str | None]:
    return {(span.attributes["lane"], span.attributes["sequence"]): span.error for span in collector.named("push")}


async def test_an_acknowledgement_ends_all_up_to_it_and_a_refusal_is_of_the_last() -> None:
    async with collecting() as collector:
        async with tracing(collector.config()) as on:
            spans = PushSpans(on, "gateway")
            for sequence in (4, 5, 6, 7):
                spans.sending(2, sequence, envelope(), 100)
            spans.accepted(2, 5)
            spans.accepted(2, 6, "too old")
            spans.accepted(3, 9)
        assert errors(collector) == {(2, 4): None, (2, 5): None, (2, 6): "too old"}
        span = collector.spans[0]
        assert (span.parent, span.attributes["destination"], span.attributes["bytes"]) == (
            ABOVE.split("-")[2],
            "gateway",
            100,
        )


async def test_what_is_sent_again_has_a_span_for_each_time() -> None:
    async with collecting() as collector:
        async with tracing(collector.config()) as on:
            spans = PushSpans(on, "gateway")
            for sequence in (0, 1, 2):
                spans.sending(0, sequence, envelope(), 100)
            spans.postponed(0, 1, "the log is slow")
            spans.sending(0, 1, envelope(), 100)
            spans.broken("the connection is gone")
        told = sorted((span.attributes["sequence"], span.error) for span in collector.named("push"))
        assert told == [
            (0, "the connection is gone"),
            (1, "the connection is gone"),
            (1, "the log is slow"),
            (2, "the log is slow"),
        ]


async def test_a_batch_whose_scrape_is_not_traced_has_none() -> None:
    async with collecting() as collector:
        async with tracing(collector.config()) as on:
            spans = PushSpans(on, "gateway")
            spans.sending(0, 0, envelope(traceparent=""), 100)
            spans.accepted(0, 0)
        assert collector.spans == []
