"""A real Docker daemon for tests, with containers that run: Debian's docker.io, as root.

async with Docker(tmp_path) as docker:
    await docker.run("web", HostConfig={"NetworkMode": "none"})
"""

import io
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any, Final, Self

import aiohttp

from tests.servers.processes import MissingServerError, Process, free_port, run_tool

IMAGE: Final = "sleeper:1"
_HOST_FOLDERS: Final = ("/bin", "/lib", "/lib64", "/usr")


class Docker:
    """One daemon with data, socket and containerd of its own; it changes no firewall and has no default bridge."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "docker.sock"
        self.port = free_port()
        self._folder = folder
        self._process: Process | None = None
        self._session: aiohttp.ClientSession | None = None
        self._networks: list[str] = []

    async def __aenter__(self) -> Self:
        path = f"/usr/sbin:{os.environ.get('PATH', '')}"
        program = shutil.which("dockerd", path=path)
        if program is None or shutil.which("containerd", path=path) is None:
            raise MissingServerError("a Docker daemon needs Debian's package `docker.io`")
        if os.geteuid() != 0:
            raise MissingServerError("a Docker daemon needs root")
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "daemon.json").write_text("{}")
        flags: list[str | Path] = [
            *("--config-file", self._folder / "daemon.json", "--pidfile", self._folder / "pid"),
            *("--data-root", self._folder / "data", "--exec-root", self._folder / "exec"),
            *("-H", f"unix://{self.socket}", "-H", f"tcp://127.0.0.1:{self.port}", "--tls=false"),
            *("--iptables=false", "--bridge=none", "--storage-driver=vfs", "--log-level=warn"),
        ]
        self._process = Process((program, *flags), self._folder, env={"PATH": path})
        self._session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self.socket)))
        try:
            await self._process.start(self._ready)
            await self._import_image()
        except BaseException:
            await self._session.close()
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None and self._session is not None
        for container in await self.ask("GET", "/containers/json?all=true"):
            await self.ask("DELETE", f"/containers/{container['Id']}?force=true")
        for network in self._networks:
            await self.ask("DELETE", f"/networks/{network}")
        await self._session.close()
        await self._stop()

    async def _stop(self) -> None:
        assert self._process is not None
        await self._process.stop()
        # It leaves the namespace of the host's network mounted, which nobody could remove; where it failed, its data.
        for left in (self._folder / "exec" / "netns" / "default", self._folder / "data"):
            if left.is_mount() or left.is_file():
                run_tool("umount", left)

    async def run(self, name: str, **create: Any) -> str:
        """Create and start a container that sleeps for ever; return its id. `create` is the API's own."""
        identity = await self.create(name, **create)
        await self.ask("POST", f"/containers/{identity}/start")
        return identity

    async def create(self, name: str, **create: Any) -> str:
        """Create a container without starting it; return its id."""
        host = {**create.pop("HostConfig", {}), "Binds": [f"{path}:{path}:ro" for path in _HOST_FOLDERS]}
        body = {"Image": IMAGE, "Cmd": ["/bin/sleep", "infinity"], "HostConfig": host, **create}
        return str((await self.ask("POST", f"/containers/create?name={name}", body))["Id"])

    async def network(self, name: str, **create: Any) -> str:
        """Create a network, which goes with the daemon; return its id."""
        answer = await self.ask("POST", "/networks/create", {"Name": name, **create})
        self._networks.append(answer["Id"])
        return str(answer["Id"])

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the API; raises AssertionError where it refuses."""
        assert self._session is not None
        async with self._session.request(method, f"http://docker{path}", json=body) as response:
            assert response.status < 400, f"{path}: {response.status}: {await response.text()}"
            return await response.json() if response.content_type == "application/json" else None

    async def _import_image(self) -> None:
        """Make an image of nothing but empty folders: programs come from the host's own."""
        assert self._session is not None
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            for path in _HOST_FOLDERS:
                entry = tarfile.TarInfo(path.lstrip("/"))
                entry.type = tarfile.DIRTYPE
                archive.addfile(entry)
        repository, _, tag = IMAGE.partition(":")
        url = f"http://docker/images/create?fromSrc=-&repo={repository}&tag={tag}"
        async with self._session.post(url, data=out.getvalue()) as response:
            text = await response.text()
            assert response.status == 200 and "errorDetail" not in text, text

    async def _ready(self) -> bool:
        assert self._session is not None
        try:
            async with self._session.get("http://docker/_ping") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False
