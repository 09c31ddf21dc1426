import pytest

from pipeline.wire.trace_context import MAX_CHARS, TraceContext, format_traceparent, parse_traceparent

# From the specification's own examples (Trace Context, section 3.2.3).
SAMPLED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CONTEXT = TraceContext(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7, True)


def test_the_specifications_example_reads_and_writes_the_same() -> None:
    assert parse_traceparent(SAMPLED) == CONTEXT
    assert format_traceparent(CONTEXT) == SAMPLED


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)])
def test_of_the_flags_only_the_lowest_bit_says_whether_it_is_kept(flags: str, sampled: bool) -> None:
    assert parse_traceparent(SAMPLED[:-2] + flags) == CONTEXT._replace(sampled=sampled)


def test_a_later_version_is_read_as_far_as_this_one_goes() -> None:
    assert parse_traceparent("cc" + SAMPLED[2:]) == CONTEXT
    assert parse_traceparent("cc" + SAMPLED[2:] + "-what-the-future-will-be-like") == CONTEXT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "ff" + SAMPLED[2:],
        SAMPLED + "-more",
        SAMPLED + " ",
        SAMPLED + "\n",
        " " + SAMPLED,
        SAMPLED.upper(),
        SAMPLED[:-1],
        SAMPLED.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        SAMPLED.replace("00f067aa0ba902b7", "0" * 16),
        SAMPLED.replace("4bf9", "4bg9"),
        SAMPLED.replace("01", "0١"),
        "cc" + SAMPLED[2:] + "-" + "x" * MAX_CHARS,
    ],
)
def test_what_is_no_traceparent_is_as_if_nothing_had_come(text: str) -> None:
    assert parse_traceparent(text) is None
