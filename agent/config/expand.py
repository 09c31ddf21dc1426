"""The environment in external labels, as Prometheus puts it in."""

import re
from collections.abc import Mapping
from typing import Final

_VARIABLE: Final = re.compile(r"\$(?:\{([^}]*)\}|(\{)|([*#$@!?\-0-9]|[A-Za-z_][A-Za-z0-9_]*))", re.ASCII)


def expand(text: str, environment: Mapping[str, str]) -> tuple[str, list[str]]:
    """Replace `$NAME` and `${NAME}`, and `$$` by a dollar, by the rules of Go's `os.Expand`.

    Returns the names, too, that the environment has no value for.
    """
    missing: list[str] = []

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[3]
        if not name:
            return ""
        if name == "$":
            return "$"
        found = environment.get(name, "")
        if not found:
            missing.append(name)
        return found

    return _VARIABLE.sub(value, text), missing
