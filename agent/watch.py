"""Whether files have changed. Everything here blocks: it is for threads."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from pipeline.stamps import stamps


class Watch:
    """Tells whether files have changed: by their stamps, then by their content; `files` may name others each time."""

    def __init__(self, files: Callable[[], Iterable[Path]]) -> None:
        self._files = files
        self._stamps: object = None
        self._is_settled = True
        self._digest = b""

    def remember(self) -> None:
        """Take the files as they are now for what is known."""
        self._stamps, self._digest, self._is_settled = stamps(self._files()), self._read(), True

    def changed(self) -> bool:
        """Return whether the content is another than the one known, and has been the same for two looks."""
        now = stamps(self._files())
        if now != self._stamps:
            self._stamps, self._is_settled = now, False
            return False
        if self._is_settled:
            return False
        before, self._digest, self._is_settled = self._digest, self._read(), True
        return before != self._digest

    def _read(self) -> bytes:
        digest = hashlib.blake2b(digest_size=16)
        for path in self._files():
            try:
                content = path.read_bytes()
            except OSError:
                content = b""
            digest.update(f"{path}\0{len(content)}\0".encode(errors="surrogateescape"))
            digest.update(content)
        return digest.digest()
