"""From a custom resource to jobs. Pure: what Secrets and ConfigMaps hold is given.

A resource is used whole or not at all, as in the operator: `RefusedError` says why not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from agent.config.operator import OperatorConfig
from agent.config.scrape import GlobalConfig, ScrapeConfig
from agent.config.unsupported import reason_for
from agent.discovery.kubernetes.resources import Resource
from agent.discovery.operator import jobs
from agent.discovery.operator.jobs import Jobs, Make, Origin
from agent.discovery.operator.monitors import PodMonitor, ServiceMonitor
from agent.discovery.operator.part import Reference, Values, references
from agent.discovery.operator.parts import Limits
from agent.discovery.operator.policy import held
from agent.discovery.operator.probe import Probe
from agent.discovery.operator.scrape_config import ScrapeConfigResource
from pipeline.config import ConfigError, Document, Key, Mistake, show_key, validate
from pipeline.errors import PermanentError, PipelineError

GROUP: Final = "monitoring.coreos.com"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of custom resource: where it is, what the agent's section calls it, its model, and its jobs."""

    name: str
    resource: Resource
    setting: str
    spec: type[Limits]
    make: Make

    @property
    def prefix(self) -> str:
        """What the names of its jobs begin with, before the first slash."""
        return self.name[0].lower() + self.name[1:]


KINDS: Final = (
    Kind(
        "ServiceMonitor",
        Resource(GROUP, "v1", "servicemonitors"),
        "service_monitor",
        ServiceMonitor,
        jobs.of_service_monitor,
    ),
    Kind("PodMonitor", Resource(GROUP, "v1", "podmonitors"), "pod_monitor", PodMonitor, jobs.of_pod_monitor),
    Kind("Probe", Resource(GROUP, "v1", "probes"), "probe", Probe, jobs.of_probe),
    Kind(
        "ScrapeConfig",
        Resource(GROUP, "v1alpha1", "scrapeconfigs"),
        "scrape_config",
        ScrapeConfigResource,
        jobs.of_scrape_config,
    ),
)


class RefusedError(PermanentError):
    """A resource that no job is made of: the keys that are wrong, and why."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A custom resource that was understood; `needs` are the keys at which it names Secrets and ConfigMaps."""

    kind: Kind
    namespace: str
    name: str
    spec: Limits
    needs: tuple[tuple[Key, Reference], ...]


def parse(kind: Kind, resource: Mapping[str, Any]) -> Parsed:
    """Read a resource as the API server has it; raises RefusedError."""
    metadata = resource["metadata"]
    spec = _validated(kind.spec, resource.get("spec") or {}, ("spec",))
    return Parsed(kind, metadata["namespace"], metadata["name"], spec, tuple(references(spec, ("spec",))))


def convert(parsed: Parsed, settings: OperatorConfig, given: GlobalConfig, values: Values) -> tuple[ScrapeConfig, ...]:
    """Return the jobs of a resource, with all that `global` gives; `values` has all it needs; raises RefusedError."""
    for key, reference in parsed.needs:
        if isinstance(found := values[reference], PipelineError):
            raise RefusedError(f"{show_key(key)}: {found}") from found
    at: Key = ()
    made = []
    try:
        for at, job in drafts(parsed, settings, given, values):
            made.append(_validated(ScrapeConfig, job, ("spec", *at)).inherit(given))
    except ValidationError as error:
        raise RefusedError(f"{show_key(('spec', *at))}: {_first(error)}") from error
    except ValueError as error:
        raise RefusedError(f"{show_key(('spec', *at))}: {error}") from error
    return tuple(made)


def drafts(parsed: Parsed, settings: OperatorConfig, given: GlobalConfig, values: Values) -> Jobs:
    """Yield the jobs as Prometheus' file would have them; raises ValueError, or RefusedError."""
    try:
        scrape_class = settings.scrape_class(parsed.spec.scrape_class)
    except ValueError as error:
        raise RefusedError(f"spec.scrapeClass: {error}") from error
    origin = Origin(parsed.namespace, parsed.name, settings, scrape_class, values)
    for at, job in parsed.kind.make(parsed.spec, origin):
        yield at, held(job, scrape_class, settings, given)


def _validated(model: type[Any], value: Any, at: Key) -> Any:
    try:
        return validate(Document("", value, {}), model, value, at)
    except ConfigError as error:
        raise RefusedError("; ".join(_show(reason_for(mistake)) for mistake in error.mistakes)) from error


def _show(mistake: Mistake) -> str:
    return f"{mistake.key}: {mistake.reason}" if mistake.key else mistake.reason


def _first(error: ValidationError) -> str:
    return str(error.errors(include_url=False, include_input=False)[0]["msg"]).removeprefix("Value error, ")
