"""What Secrets and ConfigMaps hold that resources refer to: read by name, looked at again, kept in memory only.

Each is asked for with GET: the agent's role needs `get` alone, of named Secrets where that is wanted.
"""

import asyncio
import base64
import binascii
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from agent.discovery.kubernetes.api import ApiServer
from agent.discovery.kubernetes.resources import Resource
from agent.discovery.operator.part import Reference, Values
from pipeline.errors import PermanentError, PipelineError

_RESOURCES: Final = {
    "Secret": Resource("", "v1", "secrets"),
    "ConfigMap": Resource("", "v1", "configmaps"),
}
_AT_ONCE: Final = 8

AGAIN_S: Final = 60.0
"""How often everything is read again: a rotated password is used so much later at most."""
MISSING_S: Final = 10.0
"""The same for what cannot be read."""

Source = tuple[str, str, str]
"""An object by namespace, kind and name."""


@dataclass(frozen=True, slots=True)
class _Held:
    """What the keys that are needed of an object hold, and when that is to be looked at again."""

    values: dict[str, str | PipelineError]
    due_s: float


class Secrets:
    """The keys that are needed, of one API server's Secrets and ConfigMaps."""

    def __init__(self, server: ApiServer, clock: Callable[[], float], again_s: float = AGAIN_S) -> None:
        self._server = server
        self._clock = clock
        self._again_s = again_s
        self._held: dict[Source, _Held] = {}

    async def read(self, needed: Collection[tuple[str, Reference]]) -> None:
        """Read what is needed (namespace and reference) and not known, or due; forget all else.

        What was read before stays where the API server gives no answer now.
        """
        keys: dict[Source, set[str]] = {}
        for namespace, reference in needed:
            keys.setdefault((namespace, reference.kind, reference.name), set()).add(reference.key)
        self._held = {source: held for source, held in self._held.items() if source in keys}
        now_s, turns = self._clock(), asyncio.Semaphore(_AT_ONCE)

        async def one(source: Source) -> None:
            async with turns:
                self._held[source] = await self._read(source, keys[source])

        await asyncio.gather(*(one(source) for source in keys if self._is_due(source, keys[source], now_s)))

    def _is_due(self, source: Source, keys: set[str], now_s: float) -> bool:
        held = self._held.get(source)
        return held is None or held.due_s <= now_s or not keys <= held.values.keys()

    async def _read(self, source: Source, keys: Collection[str]) -> _Held:
        namespace, kind, name = source
        before = self._held.get(source)
        try:
            answer = await self._server.request("GET", _RESOURCES[kind].path(namespace, name))
            data = (answer.get("data") if isinstance(answer, Mapping) else None) or {}
            values = {key: _value(kind, name, key, data) for key in keys}
        except PermanentError as error:
            values = dict.fromkeys(keys, error)
        except PipelineError as error:
            values = {key: (before.values if before else {}).get(key, error) for key in keys}
        missing = any(isinstance(value, PipelineError) for value in values.values())
        return _Held(values, self._clock() + (min(MISSING_S, self._again_s) if missing else self._again_s))

    @property
    def due_in_s(self) -> float:
        """How long until something is to be read again."""
        first_s = min((held.due_s for held in self._held.values()), default=self._clock() + self._again_s)
        return max(0.0, first_s - self._clock())

    def values(self, namespace: str, references: Collection[Reference]) -> Values:
        """Return what a resource's references hold, all of which were read as needed."""
        return {each: self._held[namespace, each.kind, each.name].values[each.key] for each in references}


def _value(kind: str, name: str, key: str, data: Mapping[str, Any]) -> str | PipelineError:
    value = data.get(key)
    if not isinstance(value, str):
        return PermanentError(f'{kind} "{name}" has no key "{key}"')
    if kind == "ConfigMap":
        return value
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        # The error's own text would show what it could not read.
        return PermanentError(f'{kind} "{name}": the key "{key}" holds no text')
