"""Lines that nobody would write on purpose: none may stop a pipeline, take long, or be lost without a count."""

import pytest

from agent.logs.entry import Entry
from tests.agent.stages.running import NOW_NS, Running, decoded, lines

DEEP = '{"a":' * 9_000 + "1" + "}" * 9_000


def labels_of(text: str, line: str) -> set[str]:
    out = decoded(Running(text).source({"s": "t"}).block(line.encode() + b"\n", NOW_NS))
    return {labels for _, labels in out}


@pytest.mark.parametrize(
    ("number", "label"),
    [
        ("12345678901234567890", "12345678901234567890"),
        ("1" * 400, "1" * 400),
        ("1" * 5_000, None),
        ("1e999", None),
        ("1e308", "1" + "0" * 308),
        ("0.1", "0.1"),
        ("100.0", "100"),
        ("-0.0", "-0"),
        ("1e-7", "0.0000001"),
    ],
)
def test_numbers_in_json(number: str, label: str | None) -> None:
    wanted = f'{{n="{label}", s="t"}}' if label is not None else '{s="t"}'
    assert labels_of("- json: {expressions: {n: }}\n- labels: {n: }", f'{{"n":{number}}}') == {wanted}


@pytest.mark.parametrize(
    "stages",
    [
        "- json: {expressions: {a: , b: a.a.a, c: 'a.a[0] || length(@)'}}",
        "- docker: {}",
        "- cri: {}",
        "- logfmt: {mapping: {a: }}",
        "- regex: {expression: '(a*)*b(?P<x>.*)$'}",
        "- replace: {expression: '(a*)*(b)?', replace: '{{ .Value }}'}",
        '- template: {source: x, template: \'{{ regexReplaceAll "(a|a)*b" .Entry "" }}\'}',
        "- decolorize: {}",
        "- pack: {}",
        "- multiline: {firstline: '^(a+)+$'}",
        "- drop: {expression: '(a|aa)+c'}",
        '- match: {selector: \'{s=~"(t+)+"} |~ "(a+)+$"\', stages: [{decolorize: {}}]}',
    ],
)
@pytest.mark.parametrize(
    "line", ["", "\x00", "a" * 30_000, DEEP, "[" * 30_000, "\ufeff{}", "\\" * 999, '"' * 999, "\r"]
)
def test_a_line_goes_through_whatever_it_is(stages: str, line: str) -> None:
    source = Running(stages).source({"s": "t"})
    out = lines(source.block(line.encode() + b"\n", NOW_NS)) + lines(source.flush(NOW_NS, everything=True))
    assert len(out) == 1 or (not line and "multiline" in stages)


def test_a_malformed_line_that_is_dropped_is_counted() -> None:
    running = Running("- json: {expressions: {a: }, drop_malformed: true}")
    assert lines(running.source().block(b'{"a":1}\n{"a":\n' + DEEP.encode() + b"\n", NOW_NS)) == ['{"a":1}']
    assert running.dropped("malformed_json") == 2


def test_text_without_utf8_does_not_stop_what_follows() -> None:
    source = Running("- labels: {bad: }\n- structured_metadata: {worse: }").source()
    entry = Entry({"a": "b"}, NOW_NS, "half \ud83d a pair", {}, {"bad": "\ud83d", "worse": "\ud83d"})
    ((key, (found,)),) = decoded(source.entries([entry])).items()
    assert (key[1], found.line, found.metadata) == ('{a="b"}', b"half ? a pair", ())


def test_a_label_is_a_label_however_long() -> None:
    ((labels),) = labels_of("- regex: {expression: '(?P<x>.*)'}\n- labels: {x: }", 'a"\\\x00\n'.strip() + "é" * 5_000)
    assert labels.startswith('{s="t", x="a\\"\\\\\\x00é')


def test_a_template_that_would_write_for_ever_fails() -> None:
    source = Running(
        "- template: {source: x, template: '{{ repeat 999999999 .Entry }}'}\n- output: {source: x}"
    ).source()
    assert lines(source.block(b"short\n", NOW_NS)) == ["short"]
