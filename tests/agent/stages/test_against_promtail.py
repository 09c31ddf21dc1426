"""What promtail itself makes of the same lines by the same stages, and Go of the same times."""

import json
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from agent.logs.entry import Entry
from agent.stages.lang.layout import compile_layout
from agent.stages.make import StageTools, compile_stage
from agent.stages.step import Run, chain
from pipeline.telemetry import LogInputMetrics
from tests.agent.stages.cases import LAYOUTS, TEMPLATES, TIMES, VALUES, pipelines
from tests.agent.stages.running import NOW_NS, stages
from tests.servers.promtail import Passed, PromtailStages

pytestmark = pytest.mark.loki

LABELS = {"app": "web", "job": "j"}


@pytest.fixture(scope="module")
def promtail() -> Iterator[PromtailStages]:
    with PromtailStages() as running:
        yield running


def ours(text: str, lines: list[str]) -> list[Passed]:
    tools = StageTools("job", LogInputMetrics(CollectorRegistry()))
    out: list[Entry] = []
    run = Run(lambda reason, count=1: None, NOW_NS)
    first = chain(tuple(compile_stage(stage, tools) for stage in stages(text)), out.append, run)
    for number, line in enumerate(lines):
        first(Entry(dict(LABELS), NOW_NS + number, line, {}, dict(LABELS)))
    for hold in run.holds:
        # promtail lets joined lines go at its end, but not parts of lines.
        hold.flush(NOW_NS, everything=hold.kind == "multiline")
    return [Passed(entry.labels, entry.line, entry.time_ns, entry.metadata) for entry in out]


def theirs(promtail: PromtailStages, text: str, lines: list[str]) -> list[Passed]:
    return promtail.run(text, LABELS, lines, NOW_NS)


def in_order(passed: list[Passed]) -> list[Passed]:
    """Put entries in order: what goes through nested stages may overtake other lines in promtail."""
    return sorted(passed, key=lambda one: (one.time_ns, one.line))


@pytest.mark.parametrize("template", TEMPLATES)
def test_templates(promtail: PromtailStages, template: str) -> None:
    stage = json.dumps({"source": "v", "template": template})
    text = f"- regex: {{expression: '(?s)^(?P<v>.*)$'}}\n- template: {stage}\n- output: {{source: v}}"
    try:
        wanted = theirs(promtail, text, VALUES)
    except ValueError:
        with pytest.raises(ValueError, match="template: pipeline_template"):
            stages(text)
    else:
        assert ours(text, VALUES) == wanted


@pytest.mark.parametrize("zone", ["", "Europe/Berlin", "America/New_York", "Asia/Kolkata"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(promtail: PromtailStages, layout: str, zone: str) -> None:
    parse = compile_layout(layout, zone or None)
    for text in TIMES:
        try:
            wanted = promtail.parse_time(layout, text, zone)
        except ValueError:
            with pytest.raises(ValueError):
                parse(text, 0)
        else:
            assert parse(text, 0) == wanted, text


@pytest.mark.parametrize(("text", "lines"), list(pipelines()))
def test_stages(promtail: PromtailStages, text: str, lines: list[str]) -> None:
    try:
        wanted = theirs(promtail, text, lines)
    except ValueError:
        with pytest.raises(ValueError):
            stages(text)
    else:
        assert in_order(ours(text, lines)) == in_order(wanted)
