"""Label and field selectors as the Kubernetes API reads them: checked when a file is read, not when a server refuses.

Source: Kubernetes documentation, "Labels and Selectors" and "Field Selectors"; apimachinery, pkg/labels and pkg/fields.
"""

import re
from typing import Final

_NAME: Final = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_KEY: Final = rf"(?:[a-z0-9](?:[-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_NAME}"
_REQUIREMENT: Final = re.compile(
    rf"""!\s*{_KEY}
    | {_KEY}\s*(?:(?:==?|!=)\s*(?:{_NAME})?|[<>]\s*-?\d+)?
    | {_KEY}\s+(?:in|notin)\s*\(\s*(?:(?:{_NAME})?\s*,\s*)*(?:{_NAME})?\s*\)
    """,
    re.VERBOSE | re.ASCII,
)
_BETWEEN: Final = re.compile(r",(?![^(]*\))")
"""A comma that is not in parentheses."""
_TERM_SPLIT: Final = re.compile(r"(?:\\.|[^,\\]|\\$)+")
_TERM: Final = re.compile(r"(?:(?!!=|=).)*(?:!=|==|=(?!=))(?:[^\\,=]|\\[\\,=])*", re.DOTALL)
"""A field, an operator, and a value in which backslash, comma and equals sign are escaped."""


def check_label_selector(text: str) -> str:
    """Return a label selector; raises ValueError with the requirement that none is."""
    if text.strip():
        for part in _BETWEEN.split(text):
            if _REQUIREMENT.fullmatch(part.strip()) is None:
                raise ValueError(f"unable to parse requirement: '{part.strip()}' in label selector '{text}'")
    return text


def check_field_selector(text: str) -> str:
    """Return a field selector; raises ValueError with the term that none is."""
    for term in _TERM_SPLIT.findall(text):
        if _TERM.fullmatch(term) is None:
            raise ValueError(f"invalid selector: '{text}'; can't understand '{term}'")
    return text
