"""Stages that extract values: `regex`, `json`, `logfmt`. Source: promtail, stages/regex.go, json.go, logfmt.go."""

from typing import Any

import msgspec

from agent.config.stage_kinds import JsonStage, LogfmtStage, RegexStage
from agent.logs.entry import Entry
from agent.stages.lang.logfmt import parse_logfmt
from agent.stages.lang.paths import compile_path
from agent.stages.lang.regex import compile_regex
from agent.stages.step import Run, Step, Then
from agent.stages.template.collections import write_json
from agent.stages.values import as_text

_SCALARS = (str, int, float, bool, type(None))


def regex_step(config: RegexStage) -> Step:
    """Return the `regex` stage: where it matches, all of its named groups are extracted, "" for those without part."""
    extract, source = compile_regex(config.expression).extract, config.source

    def bind(then: Then, run: Run) -> Then:
        def run_regex(entry: Entry) -> None:
            text = entry.line if source is None else as_text(entry.extracted.get(source))
            if text is not None and (found := extract(text)):
                entry.extracted.update(found)
            then(entry)

        return run_regex

    return Step(bind)


def json_step(config: JsonStage) -> Step:
    """Return the `json` stage.

    What is not there is extracted as null, which has no text: it makes no label. A list or an object is extracted as
    JSON. Other than in promtail whole numbers keep all of their digits.
    """
    finders = [(name, compile_path(path or name)) for name, path in config.expressions.items()]
    source, drops = config.source, config.drop_malformed

    def bind(then: Then, run: Run) -> Then:
        def run_json(entry: Entry) -> None:
            text = entry.line if source is None else as_text(entry.extracted.get(source))
            if text is None:
                then(entry)
                return
            data = parse_object(text)
            if data is None:
                if drops:
                    run.drop("malformed_json")
                else:
                    then(entry)
                return
            extracted = entry.extracted
            for name, find in finders:
                try:
                    value = find(data)
                except LookupError:
                    continue
                extracted[name] = value if isinstance(value, _SCALARS) else write_json(value)
            then(entry)

        return run_json

    return Step(bind)


_decode = msgspec.json.Decoder(dict[str, Any]).decode


def parse_object(text: str) -> dict[str, Any] | None:
    """Return a JSON object's members (`null` has none); None for anything else, or where it is nested too deeply."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, RecursionError):
        return {} if text.strip() == "null" else None


def logfmt_step(config: LogfmtStage) -> Step:
    """Return the `logfmt` stage; of a key that comes twice the last value counts."""
    # One key gives one value, as in promtail.
    names = {key or name: name for name, key in config.mapping.items()}
    source = config.source

    def bind(then: Then, run: Run) -> Then:
        def run_logfmt(entry: Entry) -> None:
            text = entry.line if source is None else as_text(entry.extracted.get(source))
            if text is not None:
                for key, value in parse_logfmt(text):
                    name = names.get(key)
                    if name is not None:
                        entry.extracted[name] = value
            then(entry)

        return run_logfmt

    return Step(bind)
