"""Discovery: from a job's `*_sd_configs` to streams of target groups."""

from collections.abc import Callable
from typing import Any, Final

from agent.config.kubernetes import KubernetesSdConfig
from agent.config.scrape import ScrapeConfig
from agent.discovery.file import file_groups
from agent.discovery.groups import TargetGroup
from agent.discovery.http import http_groups
from agent.discovery.static import static_groups
from agent.discovery.tools import Groups, Place, Tools


def _kubernetes_groups(config: KubernetesSdConfig, at: Place, tools: Tools) -> Groups:
    # Only an agent that looks at a cluster pays for what that takes.
    from agent.discovery.kubernetes.discovery import kubernetes_groups

    return kubernetes_groups(config, at, tools)


MECHANISMS: Final[dict[str, Callable[[Any, Place, Tools], Groups]]] = {
    "static_configs": static_groups,
    "file_sd_configs": file_groups,
    "http_sd_configs": http_groups,
    "kubernetes_sd_configs": _kubernetes_groups,
}
"""Each kind of discovery by the key of `ScrapeConfig` that holds its sections: a new kind is a line here."""


def discover(job: ScrapeConfig, tools: Tools) -> dict[Place, Groups]:
    """Return a job's discoveries, none begun: an endless stream of groups each, which never raises."""
    return {
        (place := Place(job.job_name, kind, index)): mechanism(section, place, tools)
        for kind, mechanism in MECHANISMS.items()
        for index, section in enumerate(getattr(job, kind))
    }


__all__ = ["MECHANISMS", "Groups", "Place", "TargetGroup", "Tools", "discover"]
