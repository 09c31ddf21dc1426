"""Replacements, by the rules of Go's `Regexp.Expand`: `$1`, `${1}`, `$name`, `${name}`, `$$`."""

import re
from collections.abc import Callable, Iterable
from typing import Any


def compile_template(text: str, regex: Any) -> Callable[[Any], str]:
    """Return what expands a replacement for a match, by the rules of Go's `Regexp.Expand`."""
    parts = list(_template_parts(text, regex))
    if all(isinstance(part, str) for part in parts):
        constant = "".join(str(part) for part in parts)
        return lambda _: constant

    def expand(found: Any) -> str:
        return "".join([part if isinstance(part, str) else found.group(part) or "" for part in parts])

    return expand


def _template_parts(text: str, regex: Any) -> Iterable[str | int]:
    """Split a replacement into text and numbers of groups; a group that the regex lacks is the empty text."""
    while text:
        before, dollar, text = text.partition("$")
        yield before
        if not dollar:
            return
        if text.startswith("$"):
            yield "$"
            text = text[1:]
            continue
        braced = text.startswith("{")
        start = end = 1 if braced else 0
        # A name is as long as can be: in `$1x` it is `1x`.
        while end < len(text) and (text[end].isalpha() or text[end].isdecimal() or text[end] == "_"):
            end += 1
        name = text[start:end]
        if not name or (braced and text[end : end + 1] != "}"):
            yield "$"
            continue
        text = text[end + 1 if braced else end :]
        if re.fullmatch(r"0|[1-9][0-9]*", name, re.ASCII):
            if int(name) <= regex.groups:
                yield int(name)
        elif name in regex.groupindex:
            yield regex.groupindex[name]
