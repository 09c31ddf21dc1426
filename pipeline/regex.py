"""Regular expressions of RE2, which takes a time linear in the text's length whatever the expression."""

from typing import Any

import re2


def compile_re2(pattern: str | bytes, *, captures: bool = True) -> Any:
    """Compile an expression for text, or for bytes; raises ValueError with RE2's reason, which it does not log.

    Without `captures` groups take no part, and matching costs less.
    """
    options = re2.Options()
    options.log_errors = False
    options.never_capture = not captures
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        raise ValueError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from error
