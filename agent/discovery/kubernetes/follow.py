"""Following a kind of objects: listed in pages, then watched from there, whatever happens to the API server.

What is known is never forgotten for want of an answer: only a complete list or an event says that an object is gone.
Source: Kubernetes documentation, "API Concepts", "Efficient detection of changes" and "410 Gone responses".
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import msgspec

from agent.discovery.kubernetes.api import ApiServer
from agent.discovery.kubernetes.backoff import Backoff
from agent.discovery.kubernetes.errors import GoneError, UnavailableError, action_of, error_of
from agent.discovery.kubernetes.resources import Resource
from agent.discovery.kubernetes.shapes import Head, ObjectList
from pipeline.errors import PermanentError, PipelineError

SHORT_S: Final = 1.0
"""A watch that ends sooner, with nothing said, was none."""
PAGE_OBJECTS: Final = 250
"""A page of pods is then some MB, which holds the loop no longer than a scrape may wait."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects: a resource, of one namespace (of all if empty), by selectors."""

    resource: Resource
    namespace: str = ""
    label_selector: str = ""
    field_selector: str = ""

    @property
    def params(self) -> dict[str, str]:
        """The selectors as parameters of a request."""
        given = {"labelSelector": self.label_selector, "fieldSelector": self.field_selector}
        return {name: value for name, value in given.items() if value}

    def __str__(self) -> str:
        where = f" in namespace {self.namespace}" if self.namespace else ""
        by = "".join(f", {name}={value}" for name, value in self.params.items())
        return f"{self.resource}{where}{by}"


@dataclass(frozen=True, slots=True)
class Changes(Generic[T_co]):
    """What came or changed, and None for what went, by key (`namespace/name`, or `name` where there are no namespaces).

    `whole`: these are all objects that there are, beside those that are `unread`; any other is gone. Empty changes say
    that the watch works (again). `unread` are objects that could not be read, of which nothing new is known.
    """

    objects: Mapping[str, T_co | None]
    whole: bool = False
    unread: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Failed:
    """A try that failed; what was said before stays, and the next try follows."""

    error: PipelineError


async def follow(
    server: ApiServer,
    selection: Selection,
    keep: Callable[[Any], T],
    shape: Any = Any,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    jitter: Callable[[], float] = random.random,
) -> AsyncGenerator[Changes[T] | Failed, None]:
    """Yield what happens to the objects, for ever; ends by cancellation or `aclose` only.

    Each object is decoded as `shape` (a msgspec type, of which all else is passed over; plain values if left out), and
    `keep` makes of it what is needed. One that cannot be read so (KeyError, TypeError, ValueError, AttributeError) is
    told as Failed, and what was known of it stays.
    """
    reader = _Reader(selection, msgspec.json.Decoder(shape), keep)
    version, pages, backoff = "", True, Backoff(server.timing, jitter)
    while True:
        try:
            if not version:
                batch = await _list(server, reader, pages)
                version, pages = batch.version, True
                for happened in batch.happened(whole=True):
                    yield happened
            lives_from_s = asyncio.get_running_loop().time() + SHORT_S
            async with aclosing(_watch(server, reader, version)) as watch:
                async for batch in watch:
                    if batch.version != version:
                        backoff.reset()
                        lives_from_s = 0.0
                    version = batch.version
                    for happened in batch.happened():
                        yield happened
            if asyncio.get_running_loop().time() < lives_from_s:
                raise UnavailableError(f"cannot watch {selection}: each watch ends at once")
        except GoneError as error:
            # Versions that run out while pages are read: the next list comes whole.
            pages = bool(version)
            version = ""
            if not backoff.is_first_gone():
                yield Failed(error)
                await sleep(backoff.after(error))
        except PipelineError as error:
            yield Failed(error)
            await sleep(backoff.after(error))


class _Reader(Generic[T]):
    """How the objects of a selection are read."""

    def __init__(self, selection: Selection, decoder: msgspec.json.Decoder[Any], keep: Callable[[Any], T]) -> None:
        self.selection = selection
        self.path = selection.resource.path(selection.namespace)
        self._decoder = decoder
        self._keep = keep

    def read(self, raw: msgspec.Raw) -> T:
        """Return what is kept of an object."""
        return self._keep(self._decoder.decode(raw))


_HALF_AN_OBJECT: Final = (KeyError, TypeError, ValueError, AttributeError, msgspec.DecodeError)
_HEAD: Final = msgspec.json.Decoder(Head)


class _Batch(Generic[T]):
    """Objects as they come in, each as it is kept; `version` is the one to go on from."""

    def __init__(self, reader: _Reader[T], version: str) -> None:
        self.version = version
        self._reader = reader
        self._objects: dict[str, T | None] = {}
        self._unread: dict[str, PipelineError] = {}

    def add(self, raw: msgspec.Raw, kind: str = "ADDED") -> None:
        """Take in an object, or an event of a watch, other than ERROR."""
        key = ""
        try:
            head = _HEAD.decode(raw).metadata
            key = f"{head.namespace}/{head.name}" if head.namespace else head.name
            if kind in ("ADDED", "MODIFIED"):
                self._objects[key] = self._reader.read(raw)
            elif kind == "DELETED":
                self._objects[key] = None
            self.version = head.version or self.version
        except _HALF_AN_OBJECT as error:
            what = f"{self._reader.selection.resource} {key}" if key else f"one of {self._reader.selection.resource}"
            self._unread[key] = PermanentError(f"{what} cannot be read: {type(error).__name__}: {error}")

    def happened(self, whole: bool = False) -> Iterator[Changes[T] | Failed]:
        """Yield what came of it all, and one failure for what could not be read."""
        yield Changes(self._objects, whole, frozenset(self._unread))
        yield from map(Failed, list(self._unread.values())[:1])


async def _list(server: ApiServer, reader: _Reader[T], pages: bool) -> _Batch[T]:
    params = {**reader.selection.params, **({"limit": str(PAGE_OBJECTS)} if pages else {})}
    batch = _Batch(reader, "")
    while True:
        page = await server.request("GET", reader.path, params=params, shape=ObjectList)
        for raw in page.items or ():
            batch.add(raw)
        if not page.metadata.more:
            batch.version = page.metadata.version
            return batch
        params["continue"] = page.metadata.more


async def _watch(server: ApiServer, reader: _Reader[T], version: str) -> AsyncGenerator[_Batch[T], None]:
    # The server's end is spread, too, so that not all watches of a restarted cluster end together.
    watch_s = server.timing.watch_s * (0.5 + random.random() / 2)
    params = {
        **reader.selection.params,
        "allowWatchBookmarks": "true",
        "resourceVersion": version,
        "timeoutSeconds": str(max(1, round(watch_s))),
    }
    async with aclosing(server.events(reader.path, params)) as events:
        async for together in events:
            batch = _Batch(reader, version)
            error: PipelineError | None = None
            for event in together:
                if event.type == "ERROR":
                    error = _told(reader.path, msgspec.json.decode(event.object))
                    break
                batch.add(event.object, event.type)
            version = batch.version
            yield batch
            if error is not None:
                raise error


def _told(path: str, status: Any) -> PipelineError:
    code = status.get("code") if isinstance(status, Mapping) else None
    return error_of(action_of("GET", path, {"watch": "1"}), code if isinstance(code, int) else 500, status)


def merged(known: Mapping[str, T], changes: Changes[T]) -> Iterator[tuple[str, T | None]]:
    """Yield what differs from what is known, None for what went."""
    if changes.whole:
        yield from ((key, None) for key in known if key not in changes.objects and key not in changes.unread)
    for key, item in changes.objects.items():
        if item is None or known.get(key) != item:
            yield key, item
