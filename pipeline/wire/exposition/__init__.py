"""The formats that exporters speak, read the way Prometheus 3 reads them: text 0.0.4, OpenMetrics 1.0, protobuf.

`entries` reads a whole page; `Lines` reads line by line, for readers that know most lines already, and `Delimited`
takes protobuf pages apart into such lines, which `DelimitedLines` reads. A page that breaks the format raises
MalformedError, of text with its line. Sources: Prometheus documentation, "Exposition formats"; OpenMetrics 1.0.0;
client_model, metrics.proto; and, where these leave room or are not followed, what prometheus/model/textparse does.
"""

from pipeline.wire.exposition.delimited import Delimited
from pipeline.wire.exposition.delimited_read import DelimitedLines
from pipeline.wire.exposition.entries import Comment, Entry, Head, Help, MetricType, PageExemplar, Sample, Type, Unit
from pipeline.wire.exposition.lines import End, Lines, UnterminatedError
from pipeline.wire.exposition.media import Format, choose_format
from pipeline.wire.exposition.numbers import read_value
from pipeline.wire.exposition.page import entries

__all__ = [
    "Comment",
    "Delimited",
    "DelimitedLines",
    "End",
    "Entry",
    "Format",
    "Head",
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
