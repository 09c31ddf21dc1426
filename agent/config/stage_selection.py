"""The sections of `pipeline_stages` that decide which lines go on, as what, and for whom.

Keys, defaults and the words of errors are promtail's (clients/pkg/logentry/stages).
"""

from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from agent.config.stage_kinds import ByteSize, duration, regex, required
from pipeline.config import Section


def _sources(value: Any) -> Any:
    if value is None or isinstance(value, list | tuple):
        return value
    if isinstance(value, str):
        return (value,)
    raise ValueError("drop stage source invalid type should be string or list of strings")


class DropStage(Section):
    """`drop`: lines go that meet all of its conditions."""

    source: Annotated[tuple[str, ...] | None, BeforeValidator(_sources)] = None
    """Extracted values; alone they have to be there, with `value` or `expression` their text is compared."""
    value: str | None = None
    """What the text of the sources has to be."""
    separator: str | None = None
    """What stands between the sources' texts; `;` where left out."""
    expression: Annotated[str, regex("drop stage regex compilation error")] | None = None
    """An RE2 expression that is found in the sources' text, or in the line where there are none."""
    older_than: (
        Annotated[int, duration("drop stage invalid duration, {value} cannot be converted to a duration: {error}")]
        | None
    ) = None
    """The line's time is longer ago than this (`1h30m`)."""
    longer_than: ByteSize | None = None
    """The line has more bytes than this."""
    drop_counter_reason: str | None = None
    """The reason that dropped lines are counted under; `drop_stage` where left out."""

    @model_validator(mode="after")
    def _consistent(self) -> "DropStage":
        if self.value is not None and self.source is None:
            raise ValueError("drop stage config must contain `source` if `value` is specified")
        if (self.source, self.expression, self.older_than, self.longer_than) == (None,) * 4:
            raise ValueError(
                "drop stage config must contain at least one of `source`, `expression`, `older_than` or `longer_than`"
            )
        if self.value is not None and self.expression is not None:
            raise ValueError(
                "drop stage config error, `value` and `expression` cannot both be defined at the same time."
            )
        return self


class SamplingStage(Section):
    """`sampling`: a share of the lines is kept, the rest dropped."""

    rate: float = 0.0
    """The share that is kept, from 0 to 1."""
    drop_counter_reason: str | None = None
    """The reason that dropped lines are counted under; `sampling_stage` where left out."""

    @model_validator(mode="after")
    def _a_share(self) -> "SamplingStage":
        if not 0.0 <= self.rate <= 1.0:
            raise ValueError(
                f"sampling stage failed to parse rate,Sampling Rate must be between 0.0 and 1.0, received {self.rate:f}"
            )
        return self


MIN_DISTINCT_LABELS = 10_000


class LimitStage(Section):
    """`limit`: no more lines than a rate allows; all of the job's sources share it."""

    rate: float = 0.0
    """Lines a second."""
    burst: int = 0
    """How many lines may come at once."""
    drop: bool = False
    """Drop what is too much; else reading waits."""
    by_label_name: str = ""
    """A rate for each value of this label; lines without it are not limited."""
    max_distinct_labels: Annotated[int, AfterValidator(partial(max, MIN_DISTINCT_LABELS))] = MIN_DISTINCT_LABELS
    """Of how many values rates are kept, 10000 at the least; beyond, those not seen for longest are forgotten."""

    @model_validator(mode="after")
    def _consistent(self) -> "LimitStage":
        if not (self.rate > 0 and self.burst > 0):
            raise ValueError("limit stage failed to parse rate or burst")
        if self.by_label_name and not self.drop:
            raise ValueError("When ratelimiting by label, drop must be true")
        return self


class MultilineStage(Section):
    """`multiline`: a line that begins an entry, and those behind it, become one."""

    firstline: Annotated[
        str,
        regex("multiline stage first line regex compilation error"),
        required("multiline stage config must define `firstline` regular expression"),
        Field(default="", validate_default=True),
    ]
    """An RE2 expression that a first line matches."""
    max_lines: Annotated[int, Field(ge=0)] = 128
    """With so many lines an entry is complete; 128 where left out, 0 for as many as come."""
    max_wait_time: Annotated[int, duration("multiline stage `max_wait_time` parse error: {error}")] = 3 * 10**9
    """An entry is complete when nothing came for so long; `3s` where left out."""


class TenantStage(Section):
    """`tenant`: whose the line is; exactly one of its keys."""

    label: str = ""
    """The label that names the tenant."""
    source: str = ""
    """The extracted value that names the tenant."""
    value: str = ""
    """The tenant."""

    @model_validator(mode="after")
    def _one_of_them(self) -> "TenantStage":
        given = [key for key in (self.label, self.source, self.value) if key]
        if not given:
            raise ValueError("label, source or value config are required")
        if len(given) > 1:
            raise ValueError(
                "label, source and value are mutually exclusive: you should set source, value or label but not all"
            )
        return self
