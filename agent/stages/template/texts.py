"""Functions of templates that work on text: promtail's own, and sprig's."""

import base64
import hashlib
import posixpath
import re
import zlib
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

from agent.stages.lang.regex import compile_regex
from agent.stages.template.values import TemplateError, inner

_SPACE: Final = " \t\n\v\f\r\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


def _replace(text: str, old: str, new: str, most: int) -> str:
    return text.replace(old, new, most if most >= 0 else -1)


def _hash(make: Callable[[bytes], Any]) -> Callable[[str, str], str]:
    return lambda salt, text: str(make((salt + text).encode()).hexdigest())


def _regex_all(pattern: str, text: str, replacement: str) -> str:
    return compile_regex(pattern).replace(text, replacement)


def _regex_all_literally(pattern: str, text: str, replacement: str) -> str:
    return compile_regex(pattern).replace(text, replacement, literal=True)


def _found(pattern: str, text: str, most: int) -> list[str]:
    data = text.encode()
    matches = islice(compile_regex(pattern).spans(data), None if most < 0 else most)
    return [data[spans[0][0] : spans[0][1]].decode(errors="replace") for spans in matches]


def _split_by(pattern: str, text: str, most: int) -> list[str]:
    data, pieces, at = text.encode(), list[str](), 0
    for spans in compile_regex(pattern).spans(data) if most else ():
        start, end = spans[0]
        if 0 < most <= len(pieces) + 1:
            break
        if end == 0 or (start == end == len(data)):
            continue
        pieces.append(data[at:start].decode(errors="replace"))
        at = end
    return [*pieces, data[at:].decode(errors="replace")] if most else []


def _substring(start: int, end: int, text: str) -> str:
    data = text.encode()
    if start < 0:
        part = data[:end]
    elif end < 0 or end > len(data):
        part = data[start:]
    else:
        part = data[start:end]
    return part.decode(errors="replace")


def _cut(most: int, text: str) -> str:
    data = text.encode()
    if most < 0:
        return data[most:].decode(errors="replace") if -most < len(data) else text
    return data[:most].decode(errors="replace")


def _indent(spaces: int, text: str) -> str:
    pad = " " * spaces
    return pad + text.replace("\n", "\n" + pad)


def _quoted(mark: str) -> Callable[..., str]:
    def quote(*values: Any) -> str:
        shown = [inner(value) for value in values if value is not None]
        if mark == '"':
            shown = [one.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for one in shown]
        return " ".join(f"{mark}{one}{mark}" for one in shown)

    return quote


def _repeat(count: int, text: str) -> str:
    if count < 0 or count * len(text) > 1 << 20:
        raise TemplateError(f"error calling repeat: {count} times")
    return text * count


def _decode(name: str, read: Callable[[str], bytes]) -> Callable[[str], str]:
    def decode(text: str) -> str:
        try:
            return read(text).decode(errors="replace")
        except ValueError:
            # As in sprig, the text that comes out says what is wrong.
            found = re.match(r"[A-Za-z0-9+/]*=*", text)
            return f"illegal {name} data at input byte {found.end() if found else 0}"

    return decode


def _fail(message: str) -> str:
    raise TemplateError(message)


def _clean(path: str) -> str:
    # POSIX leaves two slashes in front as they are.
    return posixpath.normpath(re.sub(r"^//+", "/", path)) if path else "."


def _extension(path: str) -> str:
    _, dot, extension = posixpath.basename(path).rpartition(".")
    return dot + extension if dot else ""


PROMTAIL: Final[dict[str, tuple[str, Callable[..., Any]]]] = {
    "ToLower": ("s", str.lower),
    "ToUpper": ("s", str.upper),
    "Replace": ("sssi", _replace),
    "Trim": ("ss", lambda text, cut: text.strip(cut) if cut else text),
    "TrimLeft": ("ss", lambda text, cut: text.lstrip(cut) if cut else text),
    "TrimRight": ("ss", lambda text, cut: text.rstrip(cut) if cut else text),
    "TrimPrefix": ("ss", str.removeprefix),
    "TrimSuffix": ("ss", str.removesuffix),
    "TrimSpace": ("s", lambda text: text.strip(_SPACE)),
    "Hash": ("ss", _hash(hashlib.sha3_256)),
    "Sha2Hash": ("ss", _hash(hashlib.sha256)),
    "regexReplaceAll": ("sss", _regex_all),
    "regexReplaceAllLiteral": ("sss", _regex_all_literally),
}

SPRIG: Final[dict[str, tuple[str, Callable[..., Any]]]] = {
    "trim": ("s", lambda text: text.strip(_SPACE)),
    "trimAll": ("ss", lambda cut, text: text.strip(cut) if cut else text),
    "trimall": ("ss", lambda cut, text: text.strip(cut) if cut else text),
    "trimPrefix": ("ss", lambda cut, text: text.removeprefix(cut)),
    "trimSuffix": ("ss", lambda cut, text: text.removesuffix(cut)),
    "upper": ("s", str.upper),
    "lower": ("s", str.lower),
    "title": ("s", lambda text: re.sub(r"(?<!\w)\w", lambda first: first[0].upper(), text)),
    "untitle": ("s", lambda text: re.sub(r"(?<!\S)\S", lambda first: first[0].lower(), text)),
    "nospace": ("s", lambda text: re.sub(r"\s+", "", text)),
    "substr": ("iis", _substring),
    "trunc": ("is", _cut),
    "repeat": ("is", _repeat),
    "contains": ("ss", lambda part, text: part in text),
    "hasPrefix": ("ss", lambda part, text: text.startswith(part)),
    "hasSuffix": ("ss", lambda part, text: text.endswith(part)),
    "replace": ("sss", lambda old, new, text: text.replace(old, new)),
    "quote": ("a*", _quoted('"')),
    "squote": ("a*", _quoted("'")),
    "cat": ("a*", lambda *values: " ".join(inner(value) for value in values if value is not None)),
    "indent": ("is", _indent),
    "nindent": ("is", lambda spaces, text: "\n" + _indent(spaces, text)),
    "toString": ("a", inner),
    "sha1sum": ("s", lambda text: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()),
    "sha256sum": ("s", lambda text: hashlib.sha256(text.encode()).hexdigest()),
    "adler32sum": ("s", lambda text: str(zlib.adler32(text.encode()))),
    "b64enc": ("s", lambda text: base64.b64encode(text.encode()).decode()),
    "b64dec": ("s", _decode("base64", lambda text: base64.b64decode(text, validate=True))),
    "b32enc": ("s", lambda text: base64.b32encode(text.encode()).decode()),
    "b32dec": ("s", _decode("base32", base64.b32decode)),
    "regexMatch": ("ss", lambda pattern, text: compile_regex(pattern).matches(text)),
    "regexFind": ("ss", lambda pattern, text: "".join(_found(pattern, text, 1))),
    "regexFindAll": ("ssi", _found),
    "regexSplit": ("ssi", _split_by),
    "regexQuoteMeta": ("s", lambda text: re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", text)),
    "fail": ("s", _fail),
    "base": ("s", lambda path: posixpath.basename(path.rstrip("/")) or ("/" if path else ".")),
    "dir": ("s", lambda path: _clean(posixpath.dirname(path))),
    "ext": ("s", _extension),
    "clean": ("s", _clean),
    "isAbs": ("s", lambda path: path.startswith("/")),
}
