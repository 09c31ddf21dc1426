"""A resource that cannot be used says at which key, and why; and no key of the operator's is unknown."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from agent.config.operator import OperatorConfig
from agent.config.scrape import GlobalConfig
from agent.discovery.operator.convert import KINDS, Kind, RefusedError, convert, parse
from agent.discovery.operator.part import Reference
from agent.discovery.operator.scrape_config import OTHER_DISCOVERIES
from pipeline.errors import PermanentError
from tests.agent.discovery.operator.definitions import keys

SERVICE, POD, PROBE, SCRAPE = KINDS
_SM: dict[str, Any] = {"selector": {}, "endpoints": [{"port": "web"}]}
_PROBE: dict[str, Any] = {"prober": {"url": "b:9115"}, "targets": {"staticConfig": {"static": ["a"]}}}
_SECRET = {"name": "s", "key": "k"}


def endpoint(**keys: Any) -> dict[str, Any]:
    return {"selector": {}, "endpoints": [{"port": "web"}, {"port": "web", **keys}]}


REFUSED: list[tuple[Kind, dict[str, Any], str]] = [
    (SERVICE, {"endpoints": []}, "spec.selector: is required"),
    (SERVICE, {**_SM, "sampelLimit": 1}, "spec.sampelLimit: unknown key"),
    (SERVICE, endpoint(nodePort=1), "spec.endpoints[1].nodePort: unknown key"),
    (SERVICE, endpoint(scheme="gopher"), 'spec.endpoints[1].scheme: "gopher" is not a scheme: HTTP or HTTPS'),
    (SERVICE, endpoint(interval="10"), "spec.endpoints[1].interval: not a valid duration string: '10'"),
    (SERVICE, endpoint(interval="10s", scrapeTimeout="11s"), "spec.endpoints[1]: scrape timeout greater than scrape"),
    (SERVICE, endpoint(relabelings=[{"action": "hashmod", "targetLabel": "x"}]), "relabelings[0]: relabel configur"),
    (SERVICE, endpoint(metricRelabelings=[{"regex": "("}]), "spec.endpoints[1].metricRelabelings[0].regex: err"),
    (SERVICE, endpoint(port="we(b"), "spec.endpoints[1]: error parsing regexp: missing )"),
    (SERVICE, endpoint(targetPort=True), "spec.endpoints[1].targetPort"),
    (
        SERVICE,
        endpoint(basicAuth={"username": _SECRET, "password": _SECRET}, authorization={"credentials": _SECRET}),
        "spec.endpoints[1]: authorization and basicAuth cannot be configured at the same time",
    ),
    (SERVICE, endpoint(authorization={"type": "Bearer"}), "spec.endpoints[1].authorization.credentials: is required"),
    (
        SERVICE,
        endpoint(authorization={"type": "basic", "credentials": _SECRET}),
        'spec.endpoints[1].authorization: authorization type cannot be set to "basic"',
    ),
    (SERVICE, endpoint(tlsConfig={"cert": {"secret": _SECRET}}), "spec.endpoints[1].tlsConfig: a client certificate"),
    (SERVICE, endpoint(tlsConfig={"minVersion": "TLS13", "maxVersion": "TLS12"}), "maxVersion must be more than"),
    (
        SERVICE,
        endpoint(tlsConfig={"ca": {"secret": _SECRET, "configMap": _SECRET}}),
        "spec.endpoints[1].tlsConfig.ca: cannot specify both secret and configMap",
    ),
    (SERVICE, endpoint(proxyUrl="socks5://p:1"), "spec.endpoints[1]: proxy_url must be an http"),
    (SERVICE, endpoint(bearerTokenFile="/t", tlsConfig={"caFile": "/c"}), "names the file /"),
    (SERVICE, {**_SM, "scrapeClass": "none"}, 'spec.scrapeClass: "none" is none of the scrape_classes'),
    (SERVICE, {**_SM, "selectorMechanism": "Magic"}, "spec.selectorMechanism: must be 'RelabelConfig' or 'RoleSelec"),
    (
        SERVICE,
        {**_SM, "selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
        "spec.selector.matchExpressions[0]: operator In needs values",
    ),
    (SERVICE, {**_SM, "selector": {"matchLabels": {"a": "no value"}}}, "spec.selector: unable to parse requirement"),
    (SERVICE, {**_SM, "bodySizeLimit": "lots"}, "spec.bodySizeLimit: not a size"),
    (SERVICE, {**_SM, "scrapeProtocols": ["Smoke"]}, "spec.scrapeProtocols[0]: unknown scrape protocol Smoke"),
    (SERVICE, {**_SM, "convertClassicHistogramsToNHCB": True}, "spec.convertClassicHistogramsToNHCB: is not supported"),
    (SERVICE, {**_SM, "nativeHistogramMinBucketFactor": "x"}, "nativeHistogramMinBucketFactor: not a quantity: 'x'"),
    (POD, {"selector": {}, "podMetricsEndpoints": [{"portNumber": 0}]}, "spec.podMetricsEndpoints[0].portNumber: "),
    (PROBE, {**_PROBE, "prober": {"url": "http://b:9115"}}, 'spec.prober.url: "http://b:9115" must be a host or'),
    (PROBE, {**_PROBE, "targets": {}}, "spec.targets: at least one of staticConfig and ingress is required"),
    (SCRAPE, {"azureSDConfigs": [{}]}, "spec.azureSDConfigs: is not supported yet: bring these targets by file_sd"),
    (SCRAPE, {"kubernetesSDConfigs": [{"role": "Moon"}]}, "spec.kubernetesSDConfigs[0].role: must be "),
    (SCRAPE, {"fileSDConfigs": [{"files": ["/etc/x.json"]}]}, "spec: names the file /etc/x.json, which arbitrary_fs"),
    (SCRAPE, {"httpSDConfigs": [{"url": "ftp://x"}]}, "spec.httpSDConfigs[0].url: URL scheme must be 'http'"),
]


@pytest.mark.parametrize(("kind", "spec", "reason"), REFUSED)
def test_a_resource_is_refused_with_its_key_and_the_reason(kind: Kind, spec: dict[str, Any], reason: str) -> None:
    deny = {"arbitrary_fs_access_through_sms": {"deny": True}}
    settings = OperatorConfig.model_validate({f"{kind.setting}_selector": {}, **deny})
    with pytest.raises(RefusedError) as refused:
        parsed = parse(kind, {"metadata": {"namespace": "n", "name": "r"}, "spec": spec})
        convert(parsed, settings, GlobalConfig(), {reference: "value" for _, reference in parsed.needs})
    assert reason in str(refused.value)


def test_what_cannot_be_read_names_the_key_that_needs_it() -> None:
    spec = {"selector": {}, "endpoints": [{"authorization": {"credentials": _SECRET}}]}
    parsed = parse(SERVICE, {"metadata": {"namespace": "n", "name": "r"}, "spec": spec})
    settings = OperatorConfig.model_validate({"service_monitor_selector": {}})
    with pytest.raises(RefusedError, match=r"^spec.endpoints\[0\].authorization.credentials: there is none$"):
        convert(parsed, settings, GlobalConfig(), {Reference("Secret", "s", "k"): PermanentError("there is none")})


def test_references_that_go_never_set_are_none() -> None:
    spec = endpoint(bearerTokenSecret={"key": ""}, tlsConfig={"ca": {}, "cert": {}, "insecureSkipVerify": True})
    parsed = parse(SERVICE, {"metadata": {"namespace": "n", "name": "r"}, "spec": spec})
    assert parsed.needs == ()


@pytest.mark.kubernetes
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_key_of_the_operators_own_definition_is_known(kind: Kind) -> None:
    theirs = {key for key in keys(kind) if key[0] not in OTHER_DISCOVERIES}
    assert set(known(kind.spec)) == theirs


def known(model: type[BaseModel], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield every key of a model, sections and what is in them."""
    for name, field in model.model_fields.items():
        other = field.validation_alias
        key = field.alias or (other.choices[-1] if other is not None and hasattr(other, "choices") else name)
        yield (*at, str(key))
        for inner in models(field.annotation):
            yield from known(inner, (*at, str(key)))


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models(part)
