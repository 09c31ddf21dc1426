from dataclasses import replace
from pathlib import Path

from tests.ingester.parts import METRICS, Lane, Store, append, config_of, ingesting, opened_log, until
from tests.pipeline.tracing.collector import ABOVE, BESIDE, collecting, tracing


async def test_a_delivery_is_traced_as_a_part_of_what_its_sender_traced(tmp_path: Path) -> None:
    lane = Lane()
    contexts = (ABOVE, "", BESIDE)
    batches = [(replace(e, traceparent=c), p) for c in contexts for e, p in [lane.round(lane.sequence)]]
    async with Store().running() as store, collecting() as collector:
        config = config_of(tmp_path, store.url)
        async with tracing(collector.config(sampling_fraction=0), "ingester") as on, opened_log(config) as log:
            await append(log, METRICS, *batches)
            async with ingesting(config, log, on):
                await until(lambda: len(store.taken) == 30)
        deliver, send = collector.one("deliver"), collector.one("send")
    assert (deliver.trace, deliver.parent) == tuple(ABOVE.split("-")[1:3])
    assert deliver.links == [BESIDE]
    said = {"sink": "store", "cluster": "c1", "tenant": "", "records": 3, "items": 30}
    assert deliver.attributes == {**said, "delivered": 30, "already": 0, "refused": 0}
    assert send.parent == deliver.id
    assert (send.attributes["items"], send.attributes["outcome"]) == (30, "delivered")
