"""The relabelling rules that the operator makes of a resource's fields, in its order.

Source: prometheus-operator, pkg/prometheus/promcfg.go. Meta labels are those of Kubernetes discovery.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from agent.config.label_selector import LabelSelector
from agent.config.operator import OperatorConfig
from agent.discovery.operator.monitors import AnyEndpoint, Endpoint, PodEndpoint, PodMonitor, ServiceMonitor
from agent.discovery.operator.parts import Rule
from agent.discovery.operator.probe import IngressTargets
from pipeline.relabel import RelabelConfig

META: Final = "__meta_kubernetes_"
JOB_NAME: Final = RelabelConfig(source_labels=("job",), target_label="__tmp_prometheus_job_name")
"""Every job's first rule: users' rules may read the job's name from there."""
RUNNING: Final = RelabelConfig(action="drop", source_labels=(META + "pod_phase",), regex="(Failed|Succeeded)")


def sanitized(name: str) -> str:
    """Return the name as Kubernetes discovery writes it into a label's name."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", name)


def selected(selector: LabelSelector, kind: str) -> Iterator[RelabelConfig]:
    """Keep what a label selector selects; `kind` is pod, service or ingress."""
    label, present = f"{META}{kind}_label_", f"{META}{kind}_labelpresent_"
    for name, value in sorted(selector.match_labels.items()):
        both = (label + sanitized(name), present + sanitized(name))
        yield RelabelConfig(action="keep", source_labels=both, regex=f"({value});true")
    for each in selector.match_expressions:
        action = "keep" if each.operator in ("In", "Exists") else "drop"
        name = sanitized(each.key)
        if each.operator in ("In", "NotIn"):
            both, regex = (label + name, present + name), f"({'|'.join(each.values)});true"
            yield RelabelConfig(action=action, source_labels=both, regex=regex)
        else:
            yield RelabelConfig(action=action, source_labels=(present + name,), regex="true")


def keep(label: str, regex: object) -> RelabelConfig:
    """Keep targets whose meta label matches."""
    return RelabelConfig(action="keep", source_labels=(META + label,), regex=str(regex))


def copied(label: str, target: str) -> RelabelConfig:
    """Copy a meta label's value, or leave the target label without one."""
    return RelabelConfig(source_labels=(META + label,), target_label=target)


def if_there(label: str, target: str) -> RelabelConfig:
    """Copy a meta label's value where there is one."""
    return RelabelConfig(source_labels=(META + label,), target_label=target, regex="(.+)", replacement="${1}")


def fixed(target: str, value: str) -> RelabelConfig:
    """Give a label a value of the resource's own, in which `$1` stands for nothing more than it does there."""
    return RelabelConfig(target_label=target, replacement=value)


def carried(kind: str, labels: Iterable[str]) -> Iterator[RelabelConfig]:
    """Carry labels of a service or pod over to the target."""
    for label in labels:
        yield if_there(f"{kind}_label_{sanitized(label)}", sanitized(label))


def users(rules: Iterable[Rule], namespace: str, settings: OperatorConfig) -> Iterator[RelabelConfig]:
    """The resource's own rules, and behind them the namespace that no rule of theirs may change."""
    for rule in rules:
        yield rule.config()
    if settings.enforced_namespace_label:
        yield fixed(settings.enforced_namespace_label, namespace)


def of_service(
    spec: ServiceMonitor, endpoint: Endpoint, role: str, settings: OperatorConfig
) -> Iterator[RelabelConfig]:
    """What a ServiceMonitor's endpoint says, before rules of scrape classes and users."""
    yield JOB_NAME
    if spec.selector_mechanism == "RelabelConfig":
        yield from selected(spec.selector, "service")
    # Slices have labels of their own where Endpoints have them, too.
    slice_of = "endpointslice_" if role == "endpointslice" else "endpoint_"
    if endpoint.port:
        yield keep(slice_of + "port_name", endpoint.port)
    else:
        yield from _by_container_port(endpoint)
    target = (f"{META}{slice_of}address_target_kind", f"{META}{slice_of}address_target_name")
    for kind in ("Node", "Pod"):
        yield RelabelConfig(
            source_labels=target, separator=";", regex=f"{kind};(.*)", replacement="${1}", target_label=kind.lower()
        )
    yield copied("namespace", "namespace")
    yield copied("service_name", "service")
    yield copied("pod_name", "pod")
    yield copied("pod_container_name", "container")
    if endpoint.filter_running:
        yield RUNNING
    yield from carried("service", spec.target_labels)
    yield from carried("pod", (*spec.pod_target_labels, *settings.pod_target_labels))
    yield RelabelConfig(source_labels=(META + "service_name",), target_label="job", replacement="${1}")
    if spec.job_label:
        yield if_there(f"service_label_{sanitized(spec.job_label)}", "job")
    yield from _endpoint_label(endpoint)


def of_pod(
    spec: PodMonitor, endpoint: PodEndpoint, namespace: str, name: str, settings: OperatorConfig
) -> Iterator[RelabelConfig]:
    """What a PodMonitor's endpoint says, before rules of scrape classes and users."""
    yield JOB_NAME
    if endpoint.filter_running:
        yield RUNNING
    if spec.selector_mechanism == "RelabelConfig":
        yield from selected(spec.selector, "pod")
    if endpoint.port:
        yield keep("pod_container_port_name", endpoint.port)
    elif endpoint.port_number:
        yield keep("pod_container_port_number", endpoint.port_number)
    else:
        yield from _by_container_port(endpoint)
    yield copied("namespace", "namespace")
    yield copied("pod_container_name", "container")
    yield copied("pod_name", "pod")
    yield from carried("pod", (*spec.pod_target_labels, *settings.pod_target_labels))
    yield fixed("job", f"{namespace}/{name}")
    if spec.job_label:
        yield if_there(f"pod_label_{sanitized(spec.job_label)}", "job")
    yield from _endpoint_label(endpoint)


def _by_container_port(endpoint: AnyEndpoint) -> Iterator[RelabelConfig]:
    if isinstance(endpoint.target_port, str):
        yield keep("pod_container_port_name", endpoint.target_port)
    elif endpoint.target_port:
        yield keep("pod_container_port_number", endpoint.target_port)


def _endpoint_label(endpoint: AnyEndpoint) -> Iterator[RelabelConfig]:
    if endpoint.port or endpoint.target_port is not None:
        yield fixed("endpoint", endpoint.port or str(endpoint.target_port))


def of_static_probe(prober: str) -> Iterator[RelabelConfig]:
    """Ask the prober about each static target."""
    yield RelabelConfig(source_labels=("__address__",), target_label="__param_target")
    yield RelabelConfig(source_labels=("__param_target",), target_label="instance")
    yield fixed("__address__", prober)


def of_ingress_probe(targets: IngressTargets, prober: str) -> Iterator[RelabelConfig]:
    """Ask the prober about each path of the ingresses that are selected."""
    yield from selected(targets.selector, "ingress")
    yield RelabelConfig(
        source_labels=(META + "ingress_scheme", "__address__", META + "ingress_path"),
        regex="(.+);(.+);(.+)",
        target_label="__param_target",
        replacement="${1}://${2}${3}",
    )
    yield copied("namespace", "namespace")
    yield copied("ingress_name", "ingress")
    yield RelabelConfig(source_labels=("__address__",), target_label="__tmp_ingress_address")
    yield RelabelConfig(source_labels=("__param_target",), target_label="instance")
    yield fixed("__address__", prober)
