"""A whole page at once."""

from collections.abc import Iterator

from pipeline.wire.errors import MalformedError
from pipeline.wire.exposition.delimited import Delimited
from pipeline.wire.exposition.delimited_read import DelimitedLines
from pipeline.wire.exposition.entries import Entry
from pipeline.wire.exposition.labels import UnterminatedError
from pipeline.wire.exposition.lines import End, Lines
from pipeline.wire.exposition.media import Format


def entries(body: bytes, page_format: Format) -> Iterator[Entry]:
    """Read a page entry by entry; raises MalformedError, of text with the line, where Prometheus would refuse it.

    Everything before the line that is wrong has been yielded by then.
    """
    if page_format is Format.PROTOBUF:
        reader = DelimitedLines()
        for some in Delimited().lines(body, len(body)):
            yield from map(reader.read, some)
        return
    lines = Lines(page_format)
    texts = body.split(b"\n")
    number = 0
    while number < len(texts):
        first, text = number, texts[number]
        if is_end_of_text(texts, number, page_format):
            return
        try:
            entry, number = read_joined(lines, texts, number)
        except MalformedError as error:
            raise MalformedError(f"line {first + 1}: {error}") from error
        if isinstance(entry, End):
            if page_format is Format.OPENMETRICS and texts[number:] not in ([], [b""]):
                raise MalformedError(f"line {number + 1}: unexpected data after # EOF")
            return
        if page_format is Format.OPENMETRICS and number == len(texts):
            raise MalformedError(f"line {first + 1}: data does not end with # EOF: {text[:80]!r} has no line feed")
        yield entry


def is_end_of_text(texts: list[bytes], number: int, page_format: Format) -> bool:
    """Tell whether only the emptiness behind the last line feed is left; raises MalformedError for OpenMetrics."""
    if number != len(texts) - 1 or texts[number]:
        return False
    if page_format is Format.OPENMETRICS:
        raise MalformedError(f"line {number + 1}: data does not end with # EOF")
    return True


def read_joined(lines: Lines, texts: list[bytes], number: int) -> tuple[Entry | End, int]:
    """Read the entry that begins with line `number`, with the lines its quotes reach into; return it and the next."""
    text = texts[number]
    while True:
        number += 1
        try:
            return lines.read(text), number
        except UnterminatedError:
            if number >= len(texts):
                raise
            text += b"\n" + texts[number]
