from pathlib import Path

from tests.ingester.parts import METRICS, Lane, Store, append, config_of, ingesting, opened_log, samples_in, until


async def test_what_is_in_the_log_reaches_the_store_once_and_the_ledger_says_so(tmp_path: Path) -> None:
    lane = Lane()
    batches = [lane.round(n) for n in range(20)]
    async with Store().running() as store:
        config = config_of(tmp_path, store.url)
        async with opened_log(config) as log:
            await append(log, METRICS, *batches)
            async with ingesting(config, log) as ingester:
                await until(lambda: len(store.taken) == 200)
            status = await ingester.status()
    assert store.taken == [sample for _, payload in batches for sample in samples_in(payload)]
    [cluster] = status["clusters"]
    assert cluster["signals"]["metrics"]["received"] == 200
    assert cluster["signals"]["metrics"]["sinks"]["store"]["delivered"] == 200
