"""How far the agent that reads for all has come, for whoever takes over from it: notes on a Lease that nobody holds.

A Lease, since reading for all asks for rights to Leases anyway.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from agent.discovery.kubernetes import ApiServer, ConflictError, NotFoundError
from agent.discovery.kubernetes.resources import LEASES

_NOTE: Final = "pronoia/position."


class SharedPositions:
    """Numbers by name (letters, digits, `-`, `_`, `.`), which only grow. What it asks raises PipelineErrors."""

    def __init__(self, server: ApiServer, namespace: str, name: str) -> None:
        self._server = server
        self._namespace = namespace
        self._name = f"pronoia-position-{name}"
        self._known: Any = None

    async def read(self) -> Mapping[str, int]:
        """Return what is noted; nothing where there is no such Lease."""
        try:
            self._known = await self._server.request("GET", LEASES.path(self._namespace, self._name))
        except NotFoundError:
            self._known = None
            return {}
        notes = self._known["metadata"].get("annotations") or {}
        return {
            name.removeprefix(_NOTE): int(value)
            for name, value in notes.items()
            if name.startswith(_NOTE) and re.fullmatch(r"\d{1,20}", value)
        }

    async def write(self, positions: Mapping[str, int]) -> None:
        """Note these; where somebody else wrote meanwhile it is read again, and the next call writes."""
        notes = {f"{_NOTE}{name}": str(value) for name, value in positions.items()}
        metadata: dict[str, Any] = {
            "name": self._name,
            "labels": {"app.kubernetes.io/managed-by": "pronoia"},
            "annotations": notes,
        }
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {}}
        try:
            if self._known is None:
                self._known = await self._server.request("POST", LEASES.path(self._namespace), body=body)
            else:
                metadata["resourceVersion"] = self._known["metadata"]["resourceVersion"]
                path = LEASES.path(self._namespace, self._name)
                self._known = await self._server.request("PUT", path, body=body)
        except (ConflictError, NotFoundError):
            await self.read()
