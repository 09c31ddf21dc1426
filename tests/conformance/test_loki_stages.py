"""promtail's own cases of pipeline stages: what goes in, and what came out of promtail.

Cases of one `instance` ran through one pipeline, one after the other.
"""

from collections import defaultdict
from operator import itemgetter
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from agent.config.stages import PipelineStages, StageConfig
from agent.logs.entry import Entry
from agent.stages.lang.layout import compile_layout
from agent.stages.make import StageTools, compile_stage
from agent.stages.step import Run, chain
from agent.stages.values import as_text
from pipeline.telemetry import LogInputMetrics
from tests.conformance.data import folder, json_lines

OTHERWISE = {
    "stages.TestEventLogMessage_invalidString": "eventlogmessage is refused by name",
    "stages.TestSamplingPipeline": "promtail draws lots: only how many there are can be compared",
}
"""Cases that cannot be held to what promtail gave, and why."""

NOW_NS = compile_layout("RFC3339Nano")("2026-11-21T09:17:01.26Z", 0)
"""When the cases were recorded: `older_than` counts from it."""


def _cases() -> list[Any]:
    by_instance: dict[str, list[Any]] = defaultdict(list)
    for case in json_lines(folder("loki") / "stage_cases.jsonl"):
        by_instance[case["instance"]].append(case)
    return [
        pytest.param(cases, id=f"{cases[0]['test'].removeprefix('stages.')}-{number}")
        for number, cases in enumerate(by_instance.values())
    ]


def _stages(text: str) -> PipelineStages:
    return tuple(StageConfig.model_validate(stage) for stage in yaml.safe_load(text)["pipeline_stages"])


_WITHOUT_TEXT = {"<nil>": None, "[bar]": ["bar"]}
"""What was recorded as Go prints it, since there is no text for it."""


def _shown(value: Any) -> Any:
    return next((shown for shown, one in _WITHOUT_TEXT.items() if one == value), None) or as_text(value)


def _entry(case: Any) -> Entry:
    time_ns = compile_layout("RFC3339Nano")(case["ts"], 0)
    extracted = {name: _WITHOUT_TEXT.get(value, value) for name, value in case.get("extracted", {}).items()}
    return Entry(dict(case["labels"]), time_ns, case["line"], {}, extracted)


def _as_case(entry: Entry) -> Any:
    extracted = {name: _shown(value) for name, value in entry.extracted.items()}
    return {"labels": entry.labels, "line": entry.line, "ts": entry.time_ns, "extracted": extracted}


def _wanted(case: Any) -> Any:
    return {"extracted": {}, **case, "ts": compile_layout("RFC3339Nano")(case["ts"], 0)}


@pytest.mark.parametrize("cases", _cases())
def test_gives_what_promtail_gave(cases: list[Any]) -> None:
    stages_text, name = cases[0]["config_yaml"], cases[0]["test"]
    if name == "stages.TestEventLogMessage_invalidString":
        with pytest.raises(ValueError, match="eventlogmessage is not supported"):
            _stages(stages_text)
        return
    tools = StageTools("job", LogInputMetrics(CollectorRegistry()), clock_ns=lambda: NOW_NS)
    out: list[Entry] = []
    run = Run(lambda reason, lines=1, /: None, NOW_NS)
    first = chain(tuple(compile_stage(stage, tools) for stage in _stages(stages_text)), out.append, run)
    for case in cases:
        out.clear()
        for entry in case["in"]:
            first(_entry(entry))
        for hold in run.holds if "multiline" in stages_text else ():
            hold.flush(NOW_NS, everything=True)
        if name in OTHERWISE:
            assert len(case["in"]) * 0.3 < len(out) < len(case["in"]) * 0.7
            continue
        got, wanted = [_as_case(entry) for entry in out], [_wanted(entry) for entry in case["out"]]
        if "cri" in stages_text:
            # promtail lets partial lines of several streams go in any order.
            got.sort(key=itemgetter("line"))
            wanted.sort(key=itemgetter("line"))
        assert got == wanted


def test_what_cannot_be_compared_is_there() -> None:
    assert set(OTHERWISE) <= {case.values[0][0]["test"] for case in _cases()}
