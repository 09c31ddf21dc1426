"""`sharing`: how the agents of one cluster divide what is not any one node's own."""

import re
from typing import Annotated, Final, Literal, TypeVar

from pydantic import AfterValidator, Field, model_validator

from agent.config.discoveries import Discoveries
from agent.config.kubernetes import KubernetesSdConfig, SelectorConfig
from agent.config.scrape import ScrapeConfig
from pipeline.config import FilePath, Seconds
from pipeline.http_config import NullableSection

SHORTEST_LEASE_S: Final = 3
LONGEST_LEASE_S: Final = 15
_LEASE_PART: Final = 0.4
"""Of the shortest interval of shared jobs: what is left of it is for noticing, taking over, and finding the targets."""
_TAKE_OVER: Final = 1.5
"""In leases: how long the slot of an agent that was killed waits for another at most."""
_FINDING_S: Final = 1.0
"""What finding the targets takes then, usually."""


def _group_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?", name):
        raise ValueError(f"{name!r}: lower-case letters, digits and dashes, at most 40, as in a Lease's name")
    return name


def _whole_seconds(seconds: float) -> float:
    if seconds and (seconds != int(seconds) or seconds < SHORTEST_LEASE_S):
        raise ValueError(f"a Lease lasts whole seconds, and here at least {SHORTEST_LEASE_S}")
    return seconds


class SharingConfig(NullableSection):
    """The section. Without it an agent does everything that its file says."""

    by: Literal["leases", "ordinal", "node"] = "leases"
    """Who does the shared work: a few agents, elected by `leases`; the agents of a StatefulSet by `ordinal`, which do
    nothing else; somebody else (`node`: this agent does its own node's only)."""
    name: Annotated[str, AfterValidator(_group_name)] = "default"
    """The group's name, part of its Leases' names: agents that share have it, their jobs and `workers` in common."""
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    """Among how many agents the shared targets are divided."""
    lease: Annotated[Seconds, AfterValidator(_whole_seconds)] = 0.0
    """How long a Lease lasts, in whole seconds, at least 3; left out, 0.4 of the shortest shared interval (3 to 15)."""
    namespace: str = ""
    """Where the Leases are; left out, the pod's own, or the kubeconfig's."""
    kubeconfig_file: FilePath | None = None
    """How the API server is reached; left out, as the pod's service account."""
    node_name: str = ""
    """The node whose work is this agent's; left out, what NODE_NAME says."""
    pod_name: str = ""
    """The pod's name, which ends with its ordinal; left out, what POD_NAME says."""
    per_node: tuple[str, ...] = ()
    """Jobs that every agent does for itself although their discovery does not say so."""
    shared: tuple[str, ...] = ()
    """Jobs that the workers do although their discovery is of pods or nodes alone."""

    @model_validator(mode="after")
    def _each_job_once(self) -> "SharingConfig":
        if both := set(self.per_node) & set(self.shared):
            raise ValueError(f"{', '.join(sorted(both))}: both per_node and shared")
        return self

    @property
    def does_nodes(self) -> bool:
        """Whether this agent does what belongs to its node."""
        return self.by != "ordinal"

    @property
    def ordinal(self) -> int | None:
        """The pod's number in its StatefulSet; None if its name ends with none."""
        _, dash, number = self.pod_name.rpartition("-")
        return int(number) if dash and number.isdigit() else None

    def missing(self) -> str:
        """Return what the environment has to say and does not; empty if nothing."""
        if self.does_nodes and not self.node_name:
            return "sharing needs the node's name: set NODE_NAME from spec.nodeName (fieldRef), or sharing.node_name"
        if self.by == "ordinal" and self.ordinal is None:
            return "sharing by ordinal needs the pod's name: set POD_NAME from metadata.name (fieldRef)"
        if self.by == "ordinal" and (self.ordinal or 0) >= self.workers:
            return f"{self.pod_name} is beyond sharing.workers ({self.workers}): it would have nothing to do"
        return ""

    def is_per_node(self, job: ScrapeConfig) -> bool:
        """Return whether every agent does a job of the file itself: as the section says, or as its discovery does."""
        if job.job_name in self.per_node or job.job_name in self.shared:
            return job.job_name in self.per_node
        kinds = {name for name in type(job).model_fields if name.endswith("_configs") and getattr(job, name)}
        discoveries = {name for name in kinds if name == "static_configs" or name.endswith("_sd_configs")}
        roles = {config.role for config in job.kubernetes_sd_configs}
        return discoveries == {"kubernetes_sd_configs"} and roles <= {"pod", "node"}

    def lease_s(self, shared: tuple[ScrapeConfig, ...]) -> int:
        """Return how long a lease lasts; left out, as long as lets take-overs go without two intervals' gap."""
        if self.lease:
            return int(self.lease)
        shortest_s = min((job.scrape_interval for job in shared), default=0.0) or float(LONGEST_LEASE_S) / _LEASE_PART
        return max(SHORTEST_LEASE_S, min(LONGEST_LEASE_S, int(shortest_s * _LEASE_PART)))

    def is_too_fast(self, job: ScrapeConfig, lease_s: int) -> bool:
        """Return whether two intervals of a shared job may pass before its targets are scraped after a death."""
        return self.by == "leases" and job.scrape_interval < lease_s * _TAKE_OVER + _FINDING_S


JobT = TypeVar("JobT", bound=Discoveries)


def restricted(job: JobT, node_name: str) -> JobT:
    """Return the job as one node's agent does it: the API server sends nothing of other nodes."""
    configs = tuple(_restricted(config, node_name) for config in job.kubernetes_sd_configs)
    return job.model_copy(update={"kubernetes_sd_configs": configs}) if configs else job


def _restricted(config: KubernetesSdConfig, node_name: str) -> KubernetesSdConfig:
    selectors = list(config.selectors)
    if config.role == "pod":
        _select(selectors, "pod", f"spec.nodeName={node_name}")
    if config.role == "node" or (config.role == "pod" and config.attach_metadata.node):
        _select(selectors, "node", f"metadata.name={node_name}")
    return config.model_copy(update={"selectors": tuple(selectors)})


def _select(selectors: list[SelectorConfig], role: Literal["pod", "node"], field: str) -> None:
    for index, selector in enumerate(selectors):
        if selector.role == role:
            both = f"{selector.field},{field}" if selector.field else field
            selectors[index] = selector.model_copy(update={"field": both})
            return
    selectors.append(SelectorConfig(role=role, field=field))
