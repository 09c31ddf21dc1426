"""logfmt: `key=value key="quoted value" flag`. Source: go-logfmt/logfmt, decode.go."""

import re
from collections.abc import Iterator
from typing import Final

_PAIR: Final = re.compile(
    r"""[\x00-\x20]*([^\x00-\x20="]+)(?:=(?:"((?:[^"\\]|\\.)*+)"|(?!")([^\x00-\x20="]*+)(?![="]))|(?![="]))""",
    re.DOTALL,
)
_ESCAPE: Final = re.compile(
    r"""\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))"""
)
_LETTERS: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "/": "/", "'": "'"}


def parse_logfmt(text: str) -> Iterator[tuple[str, str]]:
    """Yield keys and values; ends where the text is not logfmt. A key without a value has an empty one."""
    for record in text.split("\n"):
        at = 0
        while match := _PAIR.match(record, at):
            key, quoted, plain = match.groups()
            if "\ufffd" in key:
                return
            if quoted is not None and "\\" in quoted:
                quoted = _unquoted(quoted)
                if quoted is None:
                    return
            yield key, quoted if quoted is not None else plain or ""
            at = match.end()
        if record[at:].strip("".join(map(chr, range(33)))):
            return


def _unquoted(quoted: str) -> str | None:
    if any(character < " " for character in quoted):
        return None
    try:
        return _ESCAPE.sub(_character, quoted)
    except KeyError:
        return None


def _character(match: re.Match[str]) -> str:
    high, low, code, letter = match.groups()
    if high:
        return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)
    if code:
        number = int(code, 16)
        return "\ufffd" if 0xD800 <= number < 0xE000 else chr(number)
    return _LETTERS[letter]
