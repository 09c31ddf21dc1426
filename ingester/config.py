"""The ingester's configuration.

log: {kafka: {brokers: ["127.0.0.1:9092"], topic_prefix: "pronoia."}}
admin: "127.0.0.1:15694"
sinks:
- {name: prometheus, remote_write: {url: "http://127.0.0.1:9090/api/v1/write"}}
"""

import string
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from ingester.sinks.elasticsearch.config import ElasticsearchConfig
from ingester.sinks.loki.config import LokiSinkConfig
from pipeline.config import Address, Bytes, ListenAddress, Seconds, Section
from pipeline.delivery import Backoff
from pipeline.log.config import LogConfig
from pipeline.send.config import RemoteWriteConfig
from pipeline.tracing import TracingConfig

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


def _parse_template(text: str) -> str:
    """Return the template if it uses nothing but {cluster} and {tenant}; raises ValueError."""
    for _, field, spec, conversion in string.Formatter().parse(text):
        if field is not None and (field not in ("cluster", "tenant") or spec or conversion):
            raise ValueError(f"unknown field {{{field}}}: a tenant template takes {{cluster}} and {{tenant}}")
    return text


# Half of what Prometheus takes in one request, decompressed.
_REQUEST_BYTES: Final = 16 * 2**20

SINK_KINDS: Final = ("remote_write", "loki", "elasticsearch", "store")
"""The keys of a sink's sections, of which it has one."""


class StoreConfig(Section):
    """`store: {}`: the embedded store of this process (`pronoia up`), one for metrics and one for logs."""

    signal: Literal["metrics", "logs"] = "metrics"


class SinkConfig(Section):
    """One sink: a consumer group of its own, one receiver, and how far it may run ahead of what is committed."""

    name: Name
    remote_write: RemoteWriteConfig | None = None
    loki: LokiSinkConfig | None = None
    elasticsearch: ElasticsearchConfig | None = None
    store: StoreConfig | None = None
    clusters: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Only these clusters; left out: all."""
    tenant: Annotated[str, AfterValidator(_parse_template)] = ""
    """What a request's tenant is: `{cluster}`, `{tenant}` (the agent's), or text around them."""
    tenant_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")] = "X-Scope-OrgID"
    start: Literal["earliest", "latest"] | datetime = "earliest"
    """Where a sink begins that has never run: a time means the first record appended then or later."""
    window: Annotated[int, Field(ge=1)] = 10_000
    """Items sent but not yet committed stay below this number (one record is always allowed), per partition."""
    request_items: Annotated[int, Field(ge=1)] = 10_000
    """Records are joined into one request up to this many items (one record is always allowed)."""
    queue_max_bytes: Annotated[Bytes, Field(ge=2**20)] = 32 * 2**20
    """Payload bytes read from the log and waiting in one process; every partition may hold one MiB beside."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sum(getattr(self, kind) is not None for kind in SINK_KINDS) != 1:
            raise ValueError(f"give exactly one of {', '.join(SINK_KINDS)}")
        if self.remote_write is not None and not self.remote_write.is_sendable:
            raise ValueError("remote_write.url must begin with http:// or https://")
        if self.elasticsearch is not None and (self.tenant or "tenant_header" in self.model_fields_set):
            raise ValueError("elasticsearch has no tenants: documents have the agent's in organization.id")
        if isinstance(self.start, datetime) and self.start.tzinfo is None:
            raise ValueError("start needs a time zone: write it like 2026-01-31T12:00:00Z")
        return self

    @property
    def kind(self) -> str:
        """Which of `SINK_KINDS` it is."""
        return next(kind for kind in SINK_KINDS if getattr(self, kind) is not None)

    def backoff(self) -> Backoff:
        """Return the delays between tries."""
        if self.remote_write is not None:
            queue = self.remote_write.queue_config
            return Backoff(queue.min_backoff, queue.max_backoff)
        if self.loki is not None:
            return self.loki.backoff()
        return Backoff()

    def request_bytes(self) -> int:
        """Return how many bytes, before compression, records are joined up to."""
        if self.loki is not None:
            return self.loki.batchsize
        return self.elasticsearch.max_request_bytes if self.elasticsearch is not None else _REQUEST_BYTES

    def start_ms(self) -> int | None:
        """Return the start as Unix milliseconds where it is a time."""
        return int(self.start.astimezone(UTC).timestamp() * 1000) if isinstance(self.start, datetime) else None

    def tenant_of(self, cluster: str, tenant: str) -> str:
        """Fill in the template."""
        return self.tenant.format(cluster=cluster, tenant=tenant) if self.tenant else ""


class IngesterConfig(Section):
    """One ingester process."""

    log: LogConfig
    sinks: Annotated[tuple[SinkConfig, ...], Field(min_length=1)]
    admin: ListenAddress = Address(host="127.0.0.1", port=15694)
    tracing: TracingConfig | None = None
    settle_interval: Seconds = 2.0
    """How often what is settled is written down for the next owner of a partition, and for `pronoia status`."""
    forget_after: Seconds = 7 * 86_400.0
    """An agent's epoch that was not seen for so long is forgotten; no less than the log's retention."""
    revoke_timeout: Seconds = 10.0
    """How long answers are awaited when a partition moves to another process; below half the rebalance timeout."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [sink.name for sink in self.sinks]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"sink {name} stands twice")
        return self

    def prefix(self) -> str:
        """Return what topics and groups begin with."""
        return self.log.topic("").name
