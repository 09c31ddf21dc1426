import pytest

from pipeline.wire.errors import MalformedError
from pipeline.wire.exposition import Format, choose_format
from pipeline.wire.exposition.numbers import format_openmetrics, normalize_bound, read_seconds_ms


@pytest.mark.parametrize(
    ("text", "written"),
    # What Go 1.26 makes of them: ParseFloat, then FormatFloat(…, 'g', -1, 64).
    [
        ("1", "1.0"), ("-0", "0.0"), ("1000000", "1e+06"), ("1234567.5", "1.2345675e+06"), ("123456.5", "123456.5"),
        ("0.0001", "0.0001"), ("0.00001", "1e-05"), ("1e21", "1e+21"), ("5e-324", "5e-324"), ("+Inf", "+Inf"),
        ("inf", "+Inf"), ("nan", "NaN"), ("1_0", "10.0"), ("0x1p-2", "0.25"), ("0x_1p4", "16.0"),
        ("1_23.50_0_0e+1_2", "1.235e+14"),
        ("0x1", "0x1"), ("1e400", "1e400"), ("+nan", "+nan"), ("_1", "_1"), ("1__0", "1__0"), ("", ""), ("a", "a"),
    ],
)  # fmt: skip
def test_bounds_are_written_as_go_writes_them(text: str, written: str) -> None:
    assert normalize_bound(text) == written


def test_whole_numbers_get_a_point() -> None:
    assert [format_openmetrics(n) for n in (100.0, -2.0, 0.1, 999999.0)] == ["100.0", "-2.0", "0.1", "999999.0"]


@pytest.mark.parametrize(("text", "ms"), [(b"1.5", 1500), (b"-1.0005", -1000), (b"1e300", -(2**63)), (b"0.0019", 1)])
def test_seconds_are_cut_off_to_milliseconds(text: bytes, ms: int) -> None:
    assert read_seconds_ms(text) == ms


@pytest.mark.parametrize(
    ("content_type", "format_found"),
    [
        ("text/plain", Format.TEXT),
        ("TEXT/PLAIN; version=0.0.4; charset=utf-8;", Format.TEXT),
        ('application/openmetrics-text; version="1.0.0"', Format.OPENMETRICS),
        ("application/openmetrics-text", Format.OPENMETRICS),
        ("application/openmetrics-text; version=2.0.0", None),
        ("text/plain; version=0.0.4; version=1", None),
        ("text/plain, foo", None),
        ("application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily", Format.PROTOBUF),
        ("", None),
    ],
)
def test_the_content_type_names_the_format_or_nothing_does(content_type: str, format_found: Format | None) -> None:
    if format_found is None:
        with pytest.raises(MalformedError, match="fallback_scrape_protocol"):
            choose_format(content_type)
        assert choose_format(content_type, Format.TEXT) is Format.TEXT
    else:
        assert choose_format(content_type) is format_found
