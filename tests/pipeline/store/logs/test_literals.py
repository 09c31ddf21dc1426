import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from pipeline.store.logs.literals import literals


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        ("550e8400-.{4}-41d4", ("550e8400-", "-41d4")),
        (r"took \d+ms", ("took ", "ms")),
        (r"(?i)10\.1\.2\.3", ("10.1.2.3",)),
        ("failed?: x*", ("faile", ": ")),
        ("a+b", ("a", "b")),
        ("^GET /[^ ]*/users$", ("GET /", "/users")),
        ("[[:alpha:]]x[]a]y[^]]z", ("x", "y", "z")),
        ("(optional)?there(more)", ("there",)),
        ("a|b", ()),
        ("(?s)a", ()),
        (r"\x41bc", ()),
        (r"\pNabc", ()),
        (r"\Qa.b\E", ()),
        ("ab{0,3}c{2}", ("a",)),
    ],
)
def test_what_must_be_there_is_found(pattern: str, texts: tuple[str, ...]) -> None:
    assert literals(pattern) == texts


@given(st.text("ab\\.*?+{1}[]()^$-|d", max_size=12), st.text("ab.-1\\{}[]", max_size=12))
def test_what_an_expression_matches_holds_its_texts(pattern: str, text: str) -> None:
    try:
        options = re2.Options()
        options.log_errors = False
        found = re2.compile(pattern, options).search(text)
    except re2.error:
        return
    if found is not None:
        assert all(literal in text for literal in literals(pattern)), (pattern, text)
