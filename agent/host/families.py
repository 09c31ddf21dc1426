"""Metric families, and writing them as a page in Prometheus' text format 0.0.4 (docs: "Exposition formats")."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_ESCAPE_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})
_ESCAPE_LABEL = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


@dataclass(slots=True)
class Family:
    """One metric family: its type (`counter`, `gauge`, `untyped`) and its samples."""

    name: str
    kind: str
    help: str
    samples: list[tuple[Mapping[str, str], float]] = field(default_factory=list)

    def add(self, value: float, **labels: str) -> "Family":
        """Add a sample; return the family, so that one with a single sample is one expression."""
        self.samples.append((labels, value))
        return self


def render(families: Iterable[Family]) -> bytes:
    """Write families that have samples as a page."""
    lines: list[str] = []
    for family in families:
        if family.samples:
            lines.append(f"# HELP {family.name} {family.help.translate(_ESCAPE_HELP)}")
            lines.append(f"# TYPE {family.name} {family.kind}")
            lines += [f"{family.name}{_labels(labels)} {_number(value)}" for labels, value in family.samples]
    # A mount point or a device may have a name that is no UTF-8; the page must be.
    return "\n".join([*lines, ""]).encode(errors="replace")


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPE_LABEL)}"' for name, value in labels.items()) + "}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)
