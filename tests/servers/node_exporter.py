"""A real node_exporter, built once with Go from the module file beside, or Debian's where there is no Go."""

import shutil
from pathlib import Path
from typing import Self

import aiohttp

from tests.servers.processes import MissingServerError, Process, cache_folder, free_port, provide, run_tool

VERSION = "1.12.1"
MODULE = Path(__file__).with_name("node_exporter_go")
PACKAGE = "github.com/prometheus/node_exporter"


def node_exporter_program() -> Path:
    """Return the program: ours, built with Go once, or the installed one; raises MissingServerError."""
    name = f"node_exporter-{VERSION}"
    if shutil.which("go") is not None or (cache_folder() / name).exists():
        return provide(name, _build) / "node_exporter"
    if (installed := shutil.which("prometheus-node-exporter")) is not None:
        return Path(installed)
    raise MissingServerError(
        "node_exporter needs Go (no `go` on the PATH) or Debian's package prometheus-node-exporter"
    )


def _build(folder: Path) -> None:
    command = ("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", folder / "node_exporter", PACKAGE)
    run_tool(*command, cwd=MODULE, env={"CGO_ENABLED": "0"})


class NodeExporter:
    """node_exporter on a free loopback port; with `pages` it shows the text pages (*.prom) of that folder alone."""

    def __init__(self, folder: Path, pages: Path | None = None) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._folder = folder
        self._arguments = [f"--web.listen-address={self.address}", "--web.disable-exporter-metrics"]
        if pages is not None:
            self._arguments += ["--collector.disable-defaults", "--collector.textfile"]
            self._arguments.append(f"--collector.textfile.directory={pages}")

    async def __aenter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._process = Process((node_exporter_program(), *self._arguments), self._folder)
        await self._process.start(self._ready)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._process.stop()

    async def page(self, accept: str) -> tuple[bytes, str]:
        """Return the page and its Content-Type."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{self.address}/metrics", headers={"Accept": accept}) as answer,
        ):
            answer.raise_for_status()
            return await answer.read(), answer.headers["Content-Type"]

    async def _ready(self) -> bool:
        try:
            await self.page("*/*")
        except (aiohttp.ClientError, OSError):
            return False
        return True
