import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.store.selector import Matcher, Operator, SelectorError, UnsupportedError, parse, show_series


def test_selectors_are_read_as_prometheus_writes_them() -> None:
    assert parse(" up ") == (Matcher("__name__", Operator.EQUAL, "up"),)
    assert parse("up{ job = \"a\" , x!~'b.*', }") == (
        Matcher("__name__", Operator.EQUAL, "up"),
        Matcher("job", Operator.EQUAL, "a"),
        Matcher("x", Operator.MATCHES_NOT, "b.*"),
    )
    assert parse('{"my.metric", "odd label"=`a\\b`}') == (
        Matcher("__name__", Operator.EQUAL, "my.metric"),
        Matcher("odd label", Operator.EQUAL, "a\\b"),
    )
    assert parse(r'a{b="\"\\\n\x41\u00e9"}')[1].value == '"\\\nAé'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "a label name or }"),
        ("{a", "=, !=, =~ or !~ is missing at character 3"),
        ('{a="b"', ", or } is missing at character 7"),
        ('{a="b" c="d"}', ", or } is missing"),
        ("{a=b}", "a string in quotes is missing at character 4"),
        ('{a="\\q"}', "an unknown escape"),
        ('{a=~"("}', "not a regular expression of RE2"),
        ('{a=""}', "does not match the empty string"),
    ],
)
def test_a_mistake_is_named(text: str, reason: str) -> None:
    with pytest.raises(SelectorError) as caught:
        parse(text)
    assert reason in str(caught.value)
    assert not isinstance(caught.value, UnsupportedError)


text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@example({}, "\x85A")
@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True), text, max_size=4), text)
def test_a_series_that_is_shown_is_a_selector_of_it(labels: dict[str, str], name: str) -> None:
    shown = show_series(tuple(sorted({"__name__": name, **labels}.items())))
    found = {matcher.name: matcher.value for matcher in parse(shown)}
    assert found == {"__name__": name, **labels}
    assert all(matcher.operator is Operator.EQUAL for matcher in parse(shown))


@given(st.text(max_size=60))
def test_no_text_does_anything_but_parse_or_fail_as_a_selector(anything: str) -> None:
    try:
        parse(anything)
    except SelectorError:
        return
