"""What Secrets and ConfigMaps hold that resources refer to: read by name, looked at again, kept in memory only.

Each is asked for with GET: the agent's role needs `get` alone, of named Secrets where that is wanted.
"""

import asyncio
import base64
import binascii
from collections.abc import Collection, Mapping
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

Source = tuple[str, str, str]
"""An object by namespace, kind and name."""
Held = dict[str, str | PipelineError]
"""What the keys that are needed of an object hold."""


class Secrets:
    """The keys that are needed, of one API server's Secrets and ConfigMaps."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._held: dict[Source, Held] = {}

    async def read(self, needed: Collection[tuple[str, Reference]], *, again: bool = False) -> None:
        """Read what is needed (namespace and reference) and not known, and forget all else; `again`: all of it.

        What was read before stays where the API server gives no answer now.
        """
        keys: dict[Source, set[str]] = {}
        for namespace, reference in needed:
            keys.setdefault((namespace, reference.kind, reference.name), set()).add(reference.key)
        self._held = {source: held for source, held in self._held.items() if source in keys}
        wanted = [source for source in keys if again or not keys[source] <= self._held.get(source, {}).keys()]
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(source: Source) -> None:
            async with turns:
                self._held[source] = await self._read(source, keys[source])

        await asyncio.gather(*(one(source) for source in wanted))

    async def _read(self, source: Source, keys: Collection[str]) -> Held:
        namespace, kind, name = source
        before = self._held.get(source, {})
        try:
            answer = await self._server.request("GET", _RESOURCES[kind].path(namespace, name))
            data = (answer.get("data") if isinstance(answer, Mapping) else None) or {}
            return {key: _value(kind, name, key, data) for key in keys}
        except PermanentError as error:
            return dict.fromkeys(keys, error)
        except PipelineError as error:
            return {key: before.get(key, error) for key in keys}

    @property
    def is_complete(self) -> bool:
        """Whether everything that is needed could be read."""
        return not any(isinstance(value, PipelineError) for held in self._held.values() for value in held.values())

    def values(self, namespace: str, references: Collection[Reference]) -> Values:
        """Return what a resource's references hold, all of which were read as needed."""
        return {each: self._held[namespace, each.kind, each.name][each.key] for each in references}


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
