"""What real Elasticsearch and OpenSearch servers have in common: Maven fetches them, Java runs them, never as root.

Both are the distributions that their makers test integrations with: the server itself, without most plug-ins.
"""

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import aiohttp
import psutil

from tests.servers.processes import MissingServerError, Process, Server, free_port, provide, run_tool

POM: Final = Path(__file__).with_name("search.pom.xml")
NOBODY: Final = 65534
SMALL_JVM: Final = ("-Xms256m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


@dataclass(frozen=True, slots=True)
class Product:
    """One product: `name` is its program's, its settings file's and, in capitals, its environment's."""

    name: str
    group: str
    version: str
    environment: str
    settings: Mapping[str, str]

    def home(self) -> Path:
        """Return the folder with the server, fetched with Maven the first time; raises MissingServerError."""
        if shutil.which("java") is None:
            raise MissingServerError(f"{self.name} needs Java (no `java` on the PATH)")
        if os.geteuid() == 0 and shutil.which("setpriv") is None:
            raise MissingServerError(f"{self.name} refuses to be root, and there is no `setpriv` on the PATH")
        return provide(f"{self.name}-{self.version}", self._fetch)

    def _fetch(self, folder: Path) -> None:
        if shutil.which("mvn") is None:
            raise MissingServerError(f"{self.name} needs Maven (no `mvn` on the PATH)")
        wanted = {"server.group": self.group, "server.artifact": self.name, "server.version": self.version}
        with tempfile.TemporaryDirectory() as work:
            pom = shutil.copy(POM, work)  # Maven writes beside it
            goal = ("dependency:unpack", f"-DoutputDirectory={work}/out")
            run_tool("mvn", "-B", "-q", "-f", pom, *goal, *(f"-D{key}={value}" for key, value in wanted.items()))
            shutil.copytree(Path(work) / "out" / f"{self.name}-{self.version}", folder)


class SearchServer(Server):
    """One node with a folder of its own under the system's temporary one, its ports free ones on loopback.

    `settings` are added to the node's own, `files` (name to text) to its configuration's folder; `scheme` is "https"
    where these say so. Tests keep apart by their indices' names.
    """

    product: ClassVar[Product]

    def __init__(
        self,
        *,
        settings: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        scheme: str = "http",
        jvm_options: Sequence[str] = SMALL_JVM,
    ) -> None:
        self.port = free_port()
        self._transport_port = free_port()
        self._extra = dict(settings or {})
        self._files = dict(files or {})
        self._scheme = scheme
        self._jvm_options = tuple(jvm_options)

    @property
    def url(self) -> str:
        """The address that clients use."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def pids(self) -> list[int]:
        """The ids of the running processes; Elasticsearch's launcher and its server are two."""
        assert self.process is not None
        launcher = psutil.Process(self.process.pid)
        return [launcher.pid, *(child.pid for child in launcher.children(recursive=True))]

    async def __aenter__(self) -> Self:
        home = await asyncio.to_thread(self.product.home)
        # pytest's own folders cannot be entered by the user that the server runs as.
        self.folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=f"{self.product.name}-"))
        try:
            await asyncio.to_thread(self._prepare, home)
            await self.restart()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        await asyncio.to_thread(shutil.rmtree, self.folder, True)

    def _prepare(self, home: Path) -> None:
        is_root, name, config = os.geteuid() == 0, self.product.name, self.folder / "config"
        as_nobody = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups") if is_root else ()
        if is_root and not _can_enter(home):
            home = Path(shutil.copytree(home, self.folder / "home"))
        shutil.copytree(home / "config", config)
        for folder in ("data", "logs", "tmp"):
            (self.folder / folder).mkdir()
        # Theirs name another garbage collector, and two cannot be named.
        options = (*self._jvm_options, "-XX:+ExitOnOutOfMemoryError", f"-Djava.io.tmpdir={self.folder}/tmp")
        (config / "jvm.options").write_text("\n".join(options) + "\n", encoding="utf-8")
        settings = {**self._settings(), **self.product.settings, **self._extra}
        lines = [f"{key}: {value}" for key, value in settings.items()]
        (config / f"{name}.yml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for file, text in self._files.items():
            (config / file).write_text(text, encoding="utf-8")
        if is_root:
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        java_home = Path(shutil.which("java") or "").resolve().parents[1]
        prefix = self.product.environment
        env = {
            f"{prefix}_PATH_CONF": str(config),
            f"{prefix}_TMPDIR": str(self.folder / "tmp"),
            f"{prefix}_JAVA_HOME": str(java_home),
            # Elasticsearch's launcher, which does not know the temporary folder of its server.
            "CLI_JAVA_OPTS": f"-Djava.io.tmpdir={self.folder}/tmp",
        }
        self.process = Process((*as_nobody, home / "bin" / name), self.folder, env=env)

    def _settings(self) -> dict[str, str]:
        return {
            "cluster.name": "tests",
            "network.host": "127.0.0.1",
            "http.port": str(self.port),
            "transport.port": str(self._transport_port),
            "discovery.type": "single-node",
            "path.data": str(self.folder / "data"),
            "path.logs": str(self.folder / "logs"),
            "cluster.routing.allocation.disk.threshold_enabled": "false",
        }

    async def ready(self) -> bool:
        """Return whether it answers."""
        try:
            health = f"{self.url}/_cluster/health"
            async with aiohttp.ClientSession() as session, session.get(health, ssl=False) as response:
                return response.status in (200, 401)
        except (aiohttp.ClientError, OSError):
            return False

    async def kill(self) -> None:
        """kill -9, of the server and its launcher."""
        assert self.process is not None
        family = [psutil.Process(pid) for pid in self.pids]
        for one in reversed(family):
            one.kill()
        await self.process.kill()
        await asyncio.to_thread(psutil.wait_procs, family[1:])

    # What tests ask it.

    async def request(self, method: str, path: str, body: Any = None) -> Any:
        """Ask for something and return what came back; raises AssertionError for an answer that is no success."""
        data = None if body is None else json.dumps(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        # A session of its own: tests have loops of their own, and share the server.
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"{self.url}{path}", data=data, headers=headers) as response,
        ):
            answer = await response.json(content_type=None)
            assert response.status < 300, f"{method} {path}: {response.status} {answer}"
            return answer

    async def documents(self, indices: str, query: Any = None) -> list[dict[str, Any]]:
        """Return every document of some indices (10,000 at most) with `_id`, `_index` and `_source`."""
        await self.request("POST", f"/{indices}/_refresh?ignore_unavailable=true")
        body = {"size": 10_000, "query": query or {"match_all": {}}}
        answer = await self.request("POST", f"/{indices}/_search?ignore_unavailable=true", body)
        hits: list[dict[str, Any]] = answer["hits"]["hits"]
        return hits

    async def everything(self, indices: str) -> AsyncIterator[dict[str, Any]]:
        """Yield every document of some indices with `_source`, however many there are."""
        await self.request("POST", f"/{indices}/_refresh?ignore_unavailable=true")
        # Pages that a small heap has room for.
        body = {"size": 2_000, "sort": ["_doc"]}
        answer = await self.request("POST", f"/{indices}/_search?scroll=1m", body)
        while hits := answer["hits"]["hits"]:
            for hit in hits:
                yield hit
            answer = await self.request("POST", "/_search/scroll", {"scroll": "1m", "scroll_id": answer["_scroll_id"]})

    async def count(self, indices: str) -> int:
        """Count the documents of some indices."""
        await self.request("POST", f"/{indices}/_refresh?ignore_unavailable=true")
        return int((await self.request("GET", f"/{indices}/_count?ignore_unavailable=true"))["count"])


def _can_enter(path: Path) -> bool:
    """Tell whether others than the owner may read what is in a folder."""
    return all(part.stat().st_mode & 0o005 == 0o005 for part in (path, *path.parents))
