"""Which texts a line must hold for a regular expression to match anywhere in it, so that the index can be asked.

Only what is certain: what stands outside of groups, and is neither optional nor part of a class. Nothing at all where
there are alternatives, flags, or escapes whose end would have to be known.
"""

import re
from typing import Final

_CLASS: Final = re.compile(r"\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]")
_COUNT: Final = re.compile(r"\{[^}]*\}?")
_KNOWN: Final = frozenset("dDwWsSbBAz")
"""Escapes of one letter that stand for no letter."""


def literals(pattern: str) -> tuple[str, ...]:
    """Return texts, as the expression (RE2's syntax) has them; of one with `(?i)` in front, in any case."""
    pattern = pattern.removeprefix("(?i)")
    if "|" in pattern or "(?" in pattern:
        return ()
    found: list[str] = []
    run, depth, at = "", 0, 0
    while at < len(pattern):
        one, behind = pattern[at], at + 1
        literal = ""
        if one == "\\":
            escaped, behind = pattern[at + 1 : at + 2], at + 2
            if escaped.isascii() and not escaped.isalnum():
                literal = escaped
            elif escaped not in _KNOWN:
                return ()
        elif one == "[":
            whole = _CLASS.match(pattern, at)
            if whole is None:
                return ()
            behind = whole.end()
        elif one in "()":
            depth += 1 if one == "(" else -1
        elif one in "*?{":
            # What stands before it need not be there.
            run = run[:-1]
            counted = _COUNT.match(pattern, at)
            behind = counted.end() if counted else behind
        elif one not in ".^$+":
            literal = one
        if literal and not depth:
            run += literal
        else:
            found.append(run)
            run = ""
        at = behind
    return tuple(text for text in [*found, run] if text)
