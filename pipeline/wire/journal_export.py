"""The Journal Export Format, as `journalctl --output=export` writes it.

Source: systemd documentation, "Journal Export Formats": an entry is lines `NAME=value`, or `NAME`, a line feed, the
size of the value (64 bits, little endian), the value and a line feed where it is not plain text; an empty line ends it.
"""

from typing import Final

CURSOR: Final = "__CURSOR"
_SIZE_BYTES: Final = 8

Fields = dict[str, str]
"""An entry's fields; of one that stands there several times, the last. What is not UTF-8 is U+FFFD."""


class ExportReader:
    """Takes the bytes as they come, and gives entries."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = b""

    def feed(self, data: bytes) -> list[Fields]:
        """Return the entries that are whole now."""
        data = self._rest + data if self._rest else data
        found, at = list[Fields](), 0
        while (end := data.find(b"\n\n", at)) >= 0:
            try:
                lines = data[at:end].decode().split("\n")
                fields = dict([line.split("=", 1) for line in lines])
            except ValueError:  # a field that is no text: the empty line may be within it
                whole = _binary(data, at)
                if whole is None:
                    break
                fields, end = whole
            found.append(fields)
            at = end + 2
        self._rest = data[at:]
        return found

    @property
    def too_large(self) -> str | None:
        """The cursor of an entry of which more than `max_bytes` came, and that is not whole yet."""
        if len(self._rest) <= self._max_bytes:
            return None
        first, _, _ = self._rest.partition(b"\n")
        return first.decode(errors="replace").partition("=")[2]


def _binary(data: bytes, at: int) -> tuple[Fields, int] | None:
    """Return the entry that begins there and where the line feed before its empty line is; None if it is not whole."""
    fields: Fields = {}
    while (end := data.find(b"\n", at)) >= 0:
        if end == at:
            return fields, at - 1
        name, equals, value = data[at:end].partition(b"=")
        if not equals:
            size = int.from_bytes(data[end + 1 : end + 1 + _SIZE_BYTES], "little")
            begin = end + 1 + _SIZE_BYTES
            if len(data) <= begin + size:
                return None
            value, end = data[begin : begin + size], begin + size
        fields[name.decode(errors="replace")] = value.decode(errors="replace")
        at = end + 1
    return None
