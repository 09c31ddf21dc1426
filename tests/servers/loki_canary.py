"""Loki's canary as a real sender: pushes a numbered line at a fixed interval, built with Go beside Loki."""

import asyncio
import shutil
from pathlib import Path
from typing import Self

from tests.servers.loki import MODULE, VERSION
from tests.servers.processes import MissingServerError, Process, Server, cache_folder, free_port, provide, run_tool

PACKAGE = "github.com/grafana/loki/v3/cmd/loki-canary"


def canary_program() -> Path:
    """Return the canary, built with Go once; raises MissingServerError."""
    name = f"loki-canary-{VERSION}"
    if shutil.which("go") is None and not (cache_folder() / name).exists():
        raise MissingServerError("Loki's canary needs Go (no `go` on the PATH)")
    return provide(name, _build) / "loki-canary"


def _build(folder: Path) -> None:
    command = ("go", "build", "-trimpath", "-tags", "netgo", "-ldflags", "-s -w", "-o", folder / "loki-canary", PACKAGE)
    run_tool(*command, cwd=MODULE, env={"CGO_ENABLED": "0"})


class LokiCanary(Server):
    """One canary that pushes to `address` (host and port), with `password` for basic authentication."""

    def __init__(self, folder: Path, address: str, *, password: str, tenant: str, batch: int, interval: str) -> None:
        self.folder = folder
        self.port = free_port()
        options = {
            "addr": address,
            "user": "anybody",
            "pass": password,
            "tenant-id": tenant,
            "logs-batch-size": batch,
            "interval": interval,
            "port": self.port,
            "write-min-backoff": "50ms",
            "write-max-backoff": "100ms",
        }
        self._options = ("-push", *(f"-{name}={value}" for name, value in options.items()))

    async def __aenter__(self) -> Self:
        program = await asyncio.to_thread(canary_program)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = Process((program, *self._options), self.folder)
        await self.restart()
        return self

    async def __aexit__(self, *_: object) -> None:
        # It would first ask Loki for all that it sent.
        await self.kill()

    async def ready(self) -> bool:
        """Return whether it serves its metrics."""
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    def written(self) -> list[str]:
        """Return the lines that it says it has written."""
        assert self.process is not None
        return [line for line in self.process.output.read_text(errors="replace").splitlines() if " ppp" in line]
