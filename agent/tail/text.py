"""Encodings of files, and how their lines end.

promtail takes IANA's names (golang.org/x/text/encoding/ianaindex); Python's codecs know them too.
"""

import codecs
from dataclasses import dataclass
from typing import Final

_BOMS: Final = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}
_BY_ITS_BOM: Final = {"utf-16": ("utf-16-le", "utf-16-be"), "utf-32": ("utf-32-le", "utf-32-be")}


@dataclass(frozen=True, slots=True)
class Plain:
    """UTF-8, or what is taken for it: nothing to do."""

    newline: bytes = b"\n"
    bom: bytes = b""

    def find(self, data: bytearray, start: int, end: int) -> int:
        """Return where the first newline between two places begins, or -1."""
        return data.find(b"\n", start, end)

    def rfind(self, data: bytearray, start: int, end: int) -> int:
        """Return where the last newline between two places begins, or -1."""
        return data.rfind(b"\n", start, end)

    def utf8(self, block: bytes) -> bytes:
        """Return whole lines as UTF-8."""
        return block


@dataclass(frozen=True, slots=True)
class Encoded:
    """Any other encoding; one of two or four bytes a character ends its lines with as many."""

    codec: str
    newline: bytes
    bom: bytes

    def find(self, data: bytearray, start: int, end: int) -> int:
        """Do as `Plain.find`; places that no character begins at are passed over."""
        at = data.find(self.newline, start, end)
        while at >= 0 and (at - start) % len(self.newline):
            at = data.find(self.newline, at + 1, end)
        return at

    def rfind(self, data: bytearray, start: int, end: int) -> int:
        """Do as `Plain.rfind`; see `find`."""
        at = data.rfind(self.newline, start, end)
        while at >= 0 and (at - start) % len(self.newline):
            at = data.rfind(self.newline, start, at + len(self.newline) - 1)
        return at

    def utf8(self, block: bytes) -> bytes:
        """Return whole lines as UTF-8; what they cannot mean becomes U+FFFD."""
        return block.decode(self.codec, "replace").encode("utf-8", "replace")


Text = Plain | Encoded
"""A file's encoding at work: how its lines end, the byte order mark it begins with, and its text."""


def check_encoding(name: str) -> None:
    """Raise ValueError for an encoding that is not known, or whose lines cannot be told apart."""
    if not name:
        return
    try:
        codec = codecs.lookup(name).name
        newline = "\n".encode(_BY_ITS_BOM.get(codec, (codec,))[0])
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{name!r} is not an encoding that is known") from error
    if codec.startswith(("iso2022", "hz", "utf-7", "cp037", "cp500", "cp1140")) or len(newline) not in (1, 2, 4):
        raise ValueError(f"{name!r} is not supported: its lines cannot be told apart without reading all before them")


def text_of(encoding: str, head: bytes) -> Text:
    """Return how a file that begins with `head` is read; "UTF-16" without a byte order mark is big-endian, RFC 2781."""
    if not encoding:
        return Plain()
    codec = codecs.lookup(encoding).name
    if codec in _BY_ITS_BOM:
        little, big = _BY_ITS_BOM[codec]
        codec = little if head.startswith(_BOMS[little]) else big
    bom = _BOMS.get(codec, b"")
    return Encoded(codec, "\n".encode(codec), bom if bom and head.startswith(bom) else b"")
