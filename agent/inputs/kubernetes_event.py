"""An event of Kubernetes as a log line: its fields' names and their order are Alloy's.

Source: Kubernetes API reference, core/v1 Event; Alloy, internal/component/loki/source/kubernetes_events.
"""

import json
import re
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct, field

META: Final = "__meta_kubernetes_event_"
_PLAIN: Final = re.compile(r'[^\s="\\\x00-\x1f\x7f]+')
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Shape(Struct, rename="camel"):
    pass


class EventMetadata(_Shape):
    """What is read of the event's own metadata."""

    name: str = ""
    namespace: str = ""
    resource_version: str = "0"
    creation_timestamp: datetime | None = None


class InvolvedObject(_Shape):
    """What the event is about."""

    kind: str = ""
    name: str = ""
    namespace: str = ""
    api_version: str = ""
    resource_version: str = ""


class EventSource(_Shape):
    """Who told it, in older events."""

    component: str = ""
    host: str = ""


class EventSeries(_Shape):
    """How often it happened, in newer events."""

    count: int = 0
    last_observed_time: datetime | None = None


class KubernetesEvent(_Shape):
    """What is read of an event."""

    metadata: EventMetadata
    involved_object: InvolvedObject = field(default_factory=InvolvedObject)
    reason: str = ""
    message: str = ""
    type: str = ""
    action: str = ""
    count: int | None = None
    source: EventSource | None = None
    series: EventSeries | None = None
    last_timestamp: datetime | None = None
    event_time: datetime | None = None
    reporting_component: str = ""
    reporting_instance: str | None = None

    @property
    def version(self) -> int:
        """Its resource version, by which Kubernetes orders what happens to objects of one kind."""
        return int(self.metadata.resource_version)

    @property
    def time_ns(self) -> int:
        """When it happened last, Unix nanoseconds."""
        observed = self.series.last_observed_time if self.series is not None else None
        at = observed or self.last_timestamp or self.event_time or self.metadata.creation_timestamp or _EPOCH
        since = at - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000


def labels_of(event: KubernetesEvent) -> dict[str, str]:
    """Return what relabelling finds of an event."""
    about, source = event.involved_object, event.source or EventSource()
    found = {
        "name": event.metadata.name,
        "object_kind": about.kind,
        "object_name": about.name,
        "object_namespace": about.namespace,
        "reason": event.reason,
        "type": event.type,
        "action": event.action,
        "component": event.reporting_component or source.component,
        "host": source.host,
    }
    labels = {f"{META}{name}": value for name, value in found.items() if value}
    return {"namespace": about.namespace or event.metadata.namespace, **labels}


def line_of(event: KubernetesEvent, log_format: str) -> str:
    """Return an event's line, as logfmt or JSON."""
    about, source = event.involved_object, event.source or EventSource()
    count = event.series.count if event.series is not None else event.count
    fields: dict[str, str | int] = {
        "name": about.name,
        "kind": about.kind,
        "action": event.action,
        "objectAPIversion": about.api_version,
        "objectRV": about.resource_version,
        "eventRV": event.metadata.resource_version,
        "reportinginstance": event.reporting_instance or "",
        "reportingcontroller": event.reporting_component,
        "sourcecomponent": source.component,
        "sourcehost": source.host,
        "reason": event.reason,
        "type": event.type,
        "count": count or 0,
    }
    given = {name: value for name, value in fields.items() if value}
    if log_format == "json":
        return json.dumps({**given, "msg": event.message}, ensure_ascii=False)
    pairs = [f"{name}={_quoted(str(value))}" for name, value in given.items()]
    return " ".join([*pairs, f"msg={json.dumps(event.message, ensure_ascii=False)}"])


def _quoted(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)
