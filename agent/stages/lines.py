"""Blocks of lines as encoded entries, in one pass: as container runtimes write them, and as they are.

`walk_cri` and `walk_docker` take lines of a block, from `at` on, until one that is not as nearly all are: the stage
itself then says what becomes of that one. `held` has a bit for each stream (1 stdout, 2 stderr) that is not to be read,
since a part of a line is held back of it. `metadata` is encoded structured metadata, behind every line of a stream.
Where labels make one stream of both, they are `joined`, and all entries are with stdout's.

`split_cri` goes as far, but gives lines on by themselves, where stages look at each. `walk_plain` takes all lines of a
block; the first has the time `time_ns`, each next one a nanosecond more.

Blocks are UTF-8. `_lines` is the same, compiled; both pass the same tests.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

from agent.stages.encode import encode_at
from agent.stages.lines_plain import split_cri, walk_cri, walk_docker, walk_plain

Part = tuple[bytes, int, int, int]
"""Encoded entries of one stream: bytes, how many, the earliest and the latest time (Unix nanoseconds)."""
Walk = Callable[[bytes, int, int, bytes, bytes, bool], tuple[int, Part | None, Part | None, int, int]]
"""`walk(block, at, held, metadata of stdout, of stderr, joined)`.

It returns where it stopped, what it made of each stream, and the time of each stream's last line, -1 where there is
none.
"""
Split = Callable[[bytes, int, int], tuple[int, list[tuple[int, int, str, str]]]]
"""`split(block, at, held)`: where it stopped, and each line's time, stream (0 stdout, 1 stderr), time as text, text."""
WalkPlain = Callable[[bytes, int, bytes], Part | None]
Encode = Callable[[int, bytes, bytes], bytes]
"""`encode(time, line, metadata)`: one entry; the time must fit into 64 bits as nanoseconds."""


class Walks(NamedTuple):
    """One implementation."""

    cri: Walk
    docker: Walk
    split: Split
    plain: WalkPlain
    encode: Encode


PLAIN: Final = Walks(walk_cri, walk_docker, split_cri, walk_plain, encode_at)
ACCELERATED: Walks | None = None
with suppress(ImportError):  # no compiler where this was installed
    from agent.stages import _lines

    ACCELERATED = Walks(_lines.walk_cri, _lines.walk_docker, _lines.split_cri, _lines.walk_plain, _lines.encode_at)


def walks(accelerated: bool | None = None) -> Walks:
    """Return the compiled implementation where it was built, unless `accelerated` says which; raises ValueError."""
    if accelerated is False or (accelerated is None and ACCELERATED is None):
        return PLAIN
    if ACCELERATED is None:
        raise ValueError("the accelerator was not built: build it with `python setup.py build_ext --inplace`")
    return ACCELERATED
