"""A group's Leases at the API server: written, looked at and followed."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from agent.discovery.kubernetes import ApiServer, Changes, Failed, Selection, follow
from agent.discovery.kubernetes.resources import LEASES
from agent.sharing.lease import NAME_LABEL, Lease, from_object, object_name, to_object
from pipeline.errors import TransientError


class Leases:
    """Those of one group in one namespace. What it asks raises PipelineErrors, as `ApiServer.request` does."""

    def __init__(self, server: ApiServer, namespace: str, group: str) -> None:
        self._server = server
        self._namespace = namespace
        self._group = group

    async def write(self, lease: Lease) -> Lease:
        """Create a slot's Lease (`version` 0) or replace that version; raises ConflictError if it is not of now."""
        body = to_object(lease, self._group)
        if lease.version:
            return self._read(await self._server.request("PUT", self._path(lease.slot), body=body))
        return self._read(await self._server.request("POST", LEASES.path(self._namespace), body=body))

    async def read(self, slot: int) -> Lease:
        """Return a slot's Lease; raises NotFoundError where it has none."""
        return self._read(await self._server.request("GET", self._path(slot)))

    def follow(self) -> AsyncIterator[Changes[Lease] | Failed]:
        """Yield what happens to all of them, for ever."""
        selection = Selection(LEASES, self._namespace, label_selector=f"{NAME_LABEL}={self._group}")
        return follow(self._server, selection, partial(from_object, group=self._group))

    def _path(self, slot: int) -> str:
        return LEASES.path(self._namespace, object_name(self._group, slot))

    def _read(self, answer: Any) -> Lease:
        try:
            return from_object(answer, self._group)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TransientError(f"the API server answered with no Lease of ours: {error!r}") from error
