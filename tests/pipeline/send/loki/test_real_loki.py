"""Every entry once in a real Loki, or refused in its words: whatever is wrong with the others of its request."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pipeline.delivery import Delivered, Partly, Retry
from pipeline.send.codec import LOGS
from pipeline.send.loki.client import Loki as Client
from pipeline.send.loki.config import LokiConfig
from pipeline.send.request import Request
from pipeline.wire.loki import encode_entry, encode_stream
from tests.pipeline.send.loki.pushes import HOUR, SECOND, Letters, piece, stream
from tests.servers.loki import Loki

pytestmark = pytest.mark.loki


@asynccontextmanager
async def client_of(loki: Loki, **settings: object) -> AsyncIterator[Client]:
    backoff = {"min_period": "10ms", "max_period": "200ms"}
    config = LokiConfig.model_validate({"url": loki.push_url, "backoff_config": backoff, **settings})
    client = Client(config)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def lines(loki: Loki, selector: str = '{app=~".+"}', tenant: str = "") -> list[str]:
    now = time.time_ns()
    found = await loki.entries(selector, start_ns=now - 20 * 24 * HOUR, end_ns=now + HOUR, tenant=tenant)
    return sorted(entry.line for entry in found)


async def counted(loki: Loki, selector: str = '{app=~".+"}') -> int:
    """What a metric query sees: it counts what is stored twice twice."""
    return await loki.count(selector, end_ns=time.time_ns() + HOUR, window_s=20 * 24 * 3600)


LIMITS = {
    "max_line_size": "500B",
    "reject_old_samples": True,
    "reject_old_samples_max_age": "24h",
    "max_structured_metadata_size": "100B",
    "max_structured_metadata_entries_count": 3,
    "max_label_value_length": 50,
    "max_label_names_per_series": 4,
}


async def test_only_what_loki_refuses_is_refused_in_its_words(tmp_path: Path) -> None:
    now = time.time_ns()
    good = stream("good", [(now + n, f"good {n}") for n in range(3)])
    mixed = stream(
        "mixed",
        [
            (now, "first"),
            (now + 1, "long " + "x" * 600),
            (now + 2, "long too " + "x" * 600),
            (now + 3, "second"),
            (now - 30 * HOUR, "ancient"),
            (now - 30 * HOUR, "ancient too"),
            (now + 3 * HOUR, "of the future"),
            (now + 4, "much metadata", (("k", "v" * 200),)),
            (now + 5, "many metadata", tuple((f"k{n}", "v") for n in range(4))),
            (now + 6, "third", (("k", "v"),)),
        ],
    )
    labels = stream("labels", [(now, "label value"), (now + 1, "label value too")], path="/" + "x" * 60)
    names = stream("names", [(now, "label names")], a="1", b="2", c="3", d="4")
    letters = Letters()
    async with Loki(tmp_path / "loki", limits=LIMITS) as loki, client_of(loki) as client:
        # Twice: first each stream goes by itself, then, known to be there, the good one goes with others.
        for turn in range(2):
            tally = await client.deliver([piece(good, mixed), piece(labels, names, source=1)], letters.refuse)
            assert (tally.delivered, tally.refused) == (6, 10), turn
            assert letters.lines() == sorted(
                (
                    *("ancient", "ancient too", "label names", "label value", "label value too"),
                    *("long " + "x" * 600, "long too " + "x" * 600),
                    *("many metadata", "much metadata", "of the future"),
                )
            )
            reasons = dict(letters.refused)
            assert "max entry size '500' bytes exceeded" in reasons["long " + "x" * 600]
            assert "has timestamp too old" in reasons["ancient"]
            assert "has timestamp too new" in reasons["of the future"]
            assert "structured metadata too large" in reasons["much metadata"]
            assert "too many structured metadata" in reasons["many metadata"]
            assert "label value too long" in reasons["label value"]
            assert "label names; limit" in reasons["label names"]
            assert all(reason.startswith("HTTP 400: ") for reason in reasons.values())
            letters.refused.clear()
            if turn == 0:
                found = await lines(loki)
                assert found == ["first", "good 0", "good 1", "good 2", "second", "third"]
                assert await counted(loki) == len(found)


async def test_what_is_too_far_behind_is_refused_although_another_stream_of_the_request_is_taken(
    tmp_path: Path,
) -> None:
    now, letters = time.time_ns(), Letters()
    async with Loki(tmp_path / "loki") as loki, client_of(loki) as client:
        fresh = piece(stream("a", [(now, "new")]), stream("b", [(now, "b")]))
        await client.deliver([fresh], letters.refuse)
        late = stream("a", [(now - 2 * HOUR + n, f"behind {n:02d}") for n in range(30)] + [(now - HOUR // 2, "half")])
        tally = await client.deliver([piece(late, stream("b", [(now + 1, "last")]))], letters.refuse)
        assert (tally.delivered, tally.refused) == (2, 30)
        assert letters.lines() == [f"behind {n:02d}" for n in range(30)]
        assert all("entry too far behind" in reason for reason in letters.reasons())
        assert await lines(loki) == ["b", "half", "last", "new"]
        assert await counted(loki) == 4


async def test_loki_itself_says_204_and_drops_what_is_too_far_behind(tmp_path: Path) -> None:
    """Why streams go by themselves: should Loki mend this, they need not."""
    now, letters = time.time_ns(), Letters()
    async with Loki(tmp_path / "loki") as loki, client_of(loki) as client:
        await client.deliver([piece(stream("a", [(now, "new")]), stream("b", [(now, "b")]))], letters.refuse)
        # Without its envelope's time the client would take it for old; with a wrong one it takes it for new.
        both = piece(stream("a", [(now - 2 * HOUR, "dropped")]), stream("b", [(now + 1, "last")]))
        wrong = piece(stream("b", [(now, "x")])).envelope
        request = Request([type(both)(both.payload, 2, envelope=wrong)], LOGS)
        assert await client.send(request) == Delivered()
        assert await lines(loki) == ["b", "last", "new"]


async def test_a_stream_beyond_loki_s_limit_is_refused_and_no_other(tmp_path: Path) -> None:
    now, letters = time.time_ns(), Letters()
    async with Loki(tmp_path / "loki", limits={"max_global_streams_per_user": 3}) as loki, client_of(loki) as client:
        streams = [stream(f"s{n}", [(now, f"first {n}"), (now + 1, f"second {n}")]) for n in range(5)]
        tally = await client.deliver([piece(*streams)], letters.refuse)
        assert (tally.delivered, tally.refused) == (6, 4)
        assert all("HTTP 429: maximum active stream limit exceeded" in reason for reason in letters.reasons())
        assert sorted([*await lines(loki), *letters.lines()]) == sorted(
            f"{which} {n}" for n in range(5) for which in ("first", "second")
        )


@pytest.mark.parametrize("hours", [3, 20_000])
async def test_what_loki_cannot_be_asked_for_is_found_by_sending_less(tmp_path: Path, hours: int) -> None:
    """An entry too far behind and one too long: Loki's words are about the first alone. No query spans years."""
    now, letters = time.time_ns(), Letters()
    async with Loki(tmp_path / "loki", limits={"max_line_size": "500B"}) as loki, client_of(loki) as client:
        await client.deliver([piece(stream("a", [(now, "new")]))], letters.refuse)
        mixed = [(now - hours * HOUR, "long ago"), (now + 1, "newer"), (now + 2, "x" * 600)]
        async with asyncio.timeout(30):
            tally = await client.deliver([piece(stream("a", mixed))], letters.refuse)
        assert (tally.delivered, tally.refused) == (1, 2)
        assert letters.lines() == sorted(("long ago", "x" * 600))
        assert await lines(loki) == ["new", "newer"]


async def test_entries_from_before_loki_s_first_schema_cost_no_others(tmp_path: Path) -> None:
    """Loki fails at them with 500, for ever."""
    now, letters = time.time_ns(), Letters()
    old = [(SECOND + n, f"1970 {n}") for n in range(1000)] + [(800 * 24 * HOUR, "1972")]
    mixed = stream("mixed", [(now, "new"), *old, (3 * SECOND, "again"), (now + 1, "newer")])
    good = [(now + n, f"good {n}") for n in range(3)]
    async with Loki(tmp_path / "loki") as loki, client_of(loki) as client:
        await client.deliver([piece(stream("good", good[:1]))], letters.refuse)
        tally = await client.deliver([piece(stream("good", good[1:]), mixed), piece(mixed, source=1)], letters.refuse)
        found = await lines(loki)
    assert found == ["good 0", "good 1", "good 2", "new", "newer"]
    assert tally.delivered + tally.already + tally.refused == 2 + 2 * 1004
    assert letters.lines() == sorted(2 * [*(line for _, line in old), "again"])


async def test_what_was_in_doubt_is_asked_for_and_not_stored_twice(tmp_path: Path) -> None:
    now, letters = time.time_ns(), Letters()
    # More than a block (256 KiB): what lies in a block that was cut is not recognised by Loki itself.
    first = [(now + n * 1000, f"{n:05d} " + "x" * 300) for n in range(3000)]
    async with Loki(tmp_path / "loki") as loki, client_of(loki) as client:
        await client.deliver([piece(stream("a", first[:2000]))], letters.refuse)
        again = piece(stream("a", first), stream("b", [(now, "b")]), in_doubt=True)
        tally = await client.deliver([again, piece(stream("b", [(now + 1, "b too")]), source=1)], letters.refuse)
        assert (tally.delivered, tally.refused) == (3002, 0)
        assert len(await lines(loki)) == 3002
        assert await counted(loki) == 3002


async def test_long_lines_in_doubt_are_asked_for_in_answers_that_loki_can_give(tmp_path: Path) -> None:
    now, letters = time.time_ns(), Letters()
    limits = {"ingestion_rate_mb": 100, "ingestion_burst_size_mb": 100}
    async with Loki(tmp_path / "loki", limits=limits) as loki, client_of(loki) as client:
        big = stream("a", [(now + n, f"{n} " + "x" * 100_000) for n in range(60)])
        for in_doubt in (False, True):
            await client.deliver([piece(big, in_doubt=in_doubt)], letters.refuse)
        assert await counted(loki) == 60


async def test_without_being_asked_loki_counts_twice_what_is_sent_twice(tmp_path: Path) -> None:
    now, letters = time.time_ns(), Letters()
    first = [(now + n * 1000, f"{n:05d} " + "x" * 300) for n in range(3000)]
    async with Loki(tmp_path / "loki") as loki, client_of(loki, query_url="none") as client:
        for _ in range(2):
            await client.deliver([piece(stream("a", first), in_doubt=True)], letters.refuse)
        assert len(await lines(loki)) == 3000
        assert await counted(loki) > 3000


async def test_a_throttled_stream_waits_and_the_others_do_not(tmp_path: Path) -> None:
    now, letters = time.time_ns(), Letters()
    limits = {"per_stream_rate_limit": "20KB", "per_stream_rate_limit_burst": "20KB"}
    async with Loki(tmp_path / "loki", limits=limits) as loki, client_of(loki) as client:
        heavy = stream("heavy", [(now + n, f"{n:04d} " + "x" * 500) for n in range(100)])
        light = stream("light", [(now + n, f"light {n}") for n in range(10)])
        outcome = await client.send(Request([piece(heavy, light)], LOGS))
        assert isinstance(outcome, Partly)
        assert isinstance(outcome.retry, Retry)
        assert "Per stream rate limit exceeded" in outcome.retry.reason
        assert await lines(loki, '{app="light"}') == [f"light {n}" for n in range(10)]
        tally = await client.deliver([piece(heavy, light, in_doubt=True)], letters.refuse)
        assert (tally.delivered, tally.refused) == (110, 0)
        assert (len(await lines(loki)), await counted(loki)) == (110, 110)


async def test_a_request_beyond_what_a_tenant_may_burst_goes_in_parts(tmp_path: Path) -> None:
    now, letters = time.time_ns(), Letters()
    limits = {"ingestion_rate_mb": 0.1, "ingestion_burst_size_mb": 0.1}
    async with Loki(tmp_path / "loki", limits=limits) as loki, client_of(loki) as client:
        streams = [stream(f"s{n}", [(now + i, f"{n} {i} " + "x" * 500) for i in range(100)]) for n in range(4)]
        tally = await client.deliver([piece(*streams)], letters.refuse)
        assert (tally.delivered, tally.refused) == (400, 0)
        assert (len(await lines(loki)), await counted(loki)) == (400, 400)


async def test_a_stream_whose_labels_cannot_be_read_costs_no_other(tmp_path: Path) -> None:
    now, letters = time.time_ns(), Letters()
    async with Loki(tmp_path / "loki") as loki, client_of(loki) as client:
        bad = encode_stream(b'{app="x', encode_entry(now, b"bad"))
        for turn in range(2):
            good = stream("good", [(now + turn, f"good {turn}")])
            await client.deliver([piece(good, bad, stream("other", [(now + turn, f"other {turn}")]))], letters.refuse)
        assert letters.lines() == ["bad", "bad"]
        assert await lines(loki) == ["good 0", "good 1", "other 0", "other 1"]
        assert await counted(loki) == 4


async def test_more_than_one_grpc_message_of_loki_s_goes_in_parts(tmp_path: Path) -> None:
    now, letters = time.time_ns(), Letters()
    limits = {"ingestion_rate_mb": 100, "ingestion_burst_size_mb": 100}
    async with Loki(tmp_path / "loki", limits=limits) as loki, client_of(loki, batchsize="16MiB") as client:
        big = [stream(f"s{n}", [(now + i, f"{n} {i} " + "x" * 1000) for i in range(2000)]) for n in range(5)]
        tally = await client.deliver([piece(*big)], letters.refuse)
        assert (tally.delivered, tally.refused) == (10_000, 0)
        assert (len(await lines(loki)), await counted(loki)) == (10_000, 10_000)
        again = [stream(f"s{n}", [(now + SECOND + i, f"{n} {i} " + "x" * 1000) for i in range(1000)]) for n in range(5)]
        tally = await client.deliver([piece(*again)], letters.refuse)
        assert (tally.delivered, tally.refused) == (5_000, 0)
        assert await counted(loki) == 15_000


async def test_external_labels_are_added_where_a_stream_has_none_of_the_name(loki: Loki) -> None:
    now = time.time_ns()
    async with client_of(loki, external_labels={"region": "eu", "app": "unnamed"}) as client:
        await client.deliver([piece(stream("a", [(now, "one")]))], Letters().refuse)
        assert await lines(loki, '{app="a", region="eu"}') == ["one"]


async def test_loki_killed_between_two_tries_gets_everything_once(tmp_path: Path) -> None:
    now, letters = time.time_ns(), Letters()
    async with Loki(tmp_path / "loki") as loki, client_of(loki) as client:
        await client.deliver([piece(stream("a", [(now, "one")]))], letters.refuse)
        await loki.kill()
        request = piece(stream("a", [(now, "one"), (now + 1, "two")]), in_doubt=True)
        delivering = asyncio.create_task(client.deliver([request], letters.refuse))
        await loki.restart()
        assert (await delivering).delivered == 2
        assert (await lines(loki), await counted(loki)) == (["one", "two"], 2)
