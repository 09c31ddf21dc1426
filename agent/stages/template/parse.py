"""Compiling Go templates: what promtail documents of them, as functions on values. Source: Go, text/template.

Fields, variables, pipelines, functions, comments, trimming, `if`, `else`, `with`, `range`, `break`, `continue`.
`define`, `template` and `block` are refused by name, and so is a function that is not in `functions.py`.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from agent.stages.template import control
from agent.stages.template.functions import FUNCTIONS, Function
from agent.stages.template.lexer import Action, Token, literal, parts
from agent.stages.template.values import MISSING, Evaluate, Node, Scope, TemplateError, show

Template = Callable[[Mapping[str, Any]], str]
"""Write a template with these values; raises TemplateError where it cannot be written."""

_REFUSED: Final = ("define", "template", "block", "call")
_CONSTANTS: Final = {"true": True, "false": False}


@lru_cache(maxsize=1024)
def compile_template(text: str) -> Template:
    """Compile a template; raises ValueError in Go's words where it can."""
    nodes = _Parser(text).whole()

    def write(values: Mapping[str, Any]) -> str:
        out: list[str] = []
        scope = Scope(values, {"$": values})
        for node in nodes:
            node(scope, out)
        return "".join(out)

    return write


def _error(reason: str) -> ValueError:
    return ValueError(f"template: pipeline_template: {reason}")


class _Parser:
    def __init__(self, text: str) -> None:
        self._parts: Iterator[str | Action] = parts(text)
        self._loops = self._slots = 0
        self._variables = {"$": "$"}
        """The variables that can be seen, and where each is kept: one that shadows another has a place of its own."""

    def whole(self) -> list[Node]:
        nodes, end = self._list()
        if end is not None:
            raise _error(f"unexpected {{{{{end.text}}}}}")
        return nodes

    def _list(self) -> tuple[list[Node], Action | None]:
        """Return what stands up to `end` or `else`, and that action; None at the text's end."""
        nodes: list[Node] = []
        for part in self._parts:
            if isinstance(part, str):
                if part:
                    nodes.append(control.text(part))
                continue
            word = part.tokens[0].text if part.tokens and part.tokens[0].kind == "word" else ""
            if word in ("end", "else"):
                return nodes, part
            nodes.append(self._action(part, word))
        return nodes, None

    def _action(self, action: Action, word: str) -> Node:
        if not action.tokens:
            raise _error("missing value for command")
        if word in _REFUSED:
            raise _error(f"{{{{{word}}}}} is not supported")
        if word in ("if", "with", "range"):
            return self._block(word, action.tokens[1:])
        if word in ("break", "continue"):
            if not self._loops:
                raise _error(f"{{{{{word}}}}} outside {{{{range}}}}")
            return control.leave(word)
        slots, pipeline = self._assigned(action.tokens, 1)
        return control.assign(slots[0], pipeline) if slots else control.show_value(pipeline)

    def _block(self, word: str, tokens: list[Token]) -> Node:
        known = dict(self._variables)
        slots, pipeline = self._assigned(tokens, 2 if word == "range" else 1)
        self._loops += word == "range"
        body, end = self._list()
        self._loops -= word == "range"
        other: list[Node] = []
        rest = end.tokens[1:] if end is not None and end.tokens[0].text == "else" else None
        if rest and word != "range" and rest[0].text == word:
            # `else if` is an `if` within the `else`, and shares its `end`.
            other = [self._block(rest[0].text, rest[1:])]
        else:
            if rest:
                raise _error(f"unexpected <{rest[0].text}> in input")
            if rest is not None:
                other, end = self._list()
            if end is None or end.text != "end":
                raise _error("unexpected EOF" if end is None else f"unexpected {{{{{end.text}}}}}")
        self._variables = known
        return control.block(word, slots, pipeline, body, other)

    def _assigned(self, tokens: list[Token], most: int) -> tuple[list[str], Evaluate]:
        """Take `$name, $name :=` or `=` off the front of a pipeline; return where these variables are kept."""
        sign = next((index for index, token in enumerate(tokens) if token.text in (":=", "=")), None)
        if sign is None or tokens[sign].kind != "sign":
            return [], self._pipeline(tokens)
        names = [token.text for token in tokens[:sign:2]]
        if any(token.kind != "variable" for token in tokens[:sign:2]) or any(t.text != "," for t in tokens[1:sign:2]):
            raise _error(f"unexpected {tokens[sign].text!r}")
        if len(names) > most:
            raise _error("too many declarations")
        pipeline = self._pipeline(tokens[sign + 1 :])
        if tokens[sign].text == ":=":
            self._slots += 1
            self._variables.update({name: f"{name} {self._slots}" for name in names})
        return [self._slot(name) for name in names], pipeline

    def _slot(self, name: str) -> str:
        if name not in self._variables:
            raise _error(f'undefined variable "{name}"')
        return self._variables[name]

    def _pipeline(self, tokens: list[Token]) -> Evaluate:
        commands: list[list[Token]] = [[]]
        depth = 0
        for token in tokens:
            depth += (token.text == "(") - (token.text == ")") if token.kind == "sign" else 0
            if token.kind == "sign" and token.text == "|" and depth == 0:
                commands.append([])
            else:
                commands[-1].append(token)
        if depth:
            raise _error("unclosed left paren" if depth > 0 else "unexpected right paren")
        value: Evaluate | None = None
        for command in commands:
            value = self._command(command, value)
        assert value is not None
        return value

    def _command(self, tokens: list[Token], piped: Evaluate | None) -> Evaluate:
        if not tokens:
            raise _error("missing value for command")
        operands = list(self._operands(tokens))
        first = operands[0]
        if isinstance(first, Function):
            arguments = [_called(one) for one in operands[1:]] + ([piped] if piped else [])
            return first.call(arguments)
        if len(operands) > 1 or piped is not None:
            raise _error(f"can't give argument to non-function {tokens[0].text}")
        return first

    def _operands(self, tokens: list[Token]) -> Iterator[Evaluate | Function]:
        index = 0
        while index < len(tokens):
            token = tokens[index]
            index += 1
            operand: Evaluate | Function
            if token.kind == "sign" and token.text == "(":
                end = _closing(tokens, index)
                operand = self._pipeline(tokens[index:end])
                index = end + 1
            elif token.kind == "field":
                operand = _field(_dot, token.text)
            elif token.kind == "dot":
                operand = _dot
            elif token.kind == "variable":
                operand = _variable(self._slot(token.text))
            elif token.kind == "word":
                operand = _word(token.text)
            elif token.kind == "sign":
                raise _error(f"unexpected {token.text!r} in operand")
            else:
                operand = _constant(literal(token))
            while index < len(tokens) and tokens[index].kind == "field" and not tokens[index].spaced:
                operand = _field(_called(operand), tokens[index].text)
                index += 1
            yield operand


def _closing(tokens: list[Token], at: int) -> int:
    depth = 1
    for index in range(at, len(tokens)):
        depth += (tokens[index].text == "(") - (tokens[index].text == ")") if tokens[index].kind == "sign" else 0
        if depth == 0:
            return index
    raise _error("unclosed left paren")


def _called(operand: "Evaluate | Function") -> Evaluate:
    return operand.call([]) if isinstance(operand, Function) else operand


def _word(name: str) -> "Evaluate | Function":
    if name in _CONSTANTS:
        return _constant(_CONSTANTS[name])
    if name == "nil":
        return _constant(None)
    function = FUNCTIONS.get(name)
    if function is None:
        raise _error(f'function "{name}" not defined')
    return function


def _constant(value: Any) -> Evaluate:
    return lambda scope: value


def _dot(scope: Scope) -> Any:
    return scope.dot


def _variable(slot: str) -> Evaluate:
    return lambda scope: scope.variables.get(slot, MISSING)


def _field(of: Evaluate, path: str) -> Evaluate:
    names = path[1:].split(".")

    def evaluate(scope: Scope) -> Any:
        value = of(scope)
        for name in names:
            if value is MISSING:
                return MISSING
            if not isinstance(value, Mapping):
                raise TemplateError(f"can't evaluate field {name} in type {show(value)}")
            value = value.get(name, MISSING)
        return value

    return evaluate
