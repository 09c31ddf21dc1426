"""Discovery: from a job's `*_sd_configs` to streams of target groups."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from agent.config.discoveries import JobConfig
from agent.discovery.file import file_groups
from agent.discovery.groups import TargetGroup
from agent.discovery.http import http_groups
from agent.discovery.static import static_groups
from agent.discovery.tools import Groups, Place, Tools

Mechanism = Callable[[Any, Place, Tools], Groups]


def _later(module: str, name: str) -> Mechanism:
    """Import a mechanism when a job asks for it: only an agent that uses one pays for what that takes."""

    def begin(section: Any, at: Place, tools: Tools) -> Groups:
        groups: Groups = getattr(import_module(f"agent.discovery.{module}"), name)(section, at, tools)
        return groups

    return begin


MECHANISMS: Final[dict[str, Mechanism]] = {
    "static_configs": static_groups,
    "file_sd_configs": file_groups,
    "http_sd_configs": http_groups,
    "dns_sd_configs": _later("dns", "dns_groups"),
    "consul_sd_configs": _later("consul", "consul_groups"),
    "docker_sd_configs": _later("docker", "docker_groups"),
    "ec2_sd_configs": _later("ec2", "ec2_groups"),
    "kubernetes_sd_configs": _later("kubernetes.discovery", "kubernetes_groups"),
}
"""Each kind of discovery by the key of `Discoveries` that holds its sections: a new kind is a line here."""


def discover(job: JobConfig, tools: Tools) -> dict[Place, Groups]:
    """Return a job's discoveries, none begun: an endless stream of groups each, which never raises."""
    return {
        (place := Place(job.pool, kind, index)): mechanism(section, place, tools)
        for kind, mechanism in MECHANISMS.items()
        for index, section in enumerate(getattr(job, kind))
    }


__all__ = ["MECHANISMS", "Groups", "Place", "TargetGroup", "Tools", "discover"]
