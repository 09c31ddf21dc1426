"""A real client_golang target with native histograms, exemplars and UTF-8 names, built with Go from `histograms_go`."""

import hashlib
import io
import shutil
from pathlib import Path

import aiohttp

from tests.servers.processes import MissingServerError, Target, provide, run_tool

MODULE = Path(__file__).with_name("histograms_go")


def histograms_program() -> Path:
    """Return the program, built once for each version of its source; raises MissingServerError."""
    if shutil.which("go") is None:
        raise MissingServerError("the target with native histograms needs Go (no `go` on the PATH)")
    source = b"".join((MODULE / name).read_bytes() for name in ("main.go", "go.mod"))
    return provide(f"histograms-{hashlib.sha256(source).hexdigest()[:12]}", _build) / "histograms"


def _build(folder: Path) -> None:
    command = ("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", folder / "histograms", ".")
    run_tool(*command, cwd=MODULE, env={"CGO_ENABLED": "0"})


class Histograms(Target):
    """The target, on a free loopback port."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, histograms_program, lambda address: ("-listen", address))

    async def convert(self, page: bytes) -> bytes:
        """Return a text page as client_golang writes it in protobuf."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://{self.address}/convert", data=io.BytesIO(page)) as answer,
        ):
            body = await answer.read()
            assert answer.status == 200, body
            return body

    async def observe(self) -> None:
        """Add two observations to every metric."""
        await self._get("/observe")

    async def reset(self) -> None:
        """Take all series of the vectors away."""
        await self._get("/reset")

    async def _get(self, path: str) -> None:
        async with aiohttp.ClientSession() as session, session.get(f"http://{self.address}{path}") as answer:
            answer.raise_for_status()
