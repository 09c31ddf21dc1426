"""What the components know of tracing: spans that are made, noted on, and ended. The ones here are not traced."""

from collections.abc import Sequence
from types import TracebackType
from typing import Final

Attribute = str | int | float | bool


class Span:
    """One piece of work. This one is not traced: nothing of it is kept, and all of it costs next to nothing.

    Ended by leaving its `with` block, or by `end` where the work begins and ends in different places.
    """

    __slots__ = ()

    @property
    def traceparent(self) -> str:
        """What is passed on to those who go on with the work (W3C Trace Context); empty where it is not traced."""
        return ""

    def note(self, **attributes: Attribute) -> None:
        """Add attributes, before the end."""

    def child(self, name: str, /, **attributes: Attribute) -> "Span":
        """Begin a part of this work; it is traced if this is."""
        return self

    def end(self, error: str = "") -> None:
        """End the work, with the reason where it failed; a second end is of no effect."""

    def __enter__(self) -> "Span":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self.end(f"{kind.__name__}: {error}" if str(error) else kind.__name__)
        else:
            self.end()


NO_SPAN: Final = Span()


class Tracing:
    """Makes spans, and is a `pipeline.service.Resource`. This one makes none: tracing is off."""

    __slots__ = ()

    @property
    def on(self) -> bool:
        """Whether any span may be kept; hot paths ask once a batch, before they gather what a span would say."""
        return False

    def span(self, name: str, parents: Sequence[str] = (), /, **attributes: Attribute) -> Span:
        """Begin a piece of work; used on one event loop.

        `parents` are traceparents: the span is a child of the first that is kept, a few of the others are linked.
        Without any that is one, a trace begins here, if its share is not used up. Those that are none are left out.
        """
        return NO_SPAN

    async def start(self) -> None:
        """Begin to send spans."""

    async def close(self) -> None:
        """Send what is left, within a few seconds; raises nothing."""


OFF: Final = Tracing()
