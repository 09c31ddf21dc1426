"""Pronoia's own processes, started as a user would start them, killed as an operator never would."""

import asyncio
import json
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def until(condition: Callable[[], Awaitable[bool]], what: str, deadline_s: float = 60.0) -> None:
    """Wait for a condition; fails with `what` at the deadline."""
    end = time.monotonic() + deadline_s
    while not await condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s:.0f} s: {what}")
        await asyncio.sleep(0.1)


@dataclass
class Process:
    """One `pronoia` process with its configuration, its data folder and its log file."""

    name: str
    folder: Path
    arguments: list[str]
    admin: int
    process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> Path:
        """What it printed, over all its lives."""
        return self.folder / f"{self.name}.log"

    async def start(self) -> None:
        """Start it; `ready` waits until it can work."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "pronoia", *self.arguments, stdout=log, stderr=log, cwd=self.folder
            )

    async def ready(self, deadline_s: float = 60.0) -> None:
        """Wait until `/readyz` says so."""

        async def answers() -> bool:
            if self.process is None or self.process.returncode is not None:
                raise AssertionError(f"{self.name} ended:\n{self.log.read_text()[-3000:]}")
            return (await self.get("/readyz"))[0] == 200

        try:
            await until(answers, f"{self.name} ready", deadline_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log.read_text()[-3000:]}") from error

    async def get(self, path: str) -> tuple[int, str]:
        """Ask its admin port; status 0 when it does not answer."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self.admin}{path}") as answer,
            ):
                return answer.status, await answer.text()
        except (OSError, aiohttp.ClientError):
            return 0, ""

    async def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def stop(self, deadline_s: float = 40.0) -> int:
        """SIGTERM, and return the exit code."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.process.wait(), deadline_s)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            raise AssertionError(f"{self.name} did not drain:\n{self.log.read_text()[-3000:]}") from None


@dataclass
class Fleet:
    """Agents, gateways and ingesters over one Kafka into one store. Use as an async context manager."""

    folder: Path
    brokers: list[str]
    write_url: str
    partitions: int = 6
    prefix: str = "pronoia."
    tokens: dict[str, str] = field(default_factory=lambda: {"c1": "token-of-c1", "c2": "token-of-c2"})
    processes: dict[str, Process] = field(default_factory=dict)
    _gateways: list[tuple[int, int]] = field(default_factory=list)

    async def __aenter__(self) -> "Fleet":
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self.processes.values():
            if process.process is not None:
                await process.kill()

    def _log(self) -> dict[str, Any]:
        return {
            "kafka": {
                "brokers": self.brokers,
                "topic_prefix": self.prefix,
                "partitions": self.partitions,
                "replication": 1,
                "min_in_sync": 1,
            }
        }

    def _add(self, name: str, command: str, config: dict[str, Any], admin: int) -> Process:
        path = self.folder / f"{name}.yml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        data = self.folder / name
        arguments = [command, "--config", str(path), "--data", str(data)]
        self.processes[name] = Process(name, self.folder, arguments, admin)
        return self.processes[name]

    def add_gateway(self, name: str) -> Process:
        """Describe a gateway; the agents added later push to the gateways in turn."""
        grpc, http, admin = free_port(), free_port(), free_port()
        for cluster, token in self.tokens.items():
            (self.folder / f"{cluster}.token").write_text(token)
        self._gateways.append((grpc, http))
        listen = {"grpc": f"127.0.0.1:{grpc}", "http": f"127.0.0.1:{http}", "admin": f"127.0.0.1:{admin}"}
        clusters = [{"name": c, "token_file": str(self.folder / f"{c}.token")} for c in self.tokens]
        return self._add(name, "gateway", {"listen": listen, "log": self._log(), "clusters": clusters}, admin)

    def add_ingester(self, name: str, **sink: Any) -> Process:
        """Describe an ingester."""
        admin = free_port()
        sinks = [{"name": "prometheus", "remote_write": {"url": self.write_url}, **sink}]
        return self._add(name, "ingester", {"log": self._log(), "admin": f"127.0.0.1:{admin}", "sinks": sinks}, admin)

    def add_agent(
        self,
        name: str,
        cluster: str,
        scrape_configs: list[dict[str, Any]],
        *,
        gateway: int,
        interval: str = "1s",
        http: bool = False,
    ) -> Process:
        """Describe an agent of a cluster that pushes to the n-th gateway."""
        admin = free_port()
        port = self._gateways[gateway][1 if http else 0]
        config = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval},
            "scrape_configs": scrape_configs,
            "cluster": cluster,
            "agent": name,
            "admin": f"127.0.0.1:{admin}",
            "gateway": {
                "url": f"{'http' if http else 'grpc'}://127.0.0.1:{port}",
                "token_file": str(self.folder / f"{cluster}.token"),
            },
        }
        return self._add(name, "agent", config, admin)

    async def start(self) -> None:
        """Start everything that was described and wait until all of it is ready."""
        for process in self.processes.values():
            await process.start()
        for process in self.processes.values():
            await process.ready()

    async def status(self) -> dict[str, Any]:
        """Return the ledger of the whole group, as one of the ingesters tells it."""
        name = next(name for name, process in self.processes.items() if process.arguments[0] == "ingester")
        _, text = await self.processes[name].get("/api/v1/status")
        return dict(json.loads(text)) if text else {"clusters": []}
