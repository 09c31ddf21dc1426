"""What a source gives, its position and what stages hold back: together or not at all."""

import asyncio

import pytest

from agent.inputs.feed import Feed
from agent.logs.entry import Entry
from pipeline.errors import TransientError
from tests.agent.inputs.parts import Desk, Memory


def entries(*texts: str) -> list[Entry]:
    return [Entry({"a": "b"}, 1, text) for text in texts]


async def test_what_failed_is_read_again_through_stages_as_they_were() -> None:
    memory = Memory()
    feed = Feed(Desk(memory, holding=1).tools(), "kind")
    await feed.put(entries("1", "2"), b"2")
    memory.fails = 1
    with pytest.raises(TransientError):
        await feed.put(entries("3"), b"3")
    assert feed.position == b"2"
    await feed.put(entries("3"), b"3")
    await feed.end()
    assert memory.texts == ["1", "2", "3"]
    assert feed.position == b"3"


async def test_what_is_put_durably_keeps_its_order() -> None:
    memory = Memory()
    memory.room.clear()
    feed = Feed(Desk(memory).tools(), "kind")
    puts = [asyncio.create_task(feed.put(entries(str(number)), durable=True)) for number in range(10)]
    await asyncio.sleep(0)
    assert not memory.lines
    memory.room.set()
    await asyncio.gather(*puts)
    assert memory.texts == [str(number) for number in range(10)]


async def test_a_source_that_is_gone_leaves_nothing_behind() -> None:
    memory = Memory()
    feed = Feed(Desk(memory, holding=1).tools(), "kind", "name")
    await feed.put(entries("1"), b"1")
    assert memory.kept
    await feed.forget()
    assert (memory.texts, memory.kept) == (["1"], {})
