"""How names, labels and annotations of objects become labels of targets.

Source: Prometheus documentation, `<kubernetes_sd_config>`.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from agent.discovery.kubernetes.shapes import Metadata

PREFIX: Final = "__meta_kubernetes_"
NAMESPACE: Final = f"{PREFIX}namespace"

Labels = dict[str, str]


def meta_labels(role: str, metadata: Metadata) -> Labels:
    """Return what an object's name, labels and annotations become."""
    return {f"{PREFIX}{role}_name": metadata.name, **annotations_and_labels(role, metadata)}


def annotations_and_labels(role: str, metadata: Metadata) -> Labels:
    """Return the same without the name."""
    out: Labels = {}
    for kind, given in (("label", metadata.labels), ("annotation", metadata.annotations)):
        for key, value in (given or {}).items():
            name, is_present = _names(role, kind, key)
            if value:
                out[name] = value
            out[is_present] = "true"
    return out


def present(given: Sequence[tuple[str, str | None]]) -> Labels:
    """Return what has a value, as labels: an empty label is none."""
    return {PREFIX + name: value for name, value in given if value}


_WRONG: Final = re.compile(r"[^a-zA-Z0-9_]")


def sanitized(name: str) -> str:
    """Return a name with an underscore for all that a label's name cannot hold."""
    return _WRONG.sub("_", name)


@lru_cache(maxsize=8192)
def _names(role: str, kind: str, key: str) -> tuple[str, str]:
    # Ten thousand pods have the same few names: they share them.
    name = sanitized(key)
    return f"{PREFIX}{role}_{kind}_{name}", f"{PREFIX}{role}_{kind}present_{name}"
