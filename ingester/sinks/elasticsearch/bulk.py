"""Which documents go into one bulk request."""

from collections.abc import Iterator, Sequence


def batches(documents: Sequence[bytes], numbers: Sequence[int], max_bytes: int) -> Iterator[Sequence[int]]:
    """Cut `numbers` into consecutive runs whose documents have at most `max_bytes`, or are one."""
    start, size = 0, 0
    for at, number in enumerate(numbers):
        size += len(documents[number])
        if size > max_bytes and at > start:
            yield numbers[start:at]
            start, size = at, len(documents[number])
    if start < len(numbers):
        yield numbers[start:]
