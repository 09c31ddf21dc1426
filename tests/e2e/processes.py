"""A whole fleet of Pronoia's own processes, started as a user would start them, killed as an operator never would."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.servers.processes import Process, free_port


async def until(condition: Callable[[], Awaitable[bool]], what: str, deadline_s: float = 60.0) -> None:
    """Wait for a condition; fails with `what` at the deadline."""
    end = time.monotonic() + deadline_s
    while not await condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s:.0f} s: {what}")
        await asyncio.sleep(0.1)


class Member:
    """One `pronoia` process of a fleet, with a folder of its own and an admin port."""

    def __init__(self, folder: Path, command: str, config: dict[str, Any], admin: int) -> None:
        folder.mkdir()
        self.command = command
        self.admin = admin
        (folder / "config.yml").write_text(yaml.safe_dump(config, sort_keys=False))
        arguments = ("-m", "pronoia", command, "--config", "config.yml", "--data", "data")
        self.process = Process((sys.executable, *arguments), folder)

    async def start(self) -> None:
        """Start it and wait until `/readyz` says that it can work."""
        await self.process.start(self._ready)

    async def _ready(self) -> bool:
        return (await self.get("/readyz"))[0] == 200

    async def get(self, path: str) -> tuple[int, str]:
        """Ask its admin port; status 0 when it does not answer."""
        url = f"http://127.0.0.1:{self.admin}{path}"
        try:
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                return answer.status, await answer.text()
        except (OSError, aiohttp.ClientError):
            return 0, ""


@dataclass
class Fleet:
    """Agents, gateways and ingesters over one Kafka into one store or more. Use as an async context manager."""

    folder: Path
    brokers: list[str]
    write_url: str = ""
    partitions: int = 6
    prefix: str = "pronoia."
    tokens: dict[str, str] = field(default_factory=lambda: {"c1": "token-of-c1", "c2": "token-of-c2"})
    members: dict[str, Member] = field(default_factory=dict)
    _gateways: list[tuple[int, int]] = field(default_factory=list)

    async def __aenter__(self) -> "Fleet":
        return self

    async def __aexit__(self, *_: object) -> None:
        for member in self.members.values():
            await member.process.kill()

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

    def _add(self, name: str, command: str, config: dict[str, Any], admin: int) -> Member:
        self.members[name] = Member(self.folder / name, command, config, admin)
        return self.members[name]

    def add_gateway(self, name: str) -> Member:
        """Describe a gateway; the agents added later push to the gateways in turn."""
        grpc, http, admin = free_port(), free_port(), free_port()
        for cluster, token in self.tokens.items():
            (self.folder / f"{cluster}.token").write_text(token)
        self._gateways.append((grpc, http))
        listen = {"grpc": f"127.0.0.1:{grpc}", "http": f"127.0.0.1:{http}", "admin": f"127.0.0.1:{admin}"}
        clusters = [{"name": c, "token_file": str(self.folder / f"{c}.token")} for c in self.tokens]
        return self._add(name, "gateway", {"listen": listen, "log": self._log(), "clusters": clusters}, admin)

    def add_ingester(self, name: str, *, sinks: list[dict[str, Any]] | None = None, **sink: Any) -> Member:
        """Describe an ingester, of one sink into the store if no other `sinks` are given."""
        admin = free_port()
        sinks = sinks or [{"name": "prometheus", "remote_write": {"url": self.write_url}, **sink}]
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
        **more: Any,
    ) -> Member:
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
            **more,
        }
        return self._add(name, "agent", config, admin)

    async def start(self) -> None:
        """Start everything that was described, in that order, each when the one before is ready."""
        for member in self.members.values():
            await member.start()

    def tails(self) -> str:
        """Return the end of what every member wrote, for a failing test."""
        return "\n".join(f"--- {name}\n{member.process.tail(1500)}" for name, member in self.members.items())

    async def status(self) -> dict[str, Any]:
        """Return the ledger of the whole group, as one of the ingesters tells it."""
        ingester = next(member for member in self.members.values() if member.command == "ingester")
        _, text = await ingester.get("/api/v1/status")
        return dict(json.loads(text)) if text else {"clusters": []}
