"""A real rsyslogd as a sender, with a configuration and an input of its own: Debian's rsyslog.

async with Rsyslog(tmp_path, 'action(type="omfwd" target="127.0.0.1" port="1514" protocol="tcp")') as rsyslog:
    rsyslog.log(b"<13>Oct 11 22:14:15 app[1]: hello")
"""

import os
import shutil
import socket
from pathlib import Path
from typing import Self

from tests.servers.processes import MissingServerError, Process


class Rsyslog:
    """A daemon that takes messages from a Unix socket, as a machine's own takes them from /dev/log."""

    def __init__(self, folder: Path, action: str, settings: str = "") -> None:
        self._folder = folder
        self.socket = folder / "log.sock"
        self._text = (
            f'global(workDirectory="{folder}" maxMessageSize="1m")\n{settings}\n'
            f'module(load="imuxsock" SysSock.Use="off")\n'
            f'input(type="imuxsock" Socket="{self.socket}" CreatePath="on" UseSysTimeStamp="off"'
            ' RateLimit.Interval="0" UnLink="on")\n'
            f"{action}\n"
        )
        self._process: Process | None = None

    async def __aenter__(self) -> Self:
        program = shutil.which("rsyslogd", path=f"/usr/sbin:{os.environ.get('PATH', '')}")
        if program is None:
            raise MissingServerError("a syslog sender needs Debian's package `rsyslog`")
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "rsyslog.conf"
        config.write_text(self._text, encoding="utf-8")
        self._process = Process((program, "-n", "-f", config, "-i", self._folder / "pid"), self._folder)
        await self._process.start(self._ready)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        await self._process.stop()

    async def _ready(self) -> bool:
        return self.socket.exists()

    def log(self, *messages: bytes) -> None:
        """Write messages as syslog(3) does."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.connect(str(self.socket))
            for message in messages:
                out.send(message)
