"""Following systemd's journal, from the entry behind the last one that is in the buffer.

The machine's own journalctl reads it, in a process of its own: it knows every form that its journald writes, files that
are damaged or truncated under it are its own affair, and nothing has to be compiled or installed beside it. In export
format it costs less than in JSON, and binary fields are not blown up.
"""

import asyncio
import logging
import re
import shutil
from contextlib import suppress
from typing import Final

from agent.config.journal import JournalConfig
from agent.inputs.attempts import Attempts
from agent.inputs.feed import Feed
from agent.inputs.journal_entries import JournalEntries
from agent.logs.input import Input, InputTools
from pipeline.errors import TransientError
from pipeline.wire.journal_export import CURSOR, ExportReader

logger = logging.getLogger(__name__)

READ_BYTES: Final = 128 * 1024
MAX_ENTRY_BYTES: Final = 16 * 1024 * 1024
STOP_S: Final = 5.0
_TOLD_BYTES: Final = 2000
_CURSOR_TIME: Final = re.compile(r"(?:^|;)t=([0-9a-f]{1,16})(?:;|$)")


class Journal:
    """An `Input`: one journal. Its position is the cursor of the last entry taken."""

    def __init__(self, config: JournalConfig, tools: InputTools) -> None:
        self._config = config
        self._tools = tools
        self._entries = JournalEntries(config, tools)
        self._feed = Feed(tools, "journal")
        self._attempts = Attempts(tools, "journal")
        self._passed = ""
        self._lost = False

    def trouble(self) -> str | None:
        """Return None while journalctl runs."""
        return self._attempts.trouble

    async def run(self) -> None:
        """Follow until cancelled; a journalctl that ends is started again, from where it was."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._feed.run(), name="journal: what is held back")
            await self._attempts.run(self._follow)

    def command(self) -> list[str]:
        """Return what is run, with where to begin; raises TransientError where there is no journalctl."""
        program = shutil.which("journalctl")
        if program is None:
            raise TransientError("no journalctl on the PATH: it is in the system's package systemd")
        command = [program, "--output=export", "--follow", "--no-tail", "--all", "--quiet", "--no-pager"]
        if self._config.path is not None:
            command.append(f"--directory={self._config.path}")
        return [*command, self._beginning(), *self._config.matches.split()]

    def _beginning(self) -> str:
        if self._passed:
            return f"--after-cursor={self._passed}"
        oldest_s = self._tools.clock() - self._config.max_age
        cursor = self._feed.position.decode()
        time = _CURSOR_TIME.search(cursor)
        if time is not None and int(time[1], 16) / 1e6 >= oldest_s and not self._lost:
            # Not --after-cursor: where vacuuming removed the entry, that passes over the one behind it.
            return f"--cursor={cursor}"
        if cursor and not self._lost:
            logger.warning("journal: what is older than max_age is passed over", extra={"job": self._tools.job})
        return f"--since=@{int(oldest_s)}"

    async def _follow(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *self.command(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=READ_BYTES,
        )
        assert process.stdout is not None and process.stderr is not None
        telling = asyncio.create_task(_tail(process.stderr), name="journal: what journalctl says")
        try:
            self._attempts.works()
            await self._take(process.stdout)
            if self._passed:
                return
            # It has ended, which it should not do.
            told = await telling
            await process.wait()
        finally:
            telling.cancel()
            await _stop(process)
        if "cursor" in told:
            logger.error("journal: the position cannot be found: reading by max_age from now on: %s", told)
            self._lost = True
        raise TransientError(f"journalctl ended with {process.returncode}: {told or 'it said nothing'}")

    async def _take(self, out: asyncio.StreamReader) -> None:
        reader = ExportReader(MAX_ENTRY_BYTES)
        known = self._feed.position.decode()
        while data := await out.read(READ_BYTES):
            found = reader.feed(data)
            if found:
                cursor = found[-1].get(CURSOR, "")
                new = found[1:] if known and found[0].get(CURSOR) == known else found
                known = ""
                await self._feed.put(self._entries.of(new), cursor.encode(), read_bytes=len(data))
                self._passed, self._lost = "", False
            if (large := reader.too_large) is not None:
                self._tools.drop("journal_entry_too_large")
                logger.error("journal: an entry of more than %d bytes is passed over", MAX_ENTRY_BYTES)
                self._passed = large
                return


async def _tail(stream: asyncio.StreamReader) -> str:
    said = b""
    while data := await stream.read(_TOLD_BYTES):
        said = (said + data)[-_TOLD_BYTES:]
    return said.decode(errors="replace").strip()


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def journal_input(config: JournalConfig, tools: InputTools) -> Input:
    """Return what follows the journal that the section names."""
    return Journal(config, tools)
