"""One worker's slot as a Lease of Kubernetes: what is read of it, and what is written.

Source: Kubernetes API reference, coordination.k8s.io/v1 Lease; KEP-589 for what its fields mean to a client.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

GROUP_VERSION: Final = "coordination.k8s.io/v1"
NAME_LABEL: Final = "pronoia/sharing"
"""The label by which all slots of one group of agents are found: its value is the group's name."""
WORKERS: Final = "pronoia/workers"
WANTED_BY: Final = "pronoia/wanted-by"


@dataclass(frozen=True, slots=True)
class Lease:
    """What the API server holds of a slot.

    `holder` is empty where nobody holds it. `renewed` is the time as it was written: it is only ever compared, since
    clocks differ. `version` is the resourceVersion; Kubernetes lets those of one resource be compared as numbers.
    `workers` is the number of slots that the holder knows of; `wanted_by` names an agent that asks for the slot.
    """

    slot: int
    holder: str = ""
    duration_s: int = 1
    renewed: str = ""
    acquired: str = ""
    transitions: int = 0
    workers: int = 0
    wanted_by: str = ""
    version: int = 0

    @property
    def life(self) -> tuple[str, str, int]:
        """What changes with every renewal and every change of hands, and with nothing else."""
        return self.holder, self.renewed, self.transitions

    @property
    def tenure_s(self) -> float:
        """How long its holder had had it at its last sign of life: both times are of one machine's clock."""
        try:
            return (_read_time(self.renewed) - _read_time(self.acquired)).total_seconds()
        except ValueError:
            return 0.0


def object_name(group: str, slot: int) -> str:
    """Return the name of a slot's Lease."""
    return f"pronoia-agents-{group}-{slot}"


def from_object(value: Mapping[str, Any], group: str) -> Lease:
    """Read a Lease; raises ValueError, TypeError or KeyError where it is none of the group's."""
    metadata, spec = value["metadata"], value.get("spec") or {}
    notes = metadata.get("annotations") or {}
    return Lease(
        slot=slot_of(metadata["name"], group),
        holder=spec.get("holderIdentity") or "",
        duration_s=max(int(spec.get("leaseDurationSeconds") or 1), 1),
        renewed=spec.get("renewTime") or "",
        acquired=spec.get("acquireTime") or "",
        transitions=int(spec.get("leaseTransitions") or 0),
        workers=int(notes.get(WORKERS) or 0),
        wanted_by=notes.get(WANTED_BY) or "",
        version=int(metadata["resourceVersion"]),
    )


def slot_of(name: str, group: str) -> int:
    """Return the slot whose Lease has that name; raises ValueError."""
    prefix = object_name(group, 0)[:-1]
    if not name.startswith(prefix) or not name.removeprefix(prefix).isdigit():
        raise ValueError(f"{name} is not named {prefix}<number>")
    return int(name.removeprefix(prefix))


def to_object(lease: Lease, group: str) -> dict[str, Any]:
    """Return the object that creates the slot's Lease (`version` 0) or replaces that version of it."""
    notes = {WORKERS: str(lease.workers)} | ({WANTED_BY: lease.wanted_by} if lease.wanted_by else {})
    metadata: dict[str, Any] = {
        "name": object_name(group, lease.slot),
        "labels": {NAME_LABEL: group, "app.kubernetes.io/managed-by": "pronoia"},
        "annotations": notes,
    }
    if lease.version:
        metadata["resourceVersion"] = str(lease.version)
    spec: dict[str, Any] = {
        "holderIdentity": lease.holder,
        "leaseDurationSeconds": lease.duration_s,
        "leaseTransitions": lease.transitions,
        "renewTime": lease.renewed or None,
        "acquireTime": lease.acquired or None,
    }
    return {"apiVersion": GROUP_VERSION, "kind": "Lease", "metadata": metadata, "spec": spec}


def renewed_by(lease: Lease, holder: str, *, duration_s: int, workers: int, now: datetime) -> Lease:
    """Return the lease as its holder writes it: taken, if it was another's, or renewed."""
    taken, renewed = lease.holder != holder, _after(lease.renewed, now)
    return replace(
        lease,
        holder=holder,
        duration_s=duration_s,
        renewed=renewed,
        acquired=renewed if taken else lease.acquired,
        transitions=lease.transitions + taken,
        workers=workers,
        wanted_by="",
    )


def released(lease: Lease, now: datetime) -> Lease:
    """Return the lease without a holder. It keeps a duration, since the API server refuses 0."""
    return replace(lease, holder="", renewed=_after(lease.renewed, now))


def _after(before: str, now: datetime) -> str:
    """Return now as MicroTime, and never what stood there before: a renewal must be seen, whatever clocks do."""
    text = _micro_time(now)
    return _micro_time(now + timedelta(microseconds=1)) if text == before else text


def _read_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _micro_time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
