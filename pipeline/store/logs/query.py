"""What is asked of the store of logs, and the shapes of its answers. Times are Unix nanoseconds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.store.logs.entry import MAX_NS
from pipeline.store.logs.filters import TextFilter
from pipeline.store.selector import Matcher
from pipeline.wire.loki import Pairs
from pipeline.wire.remote_write import Labels

Place = tuple[int, int]
"""A time and a number: where an entry stands among all."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which entries: of streams that satisfy `matchers`, from `start_ns` to before `end_ns`, with the text and level.

    `levels` are names in LEVELS; none means any.
    """

    matchers: tuple[Matcher, ...] = ()
    text: TextFilter = field(default_factory=TextFilter)
    start_ns: int = -MAX_NS
    end_ns: int = MAX_NS + 1
    levels: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Found:
    """One entry that was found; `level` is a name in LEVELS."""

    time_ns: int
    seq: int
    line: str
    labels: Labels
    metadata: Pairs
    level: str


@dataclass(frozen=True, slots=True)
class Page:
    """Entries in order, and from where to go on; None where there are no more.

    `reached_ns` says how far the search came where its time was up before the page was full. `last_seq` is the number
    from which `tail` goes on.
    """

    entries: Sequence[Found]
    next: Place | None
    reached_ns: int | None
    last_seq: int


@dataclass(frozen=True, slots=True)
class Tail:
    """The newest of what came since, as it came; `skipped` older ones are left out."""

    entries: Sequence[Found]
    skipped: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Entries by step (Unix ns, on multiples of its width) and by place in LEVELS; `reached_ns` as in `Page`."""

    step_ns: int
    steps: dict[int, list[int]]
    reached_ns: int | None


@dataclass(frozen=True, slots=True)
class Summary:
    """How much the store holds; `earliest_ns` is the oldest time in its chunks, None while there is none."""

    streams: int
    entries: int
    stored_bytes: int
    earliest_ns: int | None
