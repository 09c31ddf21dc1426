"""What a search looks for in lines: pure conditions, and the words of the index that a chunk must have for them.

The index holds trigrams, so that any part of an identifier, an address or a path is found, not only whole words. It
only says which chunks may hold a line; the conditions here decide.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pipeline.regex import compile_re2
from pipeline.store.logs.literals import literals
from pipeline.store.selector import SelectorError
from pipeline.wire.loki import Pairs

Test = Callable[[str], bool]
_MOST_TRIGRAMS: Final = 48


@dataclass(frozen=True, slots=True)
class Contains:
    """A line holds this text, in this case or (`fold`) in any; or it does not (`negated`)."""

    text: str
    fold: bool = True
    negated: bool = False

    def test(self) -> Test:
        """Return the condition on a text."""
        wanted, yes, fold = (self.text.casefold() if self.fold else self.text), not self.negated, self.fold
        # Folding takes each character by itself: what a text holds, its folded form holds folded.
        return lambda text: (wanted in (text.casefold() if fold else text)) is yes

    def needles(self) -> tuple[str, ...]:
        """Return what a text that holds it has, folded."""
        return (self.text.casefold(),)


@dataclass(frozen=True, slots=True)
class Matches:
    """A line holds what a regular expression (RE2's syntax, anywhere in the line) matches; or it does not."""

    pattern: str
    negated: bool = False

    def test(self) -> Test:
        """Return the condition on a text; raises SelectorError for a broken expression."""
        compiled, yes = _compile(self.pattern), not self.negated
        # RE2 takes bytes as they are, and text at twice the cost.
        return lambda text: (compiled.search(text.encode()) is not None) is yes

    def needles(self) -> tuple[str, ...]:
        """Return what every text that it matches has, folded."""
        return tuple(text.casefold() for text in literals(self.pattern))


@dataclass(frozen=True, slots=True)
class TextFilter:
    """Conditions that all hold. With `metadata` they look into the values of structured metadata, too.

    A negated one then holds where neither the line nor any of those values has it.
    """

    parts: tuple[Contains | Matches, ...] = ()
    metadata: bool = False

    def test(self) -> Callable[[str, Pairs], bool]:
        """Return the condition on a line and its metadata; raises SelectorError for a broken expression."""
        tests = [(part.test(), all if part.negated else any) for part in self.parts]
        if not self.metadata:
            return lambda line, _: all(test(line) for test, _ in tests)

        def look(line: str, metadata: Pairs) -> bool:
            if not metadata:
                return all(test(line) for test, _ in tests)
            texts = (line, *(value for _, value in metadata))
            return all(join(map(test, texts)) for test, join in tests)

        return look

    def needles(self) -> tuple[str, ...]:
        """Return texts, folded, that a chunk has where any of its lines may match."""
        return tuple(text for part in self.parts if not part.negated for text in part.needles())

    def index_query(self) -> str | None:
        """Return FTS5's expression for the chunks that may match; None where the index cannot tell."""
        trigrams: dict[str, None] = {}
        for needle in self.needles():
            trigrams.update(dict.fromkeys(needle[n : n + 3] for n in range(len(needle) - 2)))
        usable = [trigram for trigram in trigrams if _is_indexed(trigram)]
        step = -(-len(usable) // _MOST_TRIGRAMS) or 1
        return " ".join('"' + trigram.replace('"', '""') + '"' for trigram in usable[::step]) or None


_TERM: Final = re.compile(r'(?:(-)(?=[^-\s]))?(?:(~?)"((?:[^"\\]|\\.)*)"?|(\S+))')


def parse_text(text: str) -> TextFilter:
    r"""Read what somebody types: `word "a phrase" -without ~"reg(ex|ular)"`, which all must hold, in any case.

    What begins with two dashes is looked for as it is: people search for flags. A backslash in quotes stands before a
    quote or itself; others are as they are.
    """
    parts: list[Contains | Matches] = []
    for sign, regex, quoted, bare in _TERM.findall(text):
        negated = bool(sign)
        if regex:
            parts.append(Matches(f"(?i){quoted.replace(chr(92) + chr(34), chr(34))}", negated))
        elif quoted or bare:
            parts.append(Contains(re.sub(r'\\(["\\])', r"\1", quoted) if quoted else bare, negated=negated))
    found = TextFilter(tuple(parts), metadata=True)
    found.test()
    return found


def _is_indexed(trigram: str) -> bool:
    # What is no character (half of a surrogate pair) is in no line either; a NUL is not in the index.
    return "\0" not in trigram and not any("\ud800" <= character <= "\udfff" for character in trigram)


def _compile(pattern: str) -> Any:
    try:
        return compile_re2(pattern.encode())
    except ValueError as error:  # UnicodeEncodeError among them
        raise SelectorError(f"not a regular expression of RE2: {pattern!r}: {error}") from error


def may_hold(folded: str, needles: Sequence[str]) -> bool:
    """Return whether a chunk's text, folded, holds every needle: whether its lines are worth a look one by one."""
    return all(needle in folded for needle in needles)
