"""`kubernetes_events`: a cluster's events as logs. Keys are those of Alloy's `loki.source.kubernetes_events`.

Source: Alloy documentation, `loki.source.kubernetes_events`; promtail has no such section.
"""

from typing import Annotated, Literal

from pydantic import Field

from agent.config.lists import LabelMap
from pipeline.config import FilePath
from pipeline.http_config import NullableSection


class KubernetesEventsConfig(NullableSection):
    """`kubernetes_events`: read a cluster's events, by one agent of all that have the job."""

    namespaces: tuple[str, ...] = ()
    """The namespaces whose events are read; all where left out."""
    log_format: Literal["logfmt", "json"] = "logfmt"
    """What an event's line is written as."""
    labels: LabelMap = Field(default_factory=dict)
    """Labels of every event, beside `job` and `namespace`."""
    kubeconfig_file: FilePath | None = None
    """How the API server is reached; left out, as the pod's service account."""
    elected: bool = True
    """Let the agents elect one that reads, by a Lease; off, every agent with the job reads everything."""
    lease_namespace: str = ""
    """Where the Lease is; left out, the pod's own namespace, or the kubeconfig's."""
    lease_duration: Annotated[int, Field(ge=3, le=300)] = 15
    """After how many seconds another agent takes over from one that died."""
