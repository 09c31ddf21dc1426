from dataclasses import replace
from pathlib import Path

from pipeline.tracing import TracingConfig
from tests.ingester.parts import METRICS, Lane, Store, append, config_of, ingesting, opened_log, until
from tests.pipeline.test_tracing import ABOVE, attributes, collector


async def test_a_delivery_is_traced_as_a_part_of_what_its_sender_traced(tmp_path: Path) -> None:
    lane = Lane()
    envelope, payload = lane.round(0)
    async with Store().running() as store, collector() as (endpoint, spans):
        config = config_of(tmp_path, store.url)
        config = config.model_copy(update={"tracing": TracingConfig(endpoint=endpoint, ratio=1.0)})
        async with opened_log(config) as log:
            await append(log, METRICS, (replace(envelope, traceparent=ABOVE), payload))
            async with ingesting(config, log):
                await until(lambda: len(store.taken) == 10)
    found = {span.name: span for span in spans}
    assert found["deliver"].trace_id.hex() == ABOVE.split("-")[1]
    assert attributes(found["deliver"])["delivered"] == 10
    assert found["send"].parent_span_id == found["deliver"].span_id
    assert attributes(found["send"])["outcome"] == "delivered"
