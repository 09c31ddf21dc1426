"""Patterns of paths as promtail reads them: those of doublestar, its Go library.

Source: github.com/bmatcuk/doublestar v4, README "Patterns": `*`, `?`, `[class]`, `{a,b}` (which may hold slashes and
other alternatives), and `**` as a whole path element for any number of directories. A star matches a leading dot.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

_META: Final = re.compile(r"[*?\[\\]")
MAX_ALTERNATIVES: Final = 1024


@dataclass(slots=True)
class Listing:
    """The directories that one search looked at, each read once: names, and whether they are directories."""

    seen: dict[str, Mapping[str, bool]] = field(default_factory=dict)

    def names(self, directory: str) -> Mapping[str, bool]:
        """Return what a directory holds; empty where it cannot be read."""
        if directory not in self.seen:
            self.seen[directory] = _names(directory)
        return self.seen[directory]


def _names(directory: str) -> Mapping[str, bool]:
    try:
        with os.scandir(directory) as entries:
            return {entry.name: _is_directory(entry) for entry in entries}
    except OSError:
        return {}


def _is_directory(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link to itself.
        return False


class Pattern:
    """One pattern, read. Raises ValueError, with the reason, for one that doublestar would refuse."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        absolute = [os.path.normpath(os.path.join(os.getcwd(), one)) for one in alternatives(pattern)]  # noqa: PTH118, PTH109
        self._segments = [_segments(one) for one in absolute]
        self._whole = re.compile("|".join(_regex(segments) for segments in self._segments), re.DOTALL)

    def matches(self, path: str) -> bool:
        """Return whether an absolute path is one that the pattern names."""
        return self._whole.fullmatch(path) is not None

    def files(self, listing: Listing) -> Iterator[str]:
        """Give the paths there are, directories left out; one may come more than once."""
        for segments in self._segments:
            yield from _walk("/", segments, listing)


def alternatives(pattern: str) -> list[str]:
    """Return the patterns that one with `{a,b}` stands for."""
    opening = _find(pattern, "{", 0)
    if opening < 0:
        if _find(pattern, "}", 0) >= 0:
            raise ValueError(f"{pattern!r} closes a brace that is not open")
        return [pattern]
    parts, closing = _parts(pattern, opening)
    made = [one for part in parts for one in alternatives(pattern[:opening] + part + pattern[closing + 1 :])]
    if len(made) > MAX_ALTERNATIVES:
        raise ValueError(f"{pattern!r} stands for more than {MAX_ALTERNATIVES} patterns")
    return made


def _find(text: str, character: str, start: int) -> int:
    at = start
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == character:
            return at
        at += 1
    return -1


def _parts(pattern: str, opening: int) -> tuple[list[str], int]:
    """Return what stands between the commas of the braces that open there, and where they close."""
    depth, start, parts, at = 0, opening + 1, list[str](), opening
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            at += 1
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return [*parts, pattern[start:at]], at
        elif character == "," and depth == 1:
            parts.append(pattern[start:at])
            start = at + 1
        at += 1
    raise ValueError(f"{pattern!r} has a brace that does not close")


@dataclass(frozen=True, slots=True)
class _Segment:
    """One element of a path: a name, a pattern of names, or (`any_depth`) any number of directories."""

    text: str
    names: re.Pattern[str] | None = None
    any_depth: bool = False


def _segments(pattern: str) -> tuple[_Segment, ...]:
    return tuple(_segment(text) for text in pattern.split("/") if text)


def _segment(text: str) -> _Segment:
    if text == "**":
        return _Segment(text, any_depth=True)
    if _META.search(text) is None:
        return _Segment(text)
    return _Segment(text, re.compile(_names_regex(text), re.DOTALL))


def _regex(segments: tuple[_Segment, ...]) -> str:
    made = ""
    for number, segment in enumerate(segments):
        if segment.any_depth:
            made += "(?:/.*)?" if number == len(segments) - 1 else "(?:/[^/]+)*"
        else:
            made += "/" + (segment.names.pattern if segment.names else re.escape(segment.text))
    return made


def _names_regex(text: str) -> str:
    made, at = "", 0
    while at < len(text):
        character = text[at]
        if character == "*":
            made += "[^/]*" if not made.endswith("[^/]*") else ""
        elif character == "?":
            made += "[^/]"
        elif character == "[":
            one, at = _class(text, at)
            made += one
        elif character == "\\":
            at += 1
            if at == len(text):
                raise ValueError(f"{text!r} ends in a backslash that escapes nothing")
            made += re.escape(text[at])
        else:
            made += re.escape(character)
        at += 1
    return made


def _class(text: str, opening: int) -> tuple[str, int]:
    """Return the regex of the class that opens there, and where it closes."""
    closing = _find(text, "]", opening + 1)
    inside = text[opening + 1 : closing] if closing > 0 else ""
    negated = inside[:1] in ("!", "^")
    members = inside[1:] if negated else inside
    if not members:
        raise ValueError(f"{text!r} has a class of characters that is empty or does not close")
    parsed = [(part[-1], len(part) == 1) for part in re.findall(r"\\.|[^\\]", members, re.DOTALL)]
    made, last = "", ""
    for number, (character, bare) in enumerate(parsed):
        if bare and character == "-" and last and number + 1 < len(parsed):
            last = "-"
            made += "-"
        else:
            made, last = made + re.escape(character), character
    try:
        re.compile(f"[{made}]")
    except re.error as error:
        raise ValueError(f"{text!r}: {error}") from error
    return (f"(?![/{made}])." if negated else f"(?!/)[{made}]"), closing


def _walk(directory: str, segments: tuple[_Segment, ...], listing: Listing) -> Iterator[str]:
    """Give the files below a directory that the rest of a pattern names."""
    first, rest = segments[0], segments[1:]
    if first.any_depth:
        if rest:
            yield from _walk(directory, rest, listing)
        for name, is_directory in listing.names(directory).items():
            path = _join(directory, name)
            if is_directory and not _leads_back(path, directory):
                yield from _walk(path, segments, listing)
            elif not is_directory and not rest:
                yield path
        return
    if first.names is None and rest:  # The directory above may be one that only lets pass.
        yield from _walk(_join(directory, first.text), rest, listing)
        return
    names = listing.names(directory)
    for name in _fitting(first, directory, names):
        path = _join(directory, name)
        if not rest:
            if not names.get(name, False):
                yield path
        elif names[name]:
            yield from _walk(path, rest, listing)


def _fitting(segment: _Segment, directory: str, names: Mapping[str, bool]) -> list[str]:
    if segment.names is not None:
        return [name for name in names if segment.names.fullmatch(name)]
    # A directory that may not be listed may still let pass who knows the name.
    is_there = segment.text in names if names else os.path.lexists(_join(directory, segment.text))
    return [segment.text] if is_there else []


def _join(directory: str, name: str) -> str:
    return f"/{name}" if directory == "/" else f"{directory}/{name}"


def _leads_back(path: str, directory: str) -> bool:
    """Return whether a directory is a link to one that it is in."""
    if not os.path.islink(path):  # noqa: PTH114
        return False
    real, inside = os.path.realpath(path), os.path.realpath(directory)
    return inside == real or inside.startswith(real.rstrip("/") + "/")
