import asyncio
from collections.abc import Mapping

import pytest

from ingester.commits import Commits
from pipeline.errors import TransientError
from pipeline.log.interface import Partition


def at(number: int) -> Partition:
    return Partition("t", number)


class Broker:
    """Takes a commit when it is let."""

    def __init__(self) -> None:
        self.taken: list[dict[Partition, int]] = []
        self.let = asyncio.Event()
        self.fail = False

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        self.taken.append(dict(offsets))
        await self.let.wait()
        if self.fail:
            raise TransientError("no")


async def begun(*work: "asyncio.Task[None]") -> None:
    for _ in work:
        await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_commits_that_come_while_one_is_under_way_go_together() -> None:
    broker = Broker()
    commits = Commits(broker.commit)
    first = asyncio.create_task(commits.add(at(0), 5))
    await begun(first)
    others = [asyncio.create_task(commits.add(at(n), 7)) for n in (1, 2, 3)]
    await begun(*others)
    broker.let.set()
    await asyncio.gather(first, *others)
    assert broker.taken == [{at(0): 5}, {at(1): 7, at(2): 7, at(3): 7}]


async def test_a_failure_is_told_to_all_whom_it_concerns_and_the_next_commit_goes_on() -> None:
    broker = Broker()
    commits = Commits(broker.commit)
    first = asyncio.create_task(commits.add(at(0), 5))
    await begun(first)
    others = [asyncio.create_task(commits.add(at(n), 7)) for n in (1, 2)]
    await begun(*others)
    broker.fail = True
    broker.let.set()
    results = await asyncio.gather(first, *others, return_exceptions=True)
    assert [type(result) for result in results] == [TransientError] * 3
    broker.fail = False
    await commits.add(at(0), 6)
    assert broker.taken[-1] == {at(0): 6}


async def test_whoever_waits_for_a_commit_that_was_cancelled_is_told_to_try_again() -> None:
    broker = Broker()
    commits = Commits(broker.commit)
    first = asyncio.create_task(commits.add(at(0), 5))
    await begun(first)
    leader = asyncio.create_task(commits.add(at(1), 7))
    follower = asyncio.create_task(commits.add(at(2), 7))
    await begun(leader, follower)
    leader.cancel()
    with pytest.raises(TransientError, match="interrupted"):
        await follower
    broker.let.set()
    await first
    await commits.add(at(2), 8)
    assert broker.taken[-1] == {at(2): 8}
