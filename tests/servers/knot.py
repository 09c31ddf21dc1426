"""A real DNS server for tests: Debian's knot, authoritative for `example.test` and nothing else.

async with Knot(tmp_path, "web A 127.0.0.1\\n") as dns:
    resolving = Resolving(("127.0.0.1",), port=dns.port)
"""

import asyncio
import shutil
import socket
from pathlib import Path
from typing import Any, Self

from tests.servers.processes import MissingServerError, Process, free_port

ZONE = "example.test"
_SOA = "@ SOA ns.example.test. admin.example.test. 1 3600 600 86400 1\n"


class Knot:
    """One server on a free loopback port, by UDP and TCP. `records` are lines of a zone file, without its SOA."""

    def __init__(self, folder: Path, records: str) -> None:
        self.port = free_port()
        self._folder = folder
        self._records = records
        self._process: Process | None = None

    async def __aenter__(self) -> Self:
        program = shutil.which("knotd", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
        if program is None:
            raise MissingServerError("a DNS server needs Debian's package `knot`")
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "zone").write_text(f"$ORIGIN {ZONE}.\n$TTL 1\n{_SOA}{self._records}")
        (self._folder / "knot.conf").write_text(
            f"server:\n  rundir: {self._folder}\n  listen: 127.0.0.1@{self.port}\n  udp-workers: 1\n  tcp-workers: 1\n"
            f"database:\n  storage: {self._folder}\n"
            f"template:\n  - id: default\n    storage: {self._folder}\n    zonefile-sync: -1\n"
            f"zone:\n  - domain: {ZONE}\n    file: zone\n"
        )
        self._process = Process((program, "-c", self._folder / "knot.conf"), self._folder)
        await self._process.start(self._ready)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        await self._process.stop()

    async def _ready(self) -> bool:
        """Tell whether it answers for its zone: the SOA's answer has an answer section."""
        query = b"\0\1\0\0\0\1\0\0\0\0\0\0" + b"\7example\4test\0" + b"\0\6\0\1"
        return await asyncio.to_thread(self._asked, query)

    def _asked(self, query: bytes) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(0.2)
            try:
                asking.connect(("127.0.0.1", self.port))
                asking.send(query)
                answer: Any = asking.recv(512)
            except OSError:
                return False
        return bool(answer[3] & 15 == 0 and answer[7])
