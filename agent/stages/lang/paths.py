"""JMESPath expressions (jmespath.org). Most name a field, or a field of a field: those are looked up directly."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

Find = Callable[[dict[str, Any]], Any]
"""What an expression finds in a JSON object, None for nothing; raises LookupError where it cannot be asked of it."""

_FIELDS: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*", re.ASCII)


@lru_cache(maxsize=1024)
def compile_path(expression: str) -> Find:
    """Compile an expression; raises ValueError."""
    if _FIELDS.fullmatch(expression):
        return _fields(expression.split("."))
    # Only where an expression asks for more than fields.
    import jmespath
    from jmespath.exceptions import JMESPathError

    try:
        compiled = jmespath.compile(expression)
    except JMESPathError as error:
        raise ValueError(str(error)) from error

    def find(data: dict[str, Any]) -> Any:
        try:
            return compiled.search(data)
        except (JMESPathError, RecursionError, TypeError, ValueError) as error:
            raise LookupError(str(error)) from error

    return find


def _fields(names: list[str]) -> Find:
    if len(names) == 1:
        (name,) = names
        return lambda data: data.get(name)

    def find(data: dict[str, Any]) -> Any:
        value: Any = data
        for name in names:
            if not isinstance(value, dict):
                return None
            value = value.get(name)
        return value

    return find
