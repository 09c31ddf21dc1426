"""A real Loki for tests: built once with Go from the module file beside, one process, its store in a folder.

async with Loki(tmp_path, limits={"max_line_size": "1KB"}) as loki:
    await push(loki.push_url)
    assert [entry.line for entry in await loki.entries('{app="x"}', start_ns=0, end_ns=10**18)] == ["one", "two"]
"""

import asyncio
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import aiohttp

from tests.servers.processes import MissingServerError, Process, Server, cache_folder, free_port, provide, run_tool

VERSION = "3.7.8"
MODULE = Path(__file__).with_name("loki_go")
PACKAGE = "github.com/grafana/loki/v3/cmd/loki"

# Loki's answers may be no larger than its own gRPC messages, 4 MiB.
_PAGE = 1000

Labels = tuple[tuple[str, str], ...]
"""A stream's labels, sorted by name."""


def loki_program() -> Path:
    """Return the Loki to test with, built with Go once; raises MissingServerError."""
    name = f"loki-{VERSION}"
    if shutil.which("go") is None and not (cache_folder() / name).exists():
        raise MissingServerError("Loki needs Go (no `go` on the PATH)")
    return provide(name, _build) / "loki"


def _build(folder: Path) -> None:
    flags = f"-s -w -X github.com/grafana/loki/v3/pkg/util/build.Version={VERSION}"
    command = ("go", "build", "-trimpath", "-tags", "netgo", "-ldflags", flags, "-o", folder / "loki", PACKAGE)
    run_tool(*command, cwd=MODULE, env={"CGO_ENABLED": "0"})


class Found(NamedTuple):
    """One entry as Loki gives it back."""

    labels: Labels
    """Those of its stream; what Loki found out by itself (`detected_level`, `service_name`) is left out."""
    time_ns: int
    line: str
    metadata: Labels


class Loki(Server):
    """One Loki with its data in `folder`, on free loopback ports.

    `limits` goes into `limits_config`; `settings` (top level of its configuration) is laid over what is here. With
    `tenants` it wants X-Scope-OrgID, and each tenant's limits are what stands there.
    """

    def __init__(
        self,
        folder: Path,
        *,
        limits: Mapping[str, Any] | None = None,
        tenants: Mapping[str, Mapping[str, Any]] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self._grpc_port = free_port()
        self._limits = dict(limits or {})
        self._tenants = tenants
        self._settings = settings or {}
        self._session: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def push_url(self) -> str:
        """Where it takes entries."""
        return f"{self.url}/loki/api/v1/push"

    async def __aenter__(self) -> Self:
        program = await asyncio.to_thread(loki_program)
        self.folder.mkdir(parents=True, exist_ok=True)
        # JSON is YAML.
        (self.folder / "loki.yml").write_text(json.dumps(self._configuration()), encoding="utf-8")
        overrides = {"overrides": {name: dict(limits) for name, limits in (self._tenants or {}).items()}}
        (self.folder / "tenants.yml").write_text(json.dumps(overrides), encoding="utf-8")
        self.process = Process((program, "-config.file=loki.yml"), self.folder)
        self._session = aiohttp.ClientSession()
        try:
            await self.restart()
        except BaseException:
            await self._session.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
        await self.stop()

    def _configuration(self) -> dict[str, Any]:
        data = str((self.folder / "data").resolve())
        limits = {"allow_structured_metadata": True, "reject_old_samples": False, **self._limits}
        schema = {"from": "2020-01-01", "store": "tsdb", "object_store": "filesystem", "schema": "v13"}
        plain: dict[str, Any] = {
            "auth_enabled": self._tenants is not None,
            "analytics": {"reporting_enabled": False},
            "server": {
                "http_listen_address": "127.0.0.1",
                "http_listen_port": self.port,
                "grpc_listen_address": "127.0.0.1",
                "grpc_listen_port": self._grpc_port,
                "log_level": "warn",
            },
            "common": {
                "instance_addr": "127.0.0.1",
                "path_prefix": data,
                "replication_factor": 1,
                "ring": {"kvstore": {"store": "inmemory"}},
                "storage": {"filesystem": {"chunks_directory": f"{data}/chunks", "rules_directory": f"{data}/rules"}},
            },
            # Nobody waits for other ingesters here.
            "ingester": {"lifecycler": {"min_ready_duration": "0s"}},
            # Otherwise queriers look for a frontend for ten seconds.
            "frontend_worker": {"frontend_address": f"127.0.0.1:{self._grpc_port}"},
            "schema_config": {"configs": [{**schema, "index": {"prefix": "index_", "period": "24h"}}]},
            "limits_config": limits,
            "runtime_config": {"file": "tenants.yml"},
        }
        for name, section in self._settings.items():
            plain[name] = {**plain.get(name, {}), **section} if isinstance(section, Mapping) else section
        return plain

    async def ready(self) -> bool:
        """Return whether it answers."""
        assert self._session is not None
        try:
            async with self._session.get(f"{self.url}/ready") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def entries(self, selector: str, *, start_ns: int, end_ns: int, tenant: str = "") -> list[Found]:
        """Return every entry from `start_ns` until before `end_ns`, in the order of time, as often as Loki gives it."""
        out: list[Found] = []
        while True:
            page = await self._page(selector, start_ns, end_ns, tenant)
            if len(page) < _PAGE:
                return out + page
            # Entries of one nanosecond are not to be torn apart by the end of a page.
            last_ns = page[-1].time_ns
            whole = [found for found in page if found.time_ns < last_ns]
            assert whole, f"more than {_PAGE} entries at {last_ns}"
            out += whole
            start_ns = last_ns

    async def _page(self, selector: str, start_ns: int, end_ns: int, tenant: str) -> list[Found]:
        params = {"start": start_ns, "end": end_ns, "limit": _PAGE, "direction": "forward"}
        answer = await self.ask("query_range", {"query": selector, **params}, tenant, {"categorize-labels"})
        found = [_found(stream, value) for stream in answer["data"]["result"] for value in stream["values"]]
        return sorted(found, key=lambda entry: (entry.time_ns, entry.labels))

    async def count(self, selector: str, *, end_ns: int, window_s: int, tenant: str = "") -> int:
        """Return what `count_over_time` says of the window that ends at `end_ns`."""
        query = f"sum(count_over_time({selector}[{window_s}s]))"
        answer = await self.ask("query", {"query": query, "time": end_ns}, tenant)
        result = answer["data"]["result"]
        return int(result[0]["value"][1]) if result else 0

    async def flush(self) -> None:
        """Write what is in memory to the store."""
        assert self._session is not None
        async with self._session.post(f"{self.url}/flush") as response:
            assert response.status == 204, await response.text()

    async def ask(
        self, path: str, params: Mapping[str, Any], tenant: str = "", flags: set[str] | None = None
    ) -> dict[str, Any]:
        """Answer a question to the query API."""
        assert self._session is not None
        headers = {"X-Scope-OrgID": tenant} if tenant else {}
        if flags:
            headers["X-Loki-Response-Encoding-Flags"] = ",".join(flags)
        async with self._session.get(f"{self.url}/loki/api/v1/{path}", params=params, headers=headers) as response:
            if response.status != 200:
                raise AssertionError(f"{params}: HTTP {response.status}: {await response.text()}")
            answer: dict[str, Any] = await response.json()
            return answer


def _found(stream: Mapping[str, Any], value: list[Any]) -> Found:
    labels = {name: text for name, text in stream["stream"].items() if name != "service_name"}
    more = value[2].get("structuredMetadata", {}) if len(value) > 2 else {}
    metadata = {name: text for name, text in more.items() if name != "detected_level"}
    return Found(tuple(sorted(labels.items())), int(value[0]), value[1], tuple(sorted(metadata.items())))
