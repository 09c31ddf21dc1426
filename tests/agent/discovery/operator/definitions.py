"""Which keys the operator's own definitions let our kinds have."""

from collections.abc import Iterator
from typing import Any

from agent.discovery.operator.convert import Kind
from tests.servers.operator import operator_definition


def keys(kind: Kind) -> Iterator[tuple[str, ...]]:
    """Yield every key that the kind's `spec` may have, sections and what is in them; lists and maps are left out."""
    versions = operator_definition(kind.resource.plural)["spec"]["versions"]
    (version,) = (each for each in versions if each["name"] == kind.resource.version)
    yield from _keys(version["schema"]["openAPIV3Schema"]["properties"]["spec"], ())


def _keys(schema: dict[str, Any], at: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, inner in schema.get("properties", {}).items():
        yield (*at, name)
        yield from _keys(inner, (*at, name))
    for part in ("items", "additionalProperties"):
        if isinstance(schema.get(part), dict):
            yield from _keys(schema[part], at)
