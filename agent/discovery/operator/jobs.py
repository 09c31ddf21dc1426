"""What each kind of custom resource becomes: jobs as Prometheus' file would have them, one for each endpoint.

Source: prometheus-operator, pkg/prometheus/promcfg.go.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from agent.config.operator import OperatorConfig, ScrapeClass
from agent.discovery.operator import rules
from agent.discovery.operator.monitors import AnyMonitor, PodMonitor, ServiceMonitor
from agent.discovery.operator.part import Values, written
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
Jobs = Iterator[tuple[Key, Job]]
"""Each job, and the key of the part of `spec` that it was made of."""
Make = Callable[[Any, Origin], Jobs]


def of_service_monitor(spec: ServiceMonitor, origin: Origin) -> Jobs:
    """One job for each endpoint: the pods and addresses behind the services that are selected."""
    role = spec.service_discovery_role or origin.settings.service_discovery_role
    for index, endpoint in enumerate(spec.endpoints):
        yield (
            ("endpoints", index),
            {
                "job_name": f"serviceMonitor/{origin.namespace}/{origin.name}/{index}",
                **written(spec, origin.values),
                **written(endpoint, origin.values),
                "kubernetes_sd_configs": _monitored(spec, origin, role, (role, "service")),
                **_rules(
                    rules.of_service(spec, endpoint, role, origin.settings),
                    endpoint.relabelings,
                    endpoint.metric_relabelings,
                    origin,
                ),
            },
        )


def of_pod_monitor(spec: PodMonitor, origin: Origin) -> Jobs:
    """One job for each endpoint: the pods that are selected."""
    for index, endpoint in enumerate(spec.pod_metrics_endpoints):
        yield (
            ("podMetricsEndpoints", index),
            {
                "job_name": f"podMonitor/{origin.namespace}/{origin.name}/{index}",
                **written(spec, origin.values),
                **written(endpoint, origin.values),
                "kubernetes_sd_configs": _monitored(spec, origin, "pod", ("pod",)),
                **_rules(
                    rules.of_pod(spec, endpoint, origin.namespace, origin.name, origin.settings),
                    endpoint.relabelings,
                    endpoint.metric_relabelings,
                    origin,
                ),
            },
        )


def of_probe(spec: Probe, origin: Origin) -> Jobs:
    """One job: the prober is asked about each static target, or about each path of the ingresses selected."""
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
    yield (), {**job, **_rules(made, targets.relabeling_configs, spec.metric_relabelings, origin)}


def of_scrape_config(spec: ScrapeConfigResource, origin: Origin) -> Jobs:
    """One job, whose discoveries are the resource's own."""
    job = {"job_name": f"scrapeConfig/{origin.namespace}/{origin.name}", **written(spec, origin.values)}
    for section in job.get("kubernetes_sd_configs", ()):
        if "api_server" not in section:
            section.update(origin.settings.reach)
        if section["role"] not in ("pod", "endpoints", "endpointslice"):
            section.pop("attach_metadata", None)  # As the operator, which warns: other roles have no node.
    # Here a scrape class stands before the name.
    made = [rules.JOB_NAME, *(origin.scrape_class.relabelings if origin.scrape_class else ())]
    made += [rules.fixed("job", spec.job_name)] if spec.job_name else []
    own = {
        "relabel_configs": [*made, *rules.users(spec.relabelings, origin.namespace, origin.settings)],
        "metric_relabel_configs": _metric_rules(spec.metric_relabelings, origin),
    }
    yield (), {**job, **own}


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
