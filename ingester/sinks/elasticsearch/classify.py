"""What a bulk request's answer means: `judge` is a pure function from the answer to a verdict on each document.

Sources: Elasticsearch 8, "Bulk API" (200 with `errors`, each item a status of its own; 409 for a `create` of an id that
is there); its sources: rest/RestStatus, action/bulk, cluster/block (a read-only index is 403, one at the flood stage
429), index/mapper (`document_parsing_exception` is 400). OpenSearch 2 says
`mapper_parsing_exception`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from pipeline.delivery import Rejected, Retry, TooLarge
from pipeline.send.classify import classify

FILTER: Final = "errors,items.*.status,items.*.error"
"""What is wanted of an answer (`filter_path`): a tenth of what would come otherwise."""

_MAX_REASON_CHARACTERS: Final = 1000
_CONFLICT: Final = 409

# With 400, and nevertheless of the index or the cluster rather than of the document.
_OF_THE_INDEX: Final = frozenset({"index_closed_exception", "validation_exception", "invalid_index_name_exception"})
_INDEX_WORDS: Final = re.compile(
    r"no write index is defined|pipeline with id \[.*\] does not exist|number of documents in the (index|shard) cannot"
)


class _Error(msgspec.Struct):
    type: str = ""
    reason: str | None = None
    caused_by: "_Error | None" = None

    def words(self) -> str:
        parts, error = list[str](), self
        while len(parts) < 5:
            parts.append(f"{error.type}: {error.reason}" if error.reason else error.type)
            if error.caused_by is None:
                break
            error = error.caused_by
        return "; ".join(parts)[:_MAX_REASON_CHARACTERS]


class _Result(msgspec.Struct):
    status: int
    error: _Error | None = None


class _Whole(msgspec.Struct):
    error: _Error


class _Bulk(msgspec.Struct):
    items: list[dict[str, _Result]]


_decode: Final = msgspec.json.Decoder(_Bulk).decode


@dataclass(frozen=True, slots=True)
class Pressed:
    """The server refuses the request as a whole because it has too much to do: send less at once, later."""

    retry: Retry


@dataclass(frozen=True, slots=True)
class Refused:
    """A document that the store refuses for good, in its words."""

    number: int
    status: int
    kind: str
    reason: str


@dataclass(slots=True)
class Verdict:
    """What became of a bulk request's documents, by their numbers; all others are stored.

    `trouble` says what keeps those that are `open`: they are to be sent again.
    """

    open: list[int] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    trouble: Retry | None = None


def judge(
    status: int, headers: Mapping[str, str], body: bytes, numbers: Sequence[int], *, now_s: float
) -> Verdict | Pressed | Retry | TooLarge:
    """Judge the answer to a bulk request of the documents `numbers`, in their order.

    A verdict where the server has looked at each of them; otherwise it has stored none, or does not say.
    """
    if not 200 <= status < 300:
        outcome = classify(status, headers, body, now_s=now_s)
        if isinstance(outcome, Rejected):
            # Nothing in a document can make the server refuse all of them: what it refuses is the request.
            return Retry(outcome.reason, alarm=True)
        assert isinstance(outcome, Retry | TooLarge)
        return Pressed(_without_numbers(outcome, body)) if status == 429 and isinstance(outcome, Retry) else outcome
    try:
        results = [result for item in _decode(body).items for result in item.values()]
    except msgspec.MsgspecError:
        return Retry("the answer is not that of a bulk request: is it an Elasticsearch or OpenSearch?", alarm=True)
    if len(results) != len(numbers):
        return Retry(f"the answer has {len(results)} items, not {len(numbers)}", alarm=True)
    verdict = Verdict()
    for number, result in zip(numbers, results, strict=True):
        if not (200 <= result.status < 300 or result.status == _CONFLICT):
            _judge_item(verdict, number, result)
    return verdict


def _without_numbers(retry: Retry, body: bytes) -> Retry:
    """Leave out of the server's words what is another number with every try, and would be told every time."""
    try:
        kind = msgspec.json.decode(body, type=_Whole).error.type
    except msgspec.MsgspecError:
        return retry
    return replace(retry, reason=f"HTTP 429: {kind}")


def _judge_item(verdict: Verdict, number: int, result: _Result) -> None:
    status, error = result.status, result.error or _Error()
    words = f"HTTP {status}: {error.words()}"
    blocked = error.type == "cluster_block_exception"
    of_the_index = error.type in _OF_THE_INDEX or _INDEX_WORDS.search(words) is not None
    if status in (400, 413, 422) and not of_the_index:
        verdict.refused.append(Refused(number, status, error.type, words))
        return
    verdict.open.append(number)
    if status == 429 and not blocked:
        # As in `_without_numbers`.
        words = f"HTTP {status}: {error.type}"
    waits = status in (429, 503) and not blocked
    if verdict.trouble is None or (not waits and not verdict.trouble.alarm):
        verdict.trouble = Retry(words, alarm=not waits)
