"""The parts of a compiled template: text, values, and what decides whether and how often others are written."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from agent.stages.template.values import MISSING, Evaluate, Node, Scope, TemplateError, is_true, show


class _BreakError(Exception):
    """{{break}}."""


class _ContinueError(Exception):
    """{{continue}}."""


def text(content: str) -> Node:
    """Write text."""
    return lambda scope, out: out.append(content)


def show_value(value: Evaluate) -> Node:
    """Write a value."""
    return lambda scope, out: out.append(show(value(scope)))


def leave(word: str) -> Node:
    """End a loop, or one round of it."""

    def node(scope: Scope, out: list[str]) -> None:
        raise _BreakError if word == "break" else _ContinueError

    return node


def assign(slot: str, value: Evaluate) -> Node:
    """Give a variable a value."""

    def node(scope: Scope, out: list[str]) -> None:
        scope.variables[slot] = value(scope)

    return node


def block(word: str, slots: list[str], value: Evaluate, body: list[Node], other: list[Node]) -> Node:
    """Write `if`, `with` or `range`, with its `else`; `slots` are the variables that get what it looks at."""
    if word == "range":
        return _range(slots, value, body, other)

    def node(scope: Scope, out: list[str]) -> None:
        found = value(scope)
        for slot in slots:
            scope.variables[slot] = found
        if not is_true(found):
            _write(other, scope, out)
            return
        dot, scope.dot = scope.dot, found if word == "with" else scope.dot
        _write(body, scope, out)
        scope.dot = dot

    return node


def _write(nodes: list[Node], scope: Scope, out: list[str]) -> None:
    for node in nodes:
        node(scope, out)


def _range(slots: list[str], value: Evaluate, body: list[Node], other: list[Node]) -> Node:
    def node(scope: Scope, out: list[str]) -> None:
        pairs = list(_pairs(value(scope)))
        if not pairs:
            _write(other, scope, out)
        dot = scope.dot
        for pair in pairs:
            scope.dot = pair[1]
            scope.variables.update(zip(slots, pair[2 - len(slots) :], strict=True))
            try:
                _write(body, scope, out)
            except _ContinueError:
                continue
            except _BreakError:
                break
        scope.dot = dot

    return node


_MAX_ROUNDS: Final = 100_000


def _pairs(value: Any) -> Iterable[tuple[Any, Any]]:
    if value is MISSING or value is None:
        return ()
    if isinstance(value, Mapping):
        return sorted(value.items())
    if isinstance(value, list | tuple):
        return enumerate(value)
    if isinstance(value, int) and not isinstance(value, bool) and value <= _MAX_ROUNDS:
        return ((number, number) for number in range(value))
    raise TemplateError(f"range can't iterate over {show(value)}")
