"""Which metadata to send: what is new or has changed at once, everything again about once a minute.

Prometheus' sender repeats all metadata every minute (metadata_config.send_interval), once for all targets that expose
the same; receivers keep it in memory only.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pipeline.wire.exposition import DelimitedLines, Format, Head, Help, Lines, MetricType, Type, Unit
from pipeline.wire.remote_write import encode_metadata

REPEAT_MS = 60_000
_MAX_REMEMBERED = 100_000
"""Entries; beyond this the oldest are forgotten, and so sent again a little early."""


@dataclass(slots=True)
class Family:
    """What a page says about one metric family."""

    type: MetricType = MetricType.UNKNOWN
    help: str = ""
    unit: str = ""


def families_of(lines: Iterable[bytes], page_format: Format) -> dict[str, Family]:
    """Collect what a page's comment lines say; they are known to be well-formed."""
    families: dict[str, Family] = {}
    reader = DelimitedLines() if page_format is Format.PROTOBUF else Lines(page_format)
    for line in lines:
        match reader.read(line):
            case Head(name, text, kind, unit):
                families[name] = Family(kind, text, unit)
            case Help(name, text):
                families.setdefault(name, Family()).help = text
            case Type(name, kind):
                families.setdefault(name, Family()).type = kind
            case Unit(name, unit):
                families.setdefault(name, Family()).unit = unit
            case _:
                pass
    return families


@dataclass(slots=True)
class MetadataBook:
    """What was sent when, for all targets of an agent: a thousand targets that expose the same send it once."""

    _sent_ms: dict[bytes, int] = field(default_factory=dict)

    def due(self, encoded: Iterable[bytes], now_ms: int) -> Iterator[bytes]:
        """Return those entries that are to be sent now, and note that they are."""
        for entry in encoded:
            sent_ms = self._sent_ms.get(entry)
            if sent_ms is not None and now_ms - sent_ms < REPEAT_MS:
                continue
            self._sent_ms.pop(entry, None)
            self._sent_ms[entry] = now_ms
            if len(self._sent_ms) > _MAX_REMEMBERED:
                del self._sent_ms[next(iter(self._sent_ms))]
            yield entry


def encode_families(families: dict[str, Family]) -> list[bytes]:
    """Encode metadata as fields of a WriteRequest."""
    return [encode_metadata(family.type, name, family.help, family.unit) for name, family in families.items()]
