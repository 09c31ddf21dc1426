import pytest

from pipeline.store.logs.filters import Contains, Matches
from pipeline.store.logs.logql import parse_logql
from pipeline.store.selector import Matcher, Operator, SelectorError, UnsupportedError


def test_a_selector_and_line_filters_are_read() -> None:
    query = parse_logql(' {app="a", pod=~`x.*`}  |= "say \\"hi\\"" != `no\\` |~"a|b"!~ "c" ')
    assert query.matchers == (Matcher("app", Operator.EQUAL, "a"), Matcher("pod", Operator.MATCHES, "x.*"))
    assert query.text.parts == (
        Contains('say "hi"', fold=False),
        Contains("no\\", fold=False, negated=True),
        Matches("a|b"),
        Matches("c", negated=True),
    )
    assert not query.text.metadata


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('rate({a="b"}[5m])', "rate: metric queries"),
        ('sum by (level) (count_over_time({a="b"}[5m]))', "sum: metric queries"),
        ('{a="b"} | json', "json: only line filters"),
        ('{a="b"} | line_format "{{.x}}"', "line_format: only line filters"),
        ('{a="b"} |= "x" or "y"', 'or "y": only line filters'),
        ('{a="b"}[5m]', "[5m]: only line filters"),
        ('{a="b"} |> "<_>"', '|> "<_>": only line filters'),
    ],
)
def test_more_of_logql_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        parse_logql(text)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("text", ["", "app", "{}", '{a=~".*"}', '{a="b"', '{a="b"} |= x', '{a="b"} |~ "("', '{a=~"("}'])
def test_what_is_no_query_is_told_so(text: str) -> None:
    with pytest.raises(SelectorError):
        parse_logql(text)
