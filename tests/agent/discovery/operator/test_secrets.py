"""What Secrets hold, from a stand-in for the API server that the test can let fail; a real one is beside."""

import base64
from typing import Any

import pytest

from agent.discovery.kubernetes import ApiServer, NotFoundError, UnavailableError
from agent.discovery.operator.part import Reference
from agent.discovery.operator.secrets import AGAIN_S, MISSING_S, Secrets
from pipeline.errors import PermanentError, PipelineError

ONE = ("shop", Reference("Secret", "one", "k"))
TWO = ("shop", Reference("ConfigMap", "two", "k"))


class StandIn(ApiServer):
    """Answers from a dictionary, or with the error that is in it; remembers what was asked for."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []

    async def request(self, method: str, path: str, **_: Any) -> Any:
        self.asked.append(f"{method} {path.rpartition('/')[2]}")
        answer = self.answers.get(path.rpartition("/")[2], NotFoundError("not found"))
        if isinstance(answer, PipelineError):
            raise answer
        return answer


class Reading:
    """Secrets of a stand-in, at a time that the test moves."""

    def __init__(self) -> None:
        self.server = StandIn()
        self.now_s = 0.0
        self.secrets = Secrets(self.server, lambda: self.now_s)

    async def asks(self, *needed: tuple[str, Reference]) -> list[str]:
        self.server.asked.clear()
        await self.secrets.read(needed)
        return sorted(self.server.asked)

    def held(self, needed: tuple[str, Reference]) -> str | PipelineError:
        return self.secrets.values(needed[0], [needed[1]])[needed[1]]


def secret(text: str) -> dict[str, Any]:
    return {"data": {"k": base64.b64encode(text.encode()).decode(), "other": "bm90IG91cnM="}}


@pytest.fixture
def reading() -> Reading:
    one = Reading()
    one.server.answers = {"one": secret("first"), "two": {"data": {"k": "plain"}}}
    return one


async def test_each_is_read_once_by_its_name_until_it_is_due(reading: Reading) -> None:
    assert await reading.asks(ONE, TWO) == ["GET one", "GET two"]
    assert (reading.held(ONE), reading.held(TWO)) == ("first", "plain")
    assert await reading.asks(ONE, TWO) == []
    assert reading.secrets.due_in_s == AGAIN_S
    reading.now_s = AGAIN_S
    reading.server.answers["one"] = secret("second")
    assert await reading.asks(ONE, TWO) == ["GET one", "GET two"]
    assert reading.held(ONE) == "second"


async def test_what_is_missing_is_looked_for_sooner_and_alone(reading: Reading) -> None:
    del reading.server.answers["one"]
    await reading.asks(ONE, TWO)
    assert isinstance(reading.held(ONE), NotFoundError)
    reading.now_s = MISSING_S
    reading.server.answers["one"] = secret("now")
    assert await reading.asks(ONE, TWO) == ["GET one"]
    assert reading.held(ONE) == "now"


async def test_what_was_read_stays_while_there_is_no_answer(reading: Reading) -> None:
    await reading.asks(ONE)
    reading.now_s = AGAIN_S
    reading.server.answers["one"] = UnavailableError("away")
    assert await reading.asks(ONE) == ["GET one"]
    assert reading.held(ONE) == "first"


async def test_what_nobody_needs_any_more_is_forgotten(reading: Reading) -> None:
    await reading.asks(ONE, TWO)
    await reading.asks(TWO)
    assert await reading.asks(ONE, TWO) == ["GET one"]


@pytest.mark.parametrize("data", [None, {}, {"other": "x"}, {"k": 1}, {"k": "???"}, {"k": "/////w=="}])
async def test_what_is_no_text_is_told_without_what_it_is(reading: Reading, data: Any) -> None:
    reading.server.answers["one"] = {"data": data}
    await reading.asks(ONE)
    found = reading.held(ONE)
    assert isinstance(found, PermanentError)
    assert str(found) in ('Secret "one" has no key "k"', 'Secret "one": the key "k" holds no text')
