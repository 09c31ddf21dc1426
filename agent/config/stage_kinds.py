"""The sections of `pipeline_stages` that take lines apart, and write lines, times and values.

Keys, defaults and the words of errors are promtail's (clients/pkg/logentry/stages).
"""

from functools import partial
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from agent.stages.lang.civil import LOCAL
from agent.stages.lang.layout import compile_layout
from agent.stages.lang.paths import compile_path
from agent.stages.lang.regex import compile_regex
from agent.stages.template.parse import compile_template
from pipeline.config import Section, parse_bytes
from pipeline.go_duration import parse_go_duration_ns


def _regex(message: str, pattern: str) -> str:
    try:
        compile_regex(pattern)
    except ValueError as error:
        raise ValueError(f"{message}: {error}") from error
    return pattern


def regex(message: str) -> Any:
    """Return what refuses an expression that RE2 does not take, in these words."""
    return AfterValidator(partial(_regex, message))


def _required(message: str, value: Any) -> Any:
    if not value:
        raise ValueError(message)
    return value


def required(message: str) -> Any:
    """Return what refuses a key that is left out, null or empty, in these words."""
    return BeforeValidator(partial(_required, message))


def _duration(message: str, value: object) -> object:
    try:
        return parse_go_duration_ns(str(value))
    except ValueError as error:
        raise ValueError(message.format(value=value, error=error)) from error


def duration(message: str) -> Any:
    """Return what reads a Go duration (`1h30m`) in nanoseconds; `message` may name `{value}` and `{error}`."""
    return BeforeValidator(partial(_duration, message))


def _size(value: object) -> int:
    return parse_bytes(value.upper() if isinstance(value, str) else value)


ByteSize = Annotated[int, BeforeValidator(_size)]
"""A size as promtail reads it: `10KB` and `10kb` are 10 times 1024 bytes."""
Source = Annotated[str | None, AfterValidator(lambda v: v if v is None else _required("empty source", v))]
Expression = Annotated[
    str,
    regex("could not compile regular expression"),
    required("expression is required"),
    Field(default="", validate_default=True),
]


class DockerStage(Section):
    """`docker`: lines as Docker's json-file driver writes them."""


class CriStage(Section):
    """`cri`: lines as container runtimes write them for Kubernetes."""

    max_partial_lines: Annotated[int, Field(ge=0), AfterValidator(lambda v: v or 100)] = 100
    """How many streams may have a line whose end is to come, 100 where left out; with more, all go on as they are."""
    max_partial_line_size: ByteSize = 0
    """Where lines that are put together again are cut, in bytes, if `max_partial_line_size_truncate` says so."""
    max_partial_line_size_truncate: bool = False
    """Cut lines that are put together again."""


class RegexStage(Section):
    """`regex`: what an expression's named groups match becomes extracted values."""

    expression: Expression
    """An RE2 expression; its named groups are taken."""
    source: Source = None
    """The extracted value that is searched; left out, the line."""


def _paths(expressions: dict[str, str | None]) -> dict[str, str | None]:
    for name, path in expressions.items():
        try:
            compile_path(path or name)
        except ValueError as error:
            raise ValueError(f"could not compile JMES expression: {error}") from error
    return expressions


class JsonStage(Section):
    """`json`: what JMESPath expressions find in a JSON object becomes extracted values."""

    expressions: Annotated[
        dict[str, str | None],
        AfterValidator(_paths),
        required("JMES expression is required"),
        Field(default_factory=dict, validate_default=True),
    ]
    """Names of extracted values, and the JMESPath expression of each; an empty one is the name itself."""
    source: Source = None
    """The extracted value that is read; left out, the line."""
    drop_malformed: bool = False
    """Drop lines that are no JSON object."""


class LogfmtStage(Section):
    """`logfmt`: values of `key=value` pairs become extracted values."""

    mapping: Annotated[
        dict[str, str | None],
        required("logfmt mapping is required"),
        Field(default_factory=dict, validate_default=True),
    ]
    """Names of extracted values, and the key of each; an empty one is the name itself."""
    source: Source = None
    """The extracted value that is read; left out, the line."""


def _template(text: str) -> str:
    compile_template(text)
    return text


Template = Annotated[str, AfterValidator(_template)]


class TemplateStage(Section):
    """`template`: a Go template writes an extracted value."""

    source: Annotated[str, required("template source value is required"), Field(default="", validate_default=True)]
    """The extracted value that is written; the template sees it as `.Value`."""
    template: Template = ""
    """The Go template; `.Entry` is the line, `.name` an extracted value. Where nothing comes of it, the value goes."""


class ReplaceStage(Section):
    """`replace`: what an expression's groups match is written anew."""

    expression: Expression
    """An RE2 expression; what its groups match is replaced, all else stays."""
    source: Annotated[
        str | None, AfterValidator(lambda v: v if v is None else _required("empty source in replace stage", v))
    ] = None
    """The extracted value that is changed; left out, the line."""
    replace: Template = ""
    """A Go template of what is written in a group's place; `.Value` is what the group matched."""


class OutputStage(Section):
    """`output`: an extracted value becomes the line."""

    source: Annotated[
        str,
        required("output source value is required if output is specified"),
        Field(default="", validate_default=True),
    ]
    """The extracted value."""


class PackStage(Section):
    """`pack`: labels and extracted values are put into the line, as JSON."""

    labels: tuple[str, ...] = ()
    """What is put into the line; labels among them are labels no longer."""
    ingest_timestamp: bool = True
    """Take the time when the line was read as its time, since it leaves its stream for another; true where left out."""


class DecolorizeStage(Section):
    """`decolorize`: ANSI colour codes are taken out of the line."""


def _location(name: str | None) -> str | None:
    if name and name != LOCAL:
        try:
            ZoneInfo(name)
        except (KeyError, OSError, ValueError) as error:
            raise ValueError(f"invalid location specified: unknown time zone {name}") from error
    return name


class TimestampStage(Section):
    """`timestamp`: an extracted value becomes the line's time."""

    source: Annotated[
        str,
        required("timestamp source value is required if timestamp is specified"),
        Field(default="", validate_default=True),
    ]
    """The extracted value."""
    format: Annotated[str, required("timestamp format is required"), Field(default="", validate_default=True)]
    """A Go layout, its name (`RFC3339Nano`), or `Unix`, `UnixMs`, `UnixUs`, `UnixNs`."""
    fallback_formats: tuple[str, ...] = ()
    """What is tried where `format` does not fit."""
    location: Annotated[str | None, AfterValidator(_location)] = None
    """The time zone (IANA, or `Local` for the machine's) of times that name none; left out, UTC."""
    action_on_failure: str = "fudge"
    """What a line without a usable time gets: `fudge` (where left out) the time before and 1 ns, `skip` its own."""

    @model_validator(mode="after")
    def _usable(self) -> "TimestampStage":
        if self.action_on_failure not in ("fudge", "skip"):
            raise ValueError("invalid action on failure (supported values are [skip fudge])")
        for layout in (self.format, *self.fallback_formats):
            compile_layout(layout, self.location)
        return self
