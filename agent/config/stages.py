"""`pipeline_stages`: one section a stage, as in promtail's file.

Keys, defaults and the words of errors are promtail's (clients/pkg/logentry/stages); what promtail does not know is
refused here, too, where promtail passes over it.
"""

import re
from functools import partial
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from agent.config.stage_kinds import (
    CriStage,
    DecolorizeStage,
    DockerStage,
    JsonStage,
    LogfmtStage,
    OutputStage,
    PackStage,
    RegexStage,
    ReplaceStage,
    TemplateStage,
    TimestampStage,
)
from agent.config.stage_metrics import Metrics
from agent.config.stage_selection import DropStage, LimitStage, MultilineStage, SamplingStage, TenantStage
from agent.stages.lang.selector import parse_selector
from pipeline.config import Section

REFUSED: Final = {
    "eventlogmessage": "is not supported: it reads Windows' event log, and the agent runs on Linux",
    "geoip": "is not supported: it needs MaxMind's databases, which may not be passed on",
    "gelf": "is not a stage: GELF is an input of promtail's, which is not supported",
}
"""Stages that are refused by name."""

_LISTS: Final = ("labelallow", "labeldrop")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)


def _names(message: str, value: Any) -> Any:
    if not value:
        raise ValueError(message)
    return (value,) if isinstance(value, str) else value


def _sources(message: str, labels: dict[str, str | None]) -> dict[str, str]:
    for name in labels:
        if not _LABEL.fullmatch(name):
            raise ValueError(f"invalid label name: {name}")
    if not labels:
        raise ValueError(message)
    return {name: source or name for name, source in labels.items()}


def _static(labels: dict[str, str | None]) -> dict[str, str]:
    _sources("static_labels stage config cannot be empty", labels)
    return {name: value for name, value in labels.items() if value}


def _label_names(stage: str) -> Any:
    return BeforeValidator(partial(_names, f"{stage} stage config cannot be empty"))


Sources = Annotated[dict[str, str | None], AfterValidator(partial(_sources, "label stage config cannot be empty"))]
Static = Annotated[dict[str, str | None], AfterValidator(_static)]


class StageConfig(Section):
    """One of `pipeline_stages`: exactly one of these keys."""

    docker: DockerStage | None = None
    """Lines as Docker's json-file driver writes them."""
    cri: CriStage | None = None
    """Lines as container runtimes write them for Kubernetes, partial ones put together."""
    regex: RegexStage | None = None
    """Extract by a regular expression."""
    json_: Annotated[JsonStage | None, Field(alias="json")] = None
    """Extract from JSON."""
    logfmt: LogfmtStage | None = None
    """Extract from `key=value` pairs."""
    template: TemplateStage | None = None
    """Write an extracted value by a Go template."""
    replace: ReplaceStage | None = None
    """Write anew what an expression matches."""
    timestamp: TimestampStage | None = None
    """Take the time from an extracted value."""
    output: OutputStage | None = None
    """Take the line from an extracted value."""
    labels: Sources | None = None
    """Labels, and the extracted value of each; an empty one is the label's name."""
    static_labels: Static | None = None
    """Labels with their values."""
    labeldrop: Annotated[tuple[str, ...], _label_names("labeldrop")] | None = None
    """Labels that go."""
    labelallow: Annotated[tuple[str, ...], _label_names("labelallow")] | None = None
    """Labels that stay; all others go."""
    structured_metadata: Sources | None = None
    """Structured metadata, and the extracted value or label of each; such labels are labels no longer."""
    tenant: TenantStage | None = None
    """Choose the tenant."""
    match: "MatchStage | None" = None
    """Stages for some streams and lines only, or drop these."""
    drop: DropStage | None = None
    """Drop lines."""
    sampling: SamplingStage | None = None
    """Keep a share of the lines."""
    limit: LimitStage | None = None
    """Keep to a rate."""
    multiline: MultilineStage | None = None
    """Join lines into one entry."""
    pack: PackStage | None = None
    """Put labels into the line."""
    decolorize: DecolorizeStage | None = None
    """Take colour codes out of the line."""
    metrics: Metrics | None = None
    """Make metrics of lines."""

    @model_validator(mode="before")
    @classmethod
    def _one_stage(cls, value: Any) -> Any:
        if isinstance(value, cls):
            return value
        if not isinstance(value, dict):
            raise ValueError(  # noqa: TRY004 # pydantic reports ValueErrors
                "invalid YAML config, make sure each stage of your pipeline is a YAML object (must end with a `:`), "
                f"check stage `- {value}`"
            )
        if len(value) != 1:
            raise ValueError("pipeline stage must contain only one key")
        ((name, section),) = value.items()
        if name in REFUSED:
            raise ValueError(f"{name} {REFUSED[name]}")
        # The name that it had before Loki 3.
        name = "structured_metadata" if name == "non_indexed_labels" else name
        if name not in _NAMES:
            raise ValueError(f"Unknown stage type: {name}")
        return {name: ([] if name in _LISTS else {}) if section is None else section}

    @property
    def name(self) -> str:
        """The stage's name."""
        (field,) = self.model_fields_set
        return field.rstrip("_")

    @property
    def section(self) -> Any:
        """What is configured of it."""
        (field,) = self.model_fields_set
        return getattr(self, field)


def _selector(text: str) -> str:
    if not text:
        raise ValueError("selector statement required for match stage")
    try:
        parse_selector(text)
    except ValueError as error:
        raise ValueError(f"invalid selector syntax for match stage: {error}") from error
    return text


class MatchStage(Section):
    """`match`: stages for the lines that a LogQL selector takes, or their end."""

    selector: Annotated[str, AfterValidator(_selector), Field(default="", validate_default=True)]
    """A stream selector, and line filters: `{app="loki"} |= "error"`."""
    stages: tuple[StageConfig, ...] = ()
    """What such lines go through."""
    action: str = "keep"
    """`keep` sends such lines through `stages`, `drop` drops them."""
    pipeline_name: str | None = None
    """A name for the nested stages."""
    drop_counter_reason: Annotated[str | None, AfterValidator(lambda v: v or "match_stage")] = "match_stage"
    """The reason that dropped lines are counted under."""

    @model_validator(mode="after")
    def _consistent(self) -> "MatchStage":
        if self.pipeline_name == "":
            raise ValueError("match stage pipeline name can be omitted but cannot be an empty string")
        if self.action not in ("keep", "drop", ""):
            raise ValueError("match stage action should be 'keep' or 'drop'")
        if self.action != "drop" and not self.stages:
            raise ValueError("match stage requires at least one additional stage to be defined in '- stages'")
        if self.action == "drop" and self.stages:
            raise ValueError("match stage configured to drop entries cannot contains stages")
        return self


_NAMES: Final = {field.alias or name for name, field in StageConfig.model_fields.items()}
StageConfig.model_rebuild()

PipelineStages = tuple[StageConfig, ...]
"""The value of `pipeline_stages`."""
