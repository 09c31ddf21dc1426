"""The operator's own CustomResourceDefinitions, from its Go module."""

import json
import shutil
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from agent.discovery.operator.convert import KINDS, Kind
from tests.servers.processes import MissingServerError, run_tool

MODULE = "github.com/prometheus-operator/prometheus-operator@v0.93.0"
"""Also what `expect/go.mod` requires."""


@lru_cache
def definition(kind: Kind) -> dict[str, Any]:
    """Return a kind's definition; raises MissingServerError where there is no Go."""
    if shutil.which("go") is None:
        raise MissingServerError("the operator's definitions need Go (no `go` on the PATH)")
    folder = Path(json.loads(run_tool("go", "mod", "download", "-json", MODULE))["Dir"])
    path = folder / "example/prometheus-operator-crd" / f"monitoring.coreos.com_{kind.resource.plural}.yaml"
    return yaml.safe_load(path.read_text())  # type: ignore[no-any-return]


def definitions() -> list[dict[str, Any]]:
    """Return those of all kinds."""
    return [definition(kind) for kind in KINDS]


def keys(kind: Kind) -> Iterator[tuple[str, ...]]:
    """Yield every key that the kind's `spec` may have, sections and what is in them; lists and maps are left out."""
    (version,) = (each for each in definition(kind)["spec"]["versions"] if each["name"] == kind.resource.version)
    yield from _keys(version["schema"]["openAPIV3Schema"]["properties"]["spec"], ())


def _keys(schema: dict[str, Any], at: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, inner in schema.get("properties", {}).items():
        yield (*at, name)
        yield from _keys(inner, (*at, name))
    for part in ("items", "additionalProperties"):
        if isinstance(schema.get(part), dict):
            yield from _keys(schema[part], at)
