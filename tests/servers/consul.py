"""A real Consul for tests: built once with Go from the module file beside, or the installed one.

async with Consul(tmp_path) as consul:
    await consul.put("/v1/agent/service/register", {"Name": "web", "Port": 80})
"""

import shutil
from pathlib import Path
from typing import Any, Final, Self

import aiohttp

from tests.servers.processes import MissingServerError, Process, cache_folder, free_port, provide, run_tool

# The newest version whose module and whose submodules can be had as Go modules with their checksums.
VERSION: Final = "1.20.1"
MODULE: Final = Path(__file__).with_name("consul_go")


def consul_program() -> Path:
    """Return the Consul to test with: ours, built with Go once, or the installed one; raises MissingServerError."""
    name = f"consul-{VERSION}"
    if shutil.which("go") is not None or (cache_folder() / name).exists():
        return provide(name, _build) / "consul"
    if (installed := shutil.which("consul")) is not None:
        return Path(installed)
    raise MissingServerError("Consul needs Go (no `go` on the PATH) or a `consul` on the PATH")


def _build(folder: Path) -> None:
    command = ("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", folder / "consul")
    run_tool(*command, "github.com/hashicorp/consul", cwd=MODULE, env={"CGO_ENABLED": "0"})


class Consul:
    """One server in development mode, which keeps everything in memory; its node is `here`, its datacentre `dc1`.

    `acl_token` lets nobody else read or write.
    """

    def __init__(self, folder: Path, *, acl_token: str = "") -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._folder = folder
        self._acl_token = acl_token
        self._process: Process | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        program = consul_program()
        self._folder.mkdir(parents=True, exist_ok=True)
        ports = {name: free_port() for name in ("server", "serf_lan", "serf_wan")}
        off = [f"ports {{ {name} = -1 }}" for name in ("dns", "grpc", "grpc_tls", "https")]
        acl = f'tokens {{ initial_management = "{self._acl_token}" }}'
        given = [f"ports {{ {name} = {port} }}" for name, port in {**ports, "http": self.port}.items()]
        if self._acl_token:
            given.append(f'acl {{ enabled = true default_policy = "deny" {acl} }}')
        flags = [f"-hcl={part}" for part in (*off, *given)]
        command: list[str | Path] = [
            program,
            "agent",
            "-dev",
            "-node=here",
            "-bind=127.0.0.1",
            "-log-level=warn",
            *flags,
        ]
        self._process = Process(command, self._folder)
        self._session = aiohttp.ClientSession(headers={"X-Consul-Token": self._acl_token})
        try:
            await self.restart()
        except BaseException:
            await self._session.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None and self._session is not None
        await self._session.close()
        await self._process.stop()

    async def restart(self) -> None:
        """Start it, with an empty catalogue, and wait until it has a leader and knows its own node."""
        assert self._process is not None
        await self._process.start(self._ready)

    async def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        await self._process.kill()

    async def put(self, path: str, body: Any = None) -> None:
        """Ask it to change something; raises AssertionError where it refuses."""
        assert self._session is not None
        async with self._session.put(f"http://{self.address}{path}", json=body) as response:
            assert response.status == 200, f"{path}: {response.status}: {await response.text()}"

    async def _ready(self) -> bool:
        assert self._session is not None
        try:
            async with self._session.get(f"http://{self.address}/v1/health/service/consul") as response:
                return response.status == 200 and bool(await response.json())
        except aiohttp.ClientError:
            return False
