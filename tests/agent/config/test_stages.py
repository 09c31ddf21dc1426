"""What is wrong with `pipeline_stages`, in promtail's words, and what promtail leaves out."""

from pathlib import Path

import pytest

from agent.config.stages import PipelineStages
from pipeline.config import ConfigError, Section, load


class File(Section):
    pipeline_stages: PipelineStages = ()


def mistakes(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "agent.yml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load(path, File)
    return [f"{mistake.line}: {mistake.key}: {mistake.reason}" for mistake in raised.value.mistakes]


@pytest.mark.parametrize(
    ("stage", "reason"),
    [
        ("regex:", "expression is required"),
        ("regex: {expression: 'a(', source: x}", "could not compile regular expression"),
        ("regex: {expression: a, source: ''}", "empty source"),
        ("regex: {expression: '(?P<a>.)(?P<a>.)'}", "duplicate group name `a`"),
        ("regex: {expression: a, sauce: b}", "unknown key"),
        ("regexp: {expression: a}", "Unknown stage type: regexp"),
        ("json: {source: a}", "JMES expression is required"),
        ("json: {expressions: {a: 'b['}}", "could not compile JMES expression"),
        ("logfmt:", "logfmt mapping is required"),
        ("template: {template: a}", "template source value is required"),
        ("template: {source: a, template: '{{ .A '}", "unclosed action"),
        ("template: {source: a, template: '{{ env \"HOME\" }}'}", 'function "env" not defined'),
        ("template: {source: a, template: '{{ ToLower }}'}", "wrong number of args for ToLower: want 1 got 0"),
        ("template: {source: a, template: '{{ if .A }}'}", "unexpected EOF"),
        ("template: {source: a, template: '{{ define \"x\" }}{{ end }}'}", "{{define}} is not supported"),
        ("template: {source: a, template: '{{ $x }}'}", 'undefined variable "$x"'),
        ("replace: {source: a}", "expression is required"),
        ("timestamp: {format: Unix}", "timestamp source value is required if timestamp is specified"),
        ("timestamp: {source: a}", "timestamp format is required"),
        ("timestamp: {source: a, format: Unix, location: Mars/Base}", "invalid location specified: unknown time zone"),
        ("timestamp: {source: a, format: Unix, action_on_failure: cry}", "invalid action on failure"),
        ("output:", "output source value is required if output is specified"),
        ("labels:", "label stage config cannot be empty"),
        ("labels: {'a-b': c}", "invalid label name: a-b"),
        ("labeldrop:", "labeldrop stage config cannot be empty"),
        ("labelallow: []", "labelallow stage config cannot be empty"),
        ("static_labels:", "static_labels stage config cannot be empty"),
        ("tenant:", "label, source or value config are required"),
        ("tenant: {label: a, value: b}", "label, source and value are mutually exclusive"),
        ("drop: {separator: ;}", "drop stage config must contain at least one of"),
        ("drop: {value: a}", "drop stage config must contain `source` if `value` is specified"),
        ("drop: {source: a, value: b, expression: c}", "cannot both be defined at the same time"),
        ("drop: {older_than: 5}", "drop stage invalid duration, 5 cannot be converted to a duration: time: missing"),
        ("drop: {longer_than: big}", "not a size"),
        ("match: {stages: [{cri: {}}]}", "selector statement required for match stage"),
        ("match: {selector: '{a=b}', stages: [{cri: {}}]}", "invalid selector syntax for match stage: parse error"),
        ("match: {selector: '{a=\"b\"}'}", "match stage requires at least one additional stage"),
        ("match: {selector: '{a=\"b\"}', action: drop, stages: [{cri: {}}]}", "cannot contains stages"),
        ("match: {selector: '{a=\"b\"}', action: eat}", "match stage action should be 'keep' or 'drop'"),
        ("match: {selector: '{a=\"b\"}', stages: [{cry: {}}]}", "Unknown stage type: cry"),
        ("multiline:", "multiline stage config must define `firstline` regular expression"),
        ("multiline: {firstline: a, max_wait_time: 3}", "`max_wait_time` parse error: time: missing unit in duration"),
        ("limit: {rate: 1}", "limit stage failed to parse rate or burst"),
        ("limit: {rate: 1, burst: 1, by_label_name: a}", "When ratelimiting by label, drop must be true"),
        ("sampling: {rate: 2}", "Sampling Rate must be between 0.0 and 1.0, received 2.000000"),
        ("metrics:", "empty metric stage configuration"),
        ("metrics: {a: {type: Sum}}", "invalid metric type 'sum', metric type must be one of"),
        ("metrics: {a: {type: Counter}}", "counter action must be defined as either `inc` or `add`"),
        ("metrics: {a: {type: gauge, config: {action: mul}}}", "action mul is not valid"),
        ("metrics: {a: {type: counter, max_idle_duration: 1ms, config: {action: inc}}}", "less than 1s not allowed"),
        ("eventlogmessage: {}", "eventlogmessage is not supported: it reads Windows' event log"),
        ("geoip: {db: a}", "geoip is not supported: it needs MaxMind's databases"),
        ("gelf: {}", "gelf is not a stage"),
        ("cri", "make sure each stage of your pipeline is a YAML object"),
        ("{cri: {}, docker: {}}", "pipeline stage must contain only one key"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(tmp_path: Path, stage: str, reason: str) -> None:
    (mistake,) = mistakes(tmp_path, f"pipeline_stages:\n- cri: {{}}\n- {stage}\n")
    assert reason in mistake
    assert mistake.startswith("3: pipeline_stages[1]")


def test_stages_without_keys_may_be_empty() -> None:
    from tests.agent.stages.running import stages

    names = [stage.name for stage in stages("[docker: , cri: , decolorize: , pack: , non_indexed_labels: {a: }]")]
    assert names == ["docker", "cri", "decolorize", "pack", "structured_metadata"]
