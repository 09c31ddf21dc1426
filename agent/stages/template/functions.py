"""The functions that templates may call: Go's own, promtail's, and of sprig those that work on text and numbers.

Source: Go, text/template/funcs.go; promtail, clients/pkg/logentry/stages/template.go; Masterminds/sprig, functions.go.
A function's `takes` has a letter an argument: `s` text, `i` an integer, `a` anything; `*` behind the last: any number.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from agent.stages.template import collections, numbers, texts
from agent.stages.template.compare import BUILTINS
from agent.stages.template.values import MISSING, Evaluate, Scope, TemplateError, is_true, kind


@dataclass(frozen=True, slots=True)
class Function:
    """One function, and the arguments that it takes."""

    name: str
    takes: str
    run: Callable[..., Any]

    def call(self, arguments: list[Evaluate]) -> Evaluate:
        """Bind arguments; raises ValueError where there are too few or too many of them."""
        kinds, many = self.takes.rstrip("*"), self.takes.endswith("*")
        least = len(kinds) - many
        if len(arguments) < least or (len(arguments) > len(kinds) and not many):
            wants = f"at least {least}" if many else str(least)
            raise ValueError(
                f"template: pipeline_template: wrong number of args for {self.name}: want {wants} got {len(arguments)}"
            )
        if self.name in ("and", "or"):
            return _until(arguments, self.name == "or")
        kinds = kinds.ljust(len(arguments), kinds[-1:] or "a")
        run, name = self.run, self.name
        converters = list(zip(arguments, [_CHECKS[one] for one in kinds[: len(arguments)]], strict=True))

        def evaluate(scope: Scope) -> Any:
            values = [check(argument(scope)) for argument, check in converters]
            try:
                return run(*values)
            except (ArithmeticError, LookupError, TypeError, ValueError) as error:
                raise TemplateError(f"error calling {name}: {error}") from error

        return evaluate


def _until(arguments: list[Evaluate], wanted: bool) -> Evaluate:
    """`or` and `and`: the first argument that decides it, or the last; those behind it are not looked at."""

    def evaluate(scope: Scope) -> Any:
        value: Any = None
        for argument in arguments:
            value = argument(scope)
            if is_true(value) is wanted:
                break
        return value

    return evaluate


def _anything(value: Any) -> Any:
    return None if value is MISSING else value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TemplateError(f"wrong type for value; expected string; got {kind(value)}")
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TemplateError(f"wrong type for value; expected int; got {kind(value)}")
    return value


_CHECKS: Final[dict[str, Callable[[Any], Any]]] = {"a": _anything, "s": _text, "i": _integer}

FUNCTIONS: Final = {
    name: Function(name, takes, run)
    for table in (BUILTINS, collections.SPRIG, numbers.SPRIG, texts.SPRIG, texts.PROMTAIL)
    for name, (takes, run) in table.items()
}
"""All of them by name; of two with one name promtail's counts."""
