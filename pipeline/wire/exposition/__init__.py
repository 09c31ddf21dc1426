"""The text formats that exporters speak, Prometheus' 0.0.4 and OpenMetrics 1.0, read the way Prometheus 3 reads them.

`entries` reads a whole page; `Lines` reads line by line, for readers that know most lines already. A page that breaks
the format raises MalformedError with its line. Sources: Prometheus documentation, "Exposition formats"; OpenMetrics
1.0.0; and, where these leave room or are not followed, what prometheus/model/textparse does.
"""

from pipeline.wire.exposition.entries import Comment, Entry, Help, MetricType, PageExemplar, Sample, Type, Unit
from pipeline.wire.exposition.lines import End, Lines, UnterminatedError
from pipeline.wire.exposition.media import Format, choose_format
from pipeline.wire.exposition.numbers import read_value
from pipeline.wire.exposition.page import entries

__all__ = [
    "Comment",
    "End",
    "Entry",
    "Format",
    "Help",
    "Lines",
    "MetricType",
    "PageExemplar",
    "Sample",
    "Type",
    "Unit",
    "UnterminatedError",
    "choose_format",
    "entries",
    "read_value",
]
