"""From a custom resource to jobs. Pure: what Secrets and ConfigMaps hold is given.

A resource is used whole or not at all, as in the operator: `RefusedError` says why not.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_camel

from agent.config.operator import OperatorConfig
from agent.config.scrape import GlobalConfig, ScrapeConfig
from agent.discovery.kubernetes.resources import Resource
from agent.discovery.operator import jobs
from agent.discovery.operator.jobs import Draft, Drafts, Job, Origin
from agent.discovery.operator.monitors import PodMonitor, ServiceMonitor
from agent.discovery.operator.part import Reference, Values, references
from agent.discovery.operator.parts import Limits
from agent.discovery.operator.policy import held
from agent.discovery.operator.probe import Probe
from agent.discovery.operator.scrape_config import OTHER_DISCOVERIES, ScrapeConfigResource
from pipeline.config import ConfigError, Document, Key, Mistake, show_key, validate
from pipeline.errors import PermanentError, PipelineError

GROUP: Final = "monitoring.coreos.com"

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of custom resource: where it is, what the agent's section calls it, its model, and what makes its jobs."""

    name: str
    resource: Resource
    setting: str
    spec: type[Limits]
    drafts: Drafts

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
    spec = _validated(kind.spec, resource.get("spec") or {}, lambda key: f"spec.{key}" if key else "spec")
    return Parsed(kind, metadata["namespace"], metadata["name"], spec, tuple(references(spec, ("spec",))))


def convert(parsed: Parsed, settings: OperatorConfig, given: GlobalConfig, values: Values) -> tuple[ScrapeConfig, ...]:
    """Return the jobs of a resource, with all that `global` gives; `values` has all it needs; raises RefusedError."""
    for key, reference in parsed.needs:
        if isinstance(found := values[reference], PipelineError):
            raise RefusedError(f"{show_key(key)}: {found}") from found
    jobs = []
    for draft, job in written_out(parsed, settings, given, values):
        own = _validated(ScrapeConfig, job, partial(_key_of, parsed, draft))
        with _refusing(show_key(("spec", *draft.at))):
            jobs.append(own.inherit(given))
    return tuple(jobs)


def written_out(
    parsed: Parsed, settings: OperatorConfig, given: GlobalConfig, values: Values
) -> Iterator[tuple[Draft, Job]]:
    """Yield the jobs as Prometheus' file would have them; raises RefusedError."""
    with _refusing("spec.scrapeClass"):
        scrape_class = settings.scrape_class(parsed.spec.scrape_class)
    origin = Origin(parsed.namespace, parsed.name, settings, scrape_class, values)
    for draft in parsed.kind.drafts(parsed.spec, origin):
        with _refusing(show_key(("spec", *draft.at))):
            job = held(draft.make(), scrape_class, settings, given)
        yield draft, job


@contextmanager
def _refusing(key: str) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise RefusedError(f"{key}: {first.removeprefix('Value error, ')}") from error
    except ValueError as error:
        raise RefusedError(f"{key}: {error}") from error


def _validated(model: type[ModelT], value: Any, name: Callable[[str], str]) -> ModelT:
    """Return the model; raises RefusedError with every mistake, at the key that `name` makes of the model's."""
    try:
        return validate(Document("", value, {}), model, value)
    except ConfigError as error:
        raise RefusedError("; ".join(_show(mistake, name) for mistake in error.mistakes)) from error


def _show(mistake: Mistake, name: Callable[[str], str]) -> str:
    last = mistake.key.rpartition(".")[2]
    reason = OTHER_DISCOVERIES.get(last, mistake.reason) if mistake.reason == "unknown key" else mistake.reason
    return f"{name(mistake.key)}: {reason}"


def _key_of(parsed: Parsed, draft: Draft, key: str) -> str:
    """Return where the resource has what stands at this key of the job."""
    part, spec = type(draft.part).model_fields, type(parsed.spec).model_fields
    first = re.split(r"[.\[]", key)[0]
    at = () if first in spec and first not in part else draft.at
    fields = {**spec, **part}
    steps = re.sub(r"[a-z]\w*", lambda m: fields[m[0]].alias or m[0] if m[0] in fields else to_camel(m[0]), key)
    return ".".join(filter(None, (show_key(("spec", *at)), steps)))
