"""Real journals: files that systemd-journal-remote writes from the export format, as journald would have.

journal = JournalFolder(tmp_path)
journal.write("system", {"MESSAGE": "hello", "PRIORITY": "6"})
"""

import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.servers.processes import MissingServerError

PROGRAM: Final = Path("/lib/systemd/systemd-journal-remote")
BOOT: Final = "b" * 32


class JournalFolder:
    """A folder of journal files. Each `write` makes a file of its own, or goes on with one that is there."""

    def __init__(self, folder: Path) -> None:
        if not PROGRAM.exists() or shutil.which("journalctl") is None:
            raise MissingServerError("a journal needs Debian's packages `systemd` and `systemd-journal-remote`")
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._monotonic_us = 1000
        self._last_us = 0

    def write(self, file: str, *entries: Mapping[str, str | bytes], age_s: float = 0.0) -> None:
        """Append entries that came now, or some time ago."""
        exported = b"".join(self._export(entry, age_s) for entry in entries)
        command = [str(PROGRAM), "-o", str(self.folder / f"{file}.journal"), "-"]
        done = subprocess.run(command, input=exported, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()

    def _export(self, entry: Mapping[str, str | bytes], age_s: float) -> bytes:
        self._last_us = max(self._last_us + 1, time.time_ns() // 1000) if not age_s else self._last_us
        at_us = self._last_us if not age_s else int((time.time() - age_s) * 1e6)
        self._monotonic_us += 1
        fields: dict[str, str | bytes] = {
            "__REALTIME_TIMESTAMP": str(at_us),
            "__MONOTONIC_TIMESTAMP": str(self._monotonic_us),
            "_BOOT_ID": BOOT,
            **entry,
        }
        return b"".join(_field(name, value) for name, value in fields.items()) + b"\n"


def _field(name: str, value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    if isinstance(value, bytes) or "\n" in value:
        return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
    return name.encode() + b"=" + data + b"\n"
