"""Probe. Source: the operator's API reference, monitoring.coreos.com/v1."""

import re
from ipaddress import ip_address

from pydantic import Field, field_validator, model_validator

from agent.config.label_selector import LabelSelector
from agent.config.lists import LabelMap
from agent.discovery.operator.http import Http, Proxy, Scheme
from agent.discovery.operator.part import Own, Part
from agent.discovery.operator.parts import Duration, Limits, NamespaceSelector, Rules

_PART = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,255}}$){_PART}(?:\.{_PART})*\.?")


def parse_prober(url: str) -> str:
    """Return the prober's address if it is `host` or `host:port`; raises ValueError."""
    bracketed = re.fullmatch(r"\[([^]]*)\](?::(\d+))?", url)
    plain = re.fullmatch(r"([^:]*)(?::(\d+))?", url)
    match = bracketed or plain
    host, port = (match[1], match[2]) if match else (url, None)
    is_host = _HOST.fullmatch(host) is not None if plain else _is_address(host)
    if not is_host or (port is not None and not 0 < int(port) < 65536):
        raise ValueError(f'"{url}" must be a host or host:port, without a scheme')
    return url


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


class Prober(Proxy):
    """`prober`: whom to ask, and how."""

    url: Own[str]
    """The prober's host, and port."""
    scheme: Scheme = "http"
    metrics_path: str = Field(default="/probe", alias="path")

    _a_host = field_validator("url")(parse_prober)


class StaticTargets(Part):
    """`targets.staticConfig`."""

    static: tuple[str, ...] = ()
    labels: LabelMap = Field(default_factory=dict)
    relabeling_configs: Rules = ()


class IngressTargets(Part):
    """`targets.ingress`."""

    selector: LabelSelector = LabelSelector()
    namespace_selector: NamespaceSelector = NamespaceSelector()
    relabeling_configs: Rules = ()


class ProbeTargets(Part):
    """`targets`: static ones come before ingresses, where both are given."""

    static_config: StaticTargets | None = None
    ingress: IngressTargets | None = None

    @model_validator(mode="after")
    def _some(self) -> "ProbeTargets":
        if self.static_config is None and self.ingress is None:
            raise ValueError("at least one of staticConfig and ingress is required")
        return self


class Parameter(Part):
    """One of `params`."""

    name: str
    values: tuple[str, ...] = ()


class Probe(Http, Limits):
    """`spec` of a Probe."""

    job_name: Own[str] = ""
    """The label `job`, in place of the job's name."""
    prober: Own[Prober]
    """Who is asked: `url`, `scheme`, `path`, and the keys of a proxy."""
    module: Own[str] = ""
    """The parameter `module`, above one of `params`."""
    params: Own[tuple[Parameter, ...]] = ()
    """Further parameters, by `name` their `values`."""
    targets: Own[ProbeTargets]
    """`staticConfig`, or `ingress`: what is probed."""
    scrape_interval: Duration = Field(default=0.0, alias="interval")
    scrape_timeout: Duration = 0.0
    metric_relabelings: Own[Rules] = ()
    """Rules for samples."""
