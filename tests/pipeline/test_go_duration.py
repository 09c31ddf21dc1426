import pytest

from pipeline.go_duration import parse_go_duration_s


@pytest.mark.parametrize(
    ("text", "seconds"), [("1.5s", 1.5), ("1m30s", 90.0), ("250ms", 0.25), ("10us", 1e-5), ("1d", 86400.0), ("0", 0.0)]
)
def test_durations_are_gos_or_prometheus(text: str, seconds: float) -> None:
    assert parse_go_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["1", "s", "1s1", "1.5", "-1s", 5, None])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="not a valid duration"):
        parse_go_duration_s(text)
