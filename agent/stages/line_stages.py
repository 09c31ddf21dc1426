"""Stages that write lines and extracted values: `output`, `template`, `replace`, `pack`, `decolorize`.

Source: promtail, stages/output.go, template.go, replace.go, pack.go; Loki, pkg/logql/log/fmt.go.
"""

from typing import Any, Final

from agent.config.stage_kinds import OutputStage, PackStage, ReplaceStage, TemplateStage
from agent.logs.entry import Entry
from agent.stages.lang.regex import Regex, compile_regex
from agent.stages.step import Run, Step, Then
from agent.stages.template.collections import write_json
from agent.stages.template.parse import Template, compile_template
from agent.stages.template.values import TemplateError
from agent.stages.values import as_text

_ANSI: Final = (
    r"[\x{1B}\x{9B}][[\]()#;?]*"
    r"(?:(?:(?:[a-zA-Z\d]*(?:;[a-zA-Z\d]*)*)?\x07)|(?:(?:\d{1,4}(?:;\d{0,4})*)?[\dA-PRZcf-ntqry=><~]))"
)


def output_step(config: OutputStage) -> Step:
    """Return the `output` stage."""
    source = config.source

    def bind(then: Then, run: Run) -> Then:
        def run_output(entry: Entry) -> None:
            line = as_text(entry.extracted.get(source))
            if line is not None:
                entry.line = line
            then(entry)

        return run_output

    return Step(bind)


def _texts(extracted: dict[str, Any]) -> dict[str, Any]:
    return {name: text for name, value in extracted.items() if (text := as_text(value)) is not None}


def template_step(config: TemplateStage) -> Step:
    """Return the `template` stage: where it cannot be written for this line, nothing changes."""
    write, source = compile_template(config.template), config.source

    def bind(then: Then, run: Run) -> Then:
        def run_template(entry: Entry) -> None:
            values = _texts(entry.extracted)
            if source in values:
                values["Value"] = values[source]
            values["Entry"] = entry.line
            try:
                written = write(values)
            except (TemplateError, RecursionError):
                written = None
            if written:
                entry.extracted[source] = written
            elif written is not None:
                entry.extracted.pop(source, None)
            then(entry)

        return run_template

    return Step(bind)


def replace_step(config: ReplaceStage) -> Step:
    """Return the `replace` stage."""
    regex, write, source = compile_regex(config.expression), compile_template(config.replace), config.source

    def bind(then: Then, run: Run) -> Then:
        def run_replace(entry: Entry) -> None:
            text = entry.line if source is None else as_text(entry.extracted.get(source))
            if text is not None:
                result = _replaced(regex, write, text, entry.extracted)
                if result is not None:
                    if source is None:
                        entry.line = result
                    else:
                        entry.extracted[source] = result
            then(entry)

        return run_replace

    return Step(bind)


def _replaced(regex: Regex, write: Template, text: str, extracted: dict[str, Any]) -> str | None:
    """Return the text with each group's match written anew, named groups extracted; None where nothing matches."""
    data = text.encode("utf-8", "replace")
    first, values, out, at, written = None, _texts(extracted), bytearray(), 0, dict[bytes, str]()
    for spans in regex.spans(data):
        if first is None:
            first = spans
        for start, end in spans[1:]:
            if start < 0:
                continue
            value = data[start:end]
            # Templates know nothing but these values: what they made of one they make of it again.
            new = written.get(value)
            if new is None:
                values["Value"] = value.decode(errors="replace")
                try:
                    new = written[value] = write(values)
                except (TemplateError, RecursionError):
                    return None
            # A group within one that was replaced is written, too, but for the extracted values alone.
            if start >= at:
                out += data[at:start] + new.encode("utf-8", "replace")
                at = end
    if first is None:
        return None
    for name, index in regex.named:
        start, end = first[index]
        if (new_value := written.get(data[start:end] if start >= 0 else b"")) is not None:
            extracted[name] = new_value
    return (out + data[at:]).decode(errors="replace")


def pack_step(config: PackStage) -> Step:
    """Return the `pack` stage: `{"label":"value",…,"_entry":"line"}`, which LogQL's `unpack` takes apart."""
    names = sorted(set(config.labels))

    def bind(then: Then, run: Run) -> Then:
        def run_pack(entry: Entry) -> None:
            packed: dict[str, str] = {}
            for name in names:
                value = as_text(entry.extracted.get(name))
                if value is not None:
                    packed[name] = value
                    entry.labels.pop(name, None)
            entry.line = write_json({**packed, "_entry": entry.line})
            if config.ingest_timestamp:
                entry.time_ns = run.now_ns
            then(entry)

        return run_pack

    return Step(bind)


def decolorize_step() -> Step:
    """Return the `decolorize` stage."""
    regex = compile_regex(_ANSI)

    def bind(then: Then, run: Run) -> Then:
        def run_decolorize(entry: Entry) -> None:
            if "\x1b" in entry.line or "\x9b" in entry.line:
                entry.line = regex.replace(entry.line, "", literal=True)
            then(entry)

        return run_decolorize

    return Step(bind)
