"""Fixtures that several folders share: the real servers, and what was left out for want of one."""

import os
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import pytest_asyncio
from hypothesis import settings

from tests.servers.elasticsearch import Elasticsearch
from tests.servers.kafka import Kafka
from tests.servers.kubernetes import Kubernetes
from tests.servers.loki import Loki
from tests.servers.opensearch import OpenSearch
from tests.servers.processes import MissingServerError
from tests.servers.prometheus import Prometheus

# CI says the same of the same commit every time; at a desk every run looks elsewhere. Neither is a matter of speed.
settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
# What failed is printed so that it can be asked for again: the folder of examples leaves iterators open, which pytest
# reports as a warning wherever it happens to be by then.
settings.register_profile("desk", deadline=None, print_blob=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") or os.environ.get("PRONOIA_REQUIRE_SERVERS") else "desk")

LEFT_OUT = pytest.StashKey[list[str]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    try:
        return (yield)
    except MissingServerError as error:
        _leave_out(error, item.config)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    try:
        return (yield)
    except MissingServerError as error:
        _leave_out(error, item.config)


def _leave_out(error: MissingServerError, config: pytest.Config) -> NoReturn:
    """Skip the test for want of a server, or fail it where servers are required."""
    if os.environ.get("PRONOIA_REQUIRE_SERVERS") == "1":
        pytest.fail(str(error))
    config.stash.setdefault(LEFT_OUT, []).append(str(error))
    pytest.skip(str(error))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    reasons = config.stash.get(LEFT_OUT, [])
    for reason in sorted(set(reasons)):
        terminalreporter.write_line(f"left out: {reasons.count(reason)} tests: {reason}", yellow=True)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kafka(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kafka]:
    """One broker for the whole run; tests keep apart by the topic prefix of `kafka.config()`, and do not kill it."""
    async with Kafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def elasticsearch() -> AsyncIterator[Elasticsearch]:
    """One node for the whole run; tests keep apart by their indices' prefix, and do not kill it."""
    async with Elasticsearch() as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def opensearch() -> AsyncIterator[OpenSearch]:
    """One node for the whole run; tests keep apart by their indices' prefix, and do not kill it."""
    async with OpenSearch() as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kubernetes]:
    """One API server for the whole run; tests keep apart by their namespaces, and do not kill it."""
    async with Kubernetes(tmp_path_factory.mktemp("kubernetes")) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="function")
async def prometheus(tmp_path: Path) -> AsyncIterator[Prometheus]:
    """A Prometheus of the test's own, with an out-of-order window of a day."""
    async with Prometheus(tmp_path / "prometheus", out_of_order_time_window="1d") as server:
        yield server


@pytest_asyncio.fixture(loop_scope="function")
async def loki(tmp_path: Path) -> AsyncIterator[Loki]:
    """A Loki of the test's own."""
    async with Loki(tmp_path / "loki") as server:
        yield server
