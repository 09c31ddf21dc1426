"""A real Prometheus for tests: built once with Go from the module file beside, or Debian's where there is no Go.

async with Prometheus(tmp_path, out_of_order_time_window="6h") as prometheus:
    await send(prometheus.write_url)
    assert await prometheus.query("up") == {(("__name__", "up"), ("job", "x")): 1.0}
"""

import asyncio
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp

from tests.servers.processes import MissingServerError, Process, Server, cache_folder, free_port, provide, run_tool

# Prometheus 3.15.0 is v0.315.0 as a Go module.
VERSION = "3.15.0"
MODULE = Path(__file__).with_name("prometheus_go")
PACKAGE = "github.com/prometheus/prometheus/cmd/prometheus"

Labels = tuple[tuple[str, str], ...]
"""A series' labels, sorted by name."""


@dataclass(frozen=True, slots=True)
class Program:
    """Which Prometheus there is; `version` as it says itself: (3, 15, 0)."""

    path: Path
    version: tuple[int, int, int]


def prometheus_program() -> Program:
    """Return the Prometheus to test with: ours, built with Go once, or the installed one; raises MissingServerError."""
    name = f"prometheus-{VERSION}-discovery"
    if shutil.which("go") is not None or (cache_folder() / name).exists():
        path = provide(name, _build) / "prometheus"
    elif (installed := shutil.which("prometheus")) is not None:
        path = Path(installed)
    else:
        raise MissingServerError("Prometheus needs Go (no `go` on the PATH) or Debian's package `prometheus`")
    return Program(path, _version_of(path))


def _build(folder: Path) -> None:
    flags = f"-s -w -X github.com/prometheus/common/version.Version={VERSION}"
    # Of its discoveries those that ours are compared with: the others are most of what there is to build.
    kinds = ",".join(f"enable_{kind}_sd" for kind in ("kubernetes", "dns", "consul", "moby", "aws"))
    command = ("go", "build", "-trimpath", "-tags", f"netgo,remove_all_sd,{kinds}", "-ldflags", flags)
    run_tool(*command, "-o", folder / "prometheus", PACKAGE, cwd=MODULE, env={"CGO_ENABLED": "0"})


def _version_of(path: Path) -> tuple[int, int, int]:
    found = re.search(r"version (\d+)\.(\d+)\.(\d+)", run_tool(path, "--version"))
    if found is None:
        raise AssertionError(f"{path} does not say its version")
    return int(found[1]), int(found[2]), int(found[3])


class Prometheus(Server):
    """One Prometheus that receives remote writes, with its data in `folder`, on a free loopback port.

    It scrapes nothing unless `config` (the top level of a prometheus.yml as plain values) says so.
    `out_of_order_time_window` ("6h") goes into its configuration; None leaves it at zero. `arguments` are added to its
    command line.
    """

    def __init__(
        self,
        folder: Path,
        *,
        out_of_order_time_window: str | None = None,
        config: Mapping[str, Any] | None = None,
        arguments: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.version = (0, 0, 0)
        self._config = dict(config or {})
        if out_of_order_time_window is not None:
            self._config["storage"] = {"tsdb": {"out_of_order_time_window": out_of_order_time_window}}
        self._arguments = arguments
        self._session: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def write_url(self) -> str:
        """Where it takes remote writes."""
        return f"{self.url}/api/v1/write"

    @property
    def takes_remote_write_2(self) -> bool:
        """Whether it understands io.prometheus.write.v2.Request (Debian's 2.42 does not)."""
        return self.version >= (3, 0, 0)

    async def __aenter__(self) -> Self:
        program = await asyncio.to_thread(prometheus_program)
        self.version = program.version
        self.folder.mkdir(parents=True, exist_ok=True)
        # JSON is YAML.
        (self.folder / "prometheus.yml").write_text(json.dumps(self._config), encoding="utf-8")
        self.process = Process((program.path, *self._flags()), self.folder)
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

    def _flags(self) -> list[str]:
        flags = [
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--storage.tsdb.retention.time=10y",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--web.enable-remote-write-receiver",
            "--web.enable-lifecycle",
        ]
        if self.takes_remote_write_2:
            messages = ("prometheus.WriteRequest", "io.prometheus.write.v2.Request")
            flags += [f"--web.remote-write-receiver.accepted-protobuf-messages={name}" for name in messages]
            flags.append("--web.enable-otlp-receiver")
        return [*flags, *self._arguments]

    async def ready(self) -> bool:
        """Return whether it answers."""
        assert self._session is not None
        try:
            async with self._session.get(f"{self.url}/-/ready") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def query(self, promql: str, *, time_s: float | None = None) -> dict[Labels, float]:
        """Answer an instant query: each series' value (now, or at `time_s`)."""
        params = {"query": promql} | ({} if time_s is None else {"time": f"{time_s:.3f}"})
        return {_labels(found): float(found["value"][1]) for found in await self._ask("query", params)}

    async def values(self, promql: str, *, time_s: float | None = None) -> dict[Labels, Any]:
        """Answer an instant query as it is told: each series' number as text, or its native histogram."""
        params = {"query": promql} | ({} if time_s is None else {"time": f"{time_s:.3f}"})
        return {
            _labels(found): found["value"][1] if "value" in found else found["histogram"][1]
            for found in await self._ask("query", params)
        }

    async def query_range(
        self, promql: str, *, start_s: float, end_s: float, step_s: float
    ) -> dict[Labels, list[tuple[float, float]]]:
        """Answer a range query: each series' (seconds, value) at every step."""
        params = {"query": promql, "start": f"{start_s:.3f}", "end": f"{end_s:.3f}", "step": f"{step_s:.3f}"}
        return {
            _labels(found): [(float(at), float(value)) for at, value in found["values"]]
            for found in await self._ask("query_range", params)
        }

    async def samples(self, selector: str, *, end_s: float, window_s: float) -> dict[Labels, list[tuple[int, float]]]:
        """Return the stored samples themselves, as (Unix milliseconds, value), of the window that ends at `end_s`."""
        params = {"query": f"{selector}[{round(window_s * 1000)}ms]", "time": f"{end_s:.3f}"}
        return {
            _labels(found): [(round(float(at) * 1000), float(value)) for at, value in found["values"]]
            for found in await self._ask("query", params)
        }

    async def _ask(self, path: str, params: Mapping[str, str]) -> list[Any]:
        assert self._session is not None
        async with self._session.post(f"{self.url}/api/v1/{path}", data=params) as response:
            answer = await response.json()
        if answer["status"] != "success":
            raise AssertionError(f"{params['query']}: {answer}")
        result: list[Any] = answer["data"]["result"]
        return result


def _labels(found: Mapping[str, Any]) -> Labels:
    return tuple(sorted(found["metric"].items()))
