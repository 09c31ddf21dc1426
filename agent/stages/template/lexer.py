"""Taking a Go template apart: text and actions, and an action's tokens. Source: Go, text/template/parse/lex.go."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from agent.stages.lang.selector import unquote

_ACTION: Final = re.compile(
    r"\{\{(?P<left>-(?=\s))?\s*"
    r"(?:(?P<comment>/\*.*?\*/)\s*|(?P<action>(?:\"(?:[^\"\\\n]|\\.)*\"|`[^`]*`|'(?:[^'\\\n]|\\.)*'|[^\"`'])*?))"
    r"(?P<right>(?<=\s)-)?\}\}",
    re.DOTALL,
)
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<raw>`[^`]*`)|(?P<character>'(?:[^'\\\n]|\\.)*')
    |(?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?))
    |(?P<variable>\$\w*)|(?P<field>(?:\.[^\W\d]\w*)+)|(?P<dot>\.)|(?P<word>[^\W\d]\w*)
    |(?P<sign>:=|=|\||,|\(|\)))""",
    re.VERBOSE,
)


class Token(NamedTuple):
    """One token of an action: its kind is its group's name in the expression above; `spaced` is behind white space."""

    kind: str
    text: str
    spaced: bool


class Action(NamedTuple):
    """What stands between `{{` and `}}`."""

    tokens: list[Token]
    text: str


def parts(template: str) -> Iterator[str | Action]:
    """Yield text and actions in turn, white space trimmed as `{{-` and `-}}` say; raises ValueError."""
    at, trim = 0, False
    for match in _ACTION.finditer(template):
        text = template[at : match.start()]
        _check(text)
        text = text.lstrip(" \t\r\n") if trim else text
        yield text.rstrip(" \t\r\n") if match["left"] else text
        if match["comment"] is None:
            yield Action(list(_tokens(match["action"])), match["action"].strip())
        at, trim = match.end(), bool(match["right"])
    rest = template[at:]
    _check(rest)
    yield rest.lstrip(" \t\r\n") if trim else rest


def _check(text: str) -> None:
    if "{{" in text:
        raise ValueError("template: pipeline_template: unclosed action")


def _tokens(action: str) -> Iterator[Token]:
    at, end = 0, len(action.rstrip())
    while at < end:
        match = _TOKEN.match(action, at)
        if match is None:
            raise ValueError(
                f"template: pipeline_template: unexpected {action[at:].strip()[:20]!r} in {action.strip()!r}"
            )
        kind = match.lastgroup or ""
        yield Token(kind, match[kind], match.start(kind) > at)
        at = match.end()


def literal(token: Token) -> str | int | float:
    """Return a constant's value; raises ValueError."""
    if token.kind == "raw":
        return token.text[1:-1]
    if token.kind == "string":
        return unquote(token.text)
    if token.kind == "character":
        return ord(unquote('"' + token.text[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'))
    text = token.text.replace("_", "")
    try:
        return int(text, 0)
    except ValueError:
        return int(text, 8) if re.fullmatch(r"[+-]?0[0-7]+", text) else float(text)
