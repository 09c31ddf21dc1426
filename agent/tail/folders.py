"""Directories as rotation leaves them: which of their files are older parts of which log."""

import os
from contextlib import suppress
from dataclasses import dataclass, field

from agent.tail.rotated import Age, packing, parts_of


@dataclass(slots=True)
class Folders:
    """Directories by the logs in them, each read once: their rotated files with their ages."""

    _read: dict[str, dict[str, dict[str, Age]]] = field(default_factory=dict)

    def beside(self, path: str) -> list[str]:
        """Return the rotated files of a log, oldest first; of one that is just being compressed, what it is made of."""
        directory, _, name = path.rpartition("/")
        if directory not in self._read:
            self._read[directory] = self._look(directory)
        aged = self._read[directory].get(name, {})
        plain = [sibling for sibling in aged if not (packing(sibling) and sibling.rpartition(".")[0] in aged)]
        return [f"{directory}/{sibling}" for sibling in sorted(plain, key=lambda sibling: aged[sibling])]

    def _look(self, directory: str) -> dict[str, dict[str, Age]]:
        found: dict[str, dict[str, Age]] = {}
        with suppress(OSError):
            for name in os.listdir(directory or "/"):  # noqa: PTH208
                for base, age in parts_of(name):
                    found.setdefault(base, {})[name] = age
        return found
