"""One line of a page after the other, with the little state that carries over: the family's type, and the end."""

import re
from dataclasses import dataclass, field

from pipeline.wire.errors import MalformedError
from pipeline.wire.exposition.entries import Comment, Entry, Help, MetricType, PageExemplar, Sample, Type, Unit
from pipeline.wire.exposition.labels import (
    OPENMETRICS_GRAMMAR,
    TEXT_GRAMMAR,
    Pairs,
    UnterminatedError,
    decode,
    read_series,
    unescape,
)
from pipeline.wire.exposition.media import Format
from pipeline.wire.exposition.numbers import read_seconds_ms, read_value, show

__all__ = ["End", "Lines", "UnterminatedError"]


@dataclass(frozen=True, slots=True)
class End:
    """The page ends here: OpenMetrics' `# EOF`, or a zero byte where text would go on."""


_NAME = rb'("(?:[^\\"]|\\[^\n])*"|[a-zA-Z_:][a-zA-Z0-9_:]*)'
_TEXT_META = re.compile(rb"[ \t]*#[ \t]+(HELP|TYPE)[ \t]+").match
_TEXT_NAME = re.compile(_NAME).match
_TEXT_SUFFIX = re.compile(rb"[ \t]*([^{ \t\n]+)(?:[ \t]+([0-9]+))?[ \t]*").fullmatch
_OM_META = re.compile(rb"# (HELP|TYPE|UNIT) ").match
_OM_SUFFIX = re.compile(rb" ([^ \n]+)(?: (?!# \{)([^ \n]+))?(?: # \{)?").match
_OM_EXEMPLAR_SUFFIX = re.compile(rb" ([^ \n]+)(?: ([^ \n]+))?").fullmatch
_OM_EXEMPLAR_LABELS = re.compile(
    rb'(?:(?:[a-zA-Z_][a-zA-Z0-9_]*+|"(?:[^\\"\n]++|\\[^\n])*+")="(?:[^\\"\n\0]++|\\[^\n])*+"(?:,|(?=\})))*+\}'
).match
_OM_EXEMPLAR_PAIR = re.compile(
    rb'([a-zA-Z_][a-zA-Z0-9_]*+|"(?:[^\\"\n]++|\\[^\n])*+")="((?:[^\\"\n\0]++|\\[^\n])*+)"'
).findall

_TEXT_TYPES = {
    b"counter": MetricType.COUNTER,
    b"gauge": MetricType.GAUGE,
    b"histogram": MetricType.HISTOGRAM,
    b"summary": MetricType.SUMMARY,
    b"untyped": MetricType.UNKNOWN,
}
_OM_TYPES = {kind.name.lower().encode(): kind for kind in MetricType}
_MAX_INT64 = 2**63 - 1


@dataclass(slots=True)
class Lines:
    """Reads the lines of one page in order; `family` is the type that the last `# TYPE` gave.

    With `canonical_bounds` the labels `le` and `quantile` are written as Prometheus 3 does ("1" becomes "1.0"), without
    as the page has them, which is what Prometheus 2 stores.
    """

    format: Format
    family: MetricType = field(default=MetricType.UNKNOWN)
    canonical_bounds: bool = True

    def read(self, line: bytes) -> Entry | End:
        """Read one line, without its line feed; raises MalformedError.

        Raises UnterminatedError where a quoted string goes on in the next line: call again with both, a line feed
        between them.
        """
        if self.format is Format.OPENMETRICS:
            return self._read_openmetrics(line)
        return self._read_text(line)

    @property
    def _bounds_of(self) -> MetricType:
        """The type that decides which labels are bounds."""
        return self.family if self.canonical_bounds else MetricType.UNKNOWN

    def _read_text(self, line: bytes) -> Entry | End:
        bare = line.lstrip(b" \t")
        if not bare:
            return Comment()
        if bare[0] == 0x23:
            meta = _TEXT_META(line)
            return Comment() if meta is None else self._read_meta(line, meta, _TEXT_TYPES)
        if bare[0] == 0:
            return End()
        labels, end = read_series(line, TEXT_GRAMMAR, self._bounds_of)
        suffix = _TEXT_SUFFIX(line, end)
        if suffix is None:
            raise MalformedError(f"expected a value and perhaps a timestamp, got {show(line[end:])} in {show(line)}")
        timestamp_ms = None if suffix[2] is None else int(suffix[2])
        if timestamp_ms is not None and timestamp_ms > _MAX_INT64:
            raise MalformedError(f"timestamp out of range in {show(line)}")
        return Sample(line[:end], labels, read_value(suffix[1]), timestamp_ms)

    def _read_openmetrics(self, line: bytes) -> Entry | End:
        if line.startswith(b"#"):
            if line == b"# EOF":
                return End()
            meta = _OM_META(line)
            if meta is None:
                raise MalformedError(f"expected a valid start of a line, got {show(line)}")
            return self._read_meta(line, meta, _OM_TYPES)
        labels, end = read_series(line, OPENMETRICS_GRAMMAR, self._bounds_of)
        suffix = _OM_SUFFIX(line, end)
        if suffix is None:
            raise MalformedError(f"expected a value, got {show(line[end:])} in {show(line)}")
        value = read_value(suffix[1])
        timestamp_ms = None if suffix[2] is None else read_seconds_ms(suffix[2])
        exemplars: tuple[PageExemplar, ...] = ()
        if suffix[0].endswith(b" # {"):
            exemplars = (_read_exemplar(line, suffix.end()),)
        elif suffix.end() != len(line):
            raise MalformedError(f"unexpected text behind the sample in {show(line)}")
        return Sample(line[:end], labels, value, timestamp_ms, exemplars)

    def _read_meta(self, line: bytes, meta: re.Match[bytes], types: dict[bytes, MetricType]) -> Entry:
        found = _TEXT_NAME(line, meta.end())
        if found is None:
            if line[meta.end() : meta.end() + 1] == b'"':
                raise UnterminatedError(f"a quote without its end: {show(line)}")
            raise MalformedError(f"expected a metric name in {show(line)}")
        family = decode(found[1][1:-1] if found[1].startswith(b'"') else found[1], "metric name")
        text = line[found.end() + 1 :]
        if self.format is Format.OPENMETRICS and line[found.end() : found.end() + 1] != b" ":
            raise MalformedError(f"expected text in {show(line)}")
        if self.format is Format.TEXT and not line[found.end() :].strip(b" \t"):
            text = b""
        if meta[1] == b"HELP":
            return Help(family, self._unescape_help(decode(text, "help text")))
        if meta[1] == b"UNIT":
            return _read_unit(family, decode(text, "unit"))
        kind = types.get(text)
        if kind is None:
            raise MalformedError(f"invalid metric type {show(text)}")
        self.family = kind
        return Type(family, kind)

    def _unescape_help(self, text: str) -> str:
        if self.format is Format.OPENMETRICS or "\\" not in text:
            return unescape(text)
        return re.sub(r"\\[\\n]", lambda found: "\\" if found[0] == "\\\\" else "\n", text)


def _read_unit(family: str, unit: str) -> Unit:
    if unit and not family.endswith("_" + unit):
        raise MalformedError(f"unit {unit!r} is not the end of metric {family!r}")
    return Unit(family, unit)


def _read_exemplar(line: bytes, start: int) -> PageExemplar:
    """Read what follows ` # {`; exemplar labels keep their backslashes, as in Prometheus."""
    labels = _OM_EXEMPLAR_LABELS(line, start)
    if labels is None:
        raise MalformedError(f"invalid exemplar labels {show(line[start:])} in {show(line)}")
    suffix = _OM_EXEMPLAR_SUFFIX(line, labels.end())
    if suffix is None:
        raise MalformedError(f"expected an exemplar's value and perhaps timestamp in {show(line)}")
    pairs: Pairs = []
    for name, value in _OM_EXEMPLAR_PAIR(line, start, labels.end()):
        bare = name[1:-1] if name.startswith(b'"') else name
        pairs.append((decode(bare, "label name"), decode(value, "label value")))
    timestamp_ms = None if suffix[2] is None else read_seconds_ms(suffix[2])
    return PageExemplar(tuple(sorted(pairs)), read_value(suffix[1]), timestamp_ms)
