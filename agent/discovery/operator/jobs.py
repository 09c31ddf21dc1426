"""What each kind of custom resource becomes: jobs as Prometheus' file would have them, one for each endpoint.

Source: prometheus-operator, pkg/prometheus/promcfg.go.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from agent.config.operator import OperatorConfig, ScrapeClass
from agent.discovery.operator import rules
from agent.discovery.operator.monitors import AnyMonitor, Endpoint, PodEndpoint, PodMonitor, ServiceMonitor
from agent.discovery.operator.part import Part, Values, written
from agent.discovery.operator.parts import NamespaceSelector, Rule
from agent.discovery.operator.probe import IngressTargets, Probe, StaticTargets
from agent.discovery.operator.scrape_config import ScrapeConfigResource
from pipeline.config import Key
from pipeline.relabel import RelabelConfig


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose jobs are made, under which settings, and what its Secrets and ConfigMaps hold."""

    namespace: str
    name: str
    settings: OperatorConfig
    scrape_class: ScrapeClass | None
    values: Values


Job = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Draft:
    """A job yet to be made: of which part of `spec`, the key of that part, and how; `make` raises ValueError."""

    at: Key
    part: Part
    make: Callable[[], Job]


Drafts = Callable[[Any, Origin], Iterator[Draft]]


def of_service_monitor(spec: ServiceMonitor, origin: Origin) -> Iterator[Draft]:
    """One job for each endpoint: the pods and addresses behind the services that are selected."""
    for index, endpoint in enumerate(spec.endpoints):
        name = f"serviceMonitor/{origin.namespace}/{origin.name}/{index}"
        yield Draft(("endpoints", index), endpoint, partial(_of_service_endpoint, name, spec, endpoint, origin))


def _of_service_endpoint(name: str, spec: ServiceMonitor, endpoint: Endpoint, origin: Origin) -> Job:
    role = spec.service_discovery_role or origin.settings.service_discovery_role
    made = rules.of_service(spec, endpoint, role, origin.settings)
    return {
        "job_name": name,
        **written(spec, origin.values),
        **written(endpoint, origin.values),
        "kubernetes_sd_configs": _monitored(spec, origin, role, (role, "service")),
        **_rules(made, endpoint.relabelings, endpoint.metric_relabelings, origin),
    }


def of_pod_monitor(spec: PodMonitor, origin: Origin) -> Iterator[Draft]:
    """One job for each endpoint: the pods that are selected."""
    for index, endpoint in enumerate(spec.pod_metrics_endpoints):
        name = f"podMonitor/{origin.namespace}/{origin.name}/{index}"
        yield Draft(("podMetricsEndpoints", index), endpoint, partial(_of_pod_endpoint, name, spec, endpoint, origin))


def _of_pod_endpoint(name: str, spec: PodMonitor, endpoint: PodEndpoint, origin: Origin) -> Job:
    made = rules.of_pod(spec, endpoint, origin.namespace, origin.name, origin.settings)
    return {
        "job_name": name,
        **written(spec, origin.values),
        **written(endpoint, origin.values),
        "kubernetes_sd_configs": _monitored(spec, origin, "pod", ("pod",)),
        **_rules(made, endpoint.relabelings, endpoint.metric_relabelings, origin),
    }


def of_probe(spec: Probe, origin: Origin) -> Iterator[Draft]:
    """One job: the prober is asked about each static target, or about each path of the ingresses selected."""
    yield Draft((), spec, partial(_of_probe, spec, origin))


def _of_probe(spec: Probe, origin: Origin) -> Job:
    job = {
        "job_name": f"probe/{origin.namespace}/{origin.name}",
        "metrics_path": spec.prober.metrics_path,
        **written(spec, origin.values),
        **written(spec.prober, origin.values),
    }
    if params := {each.name: each.values for each in spec.params} | ({"module": (spec.module,)} if spec.module else {}):
        job["params"] = params
    made = [rules.JOB_NAME, *([rules.fixed("job", spec.job_name)] if spec.job_name else [])]
    targets: StaticTargets | IngressTargets | None = spec.targets.static_config
    if isinstance(targets, StaticTargets):
        labels = {"namespace": origin.namespace, **targets.labels}
        job["static_configs"] = [{"targets": targets.static, "labels": labels}]
        made += rules.of_static_probe(spec.prober.url)
    else:
        targets = spec.targets.ingress
        assert targets is not None
        job["kubernetes_sd_configs"] = [_kubernetes(targets.namespace_selector, origin, "ingress")]
        made += rules.of_ingress_probe(targets, spec.prober.url)
    return {**job, **_rules(made, targets.relabeling_configs, spec.metric_relabelings, origin)}


def of_scrape_config(spec: ScrapeConfigResource, origin: Origin) -> Iterator[Draft]:
    """One job, whose discoveries are the resource's own."""
    yield Draft((), spec, partial(_of_scrape_config, spec, origin))


def _of_scrape_config(spec: ScrapeConfigResource, origin: Origin) -> Job:
    job = {"job_name": f"scrapeConfig/{origin.namespace}/{origin.name}", **written(spec, origin.values)}
    for section in job.get("kubernetes_sd_configs", ()):
        if "api_server" not in section:
            section.update(origin.settings.reach)
        if section["role"] not in ("pod", "endpoints", "endpointslice"):
            section.pop("attach_metadata", None)  # As the operator, which warns: other roles have no node.
    # Here a scrape class stands before the name.
    made = [rules.JOB_NAME, *(origin.scrape_class.relabelings if origin.scrape_class else ())]
    made += [rules.fixed("job", spec.job_name)] if spec.job_name else []
    return {
        **job,
        "relabel_configs": [*made, *rules.users(spec.relabelings, origin.namespace, origin.settings)],
        "metric_relabel_configs": _metric_rules(spec.metric_relabelings, origin),
    }


def _rules(made: Iterable[RelabelConfig], own: Iterable[Rule], metric: Iterable[Rule], origin: Origin) -> Job:
    of_class = origin.scrape_class.relabelings if origin.scrape_class else ()
    return {
        "relabel_configs": [*made, *of_class, *rules.users(own, origin.namespace, origin.settings)],
        "metric_relabel_configs": _metric_rules(metric, origin),
    }


def _metric_rules(own: Iterable[Rule], origin: Origin) -> list[RelabelConfig]:
    of_class = origin.scrape_class.metric_relabelings if origin.scrape_class else ()
    return [*of_class, *rules.users(own, origin.namespace, origin.settings)]


def _monitored(spec: AnyMonitor, origin: Origin, role: str, selecting: tuple[str, ...]) -> list[Job]:
    section = _kubernetes(spec.namespace_selector, origin, role)
    metadata = spec.attach_metadata or (origin.scrape_class.attach_metadata if origin.scrape_class else None)
    if metadata is not None:
        section["attach_metadata"] = {"node": metadata.node}
    if spec.selector_mechanism == "RoleSelector":
        section["selectors"] = [{"role": each, "label": spec.selector.text} for each in selecting]
    return [section]


def _kubernetes(selector: NamespaceSelector, origin: Origin, role: str) -> Job:
    section: Job = {"role": role, **origin.settings.reach}
    if names := selector.names(origin.namespace, origin.settings.ignore_namespace_selectors):
        section["namespaces"] = {"names": names}
    return section
