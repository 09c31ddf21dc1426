"""The ledger: what became of every item, per cluster. Kept per partition, beside the offset up to which it counts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields


@dataclass(slots=True)
class Counts:
    """Items, except where the name says records. `received` were new in the log: delivered plus rejected.

    `already` are those of the delivered that the store refused as duplicates after a crash.
    """

    received: int = 0
    delivered: int = 0
    already: int = 0
    rejected: int = 0
    missing: int = 0
    duplicated: int = 0
    missing_records: int = 0
    duplicated_records: int = 0

    def add(self, other: "Counts") -> None:
        """Add another's counts to these."""
        for name in _NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_NAMES = tuple(field.name for field in fields(Counts))

Ledger = dict[str, Counts]
"""Counts by cluster."""


def to_plain(ledger: Mapping[str, Counts]) -> dict[str, dict[str, int]]:
    """Return what JSON can carry."""
    return {cluster: asdict(counts) for cluster, counts in ledger.items()}


def from_plain(plain: Mapping[str, Mapping[str, int]]) -> Ledger:
    """Return what `to_plain` was given; counts of later versions are left out."""
    return {
        cluster: Counts(**{name: int(counts[name]) for name in _NAMES if name in counts})
        for cluster, counts in plain.items()
    }
