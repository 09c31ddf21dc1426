from pathlib import Path

import pytest

from gateway.config import GatewayConfig
from pipeline.config import ConfigError, parse, validate

LOG = "log: {sqlite: {path: d}}\n"


def config(text: str) -> GatewayConfig:
    return validate(parse(LOG + text, "/etc/pronoia/gateway.yml"), GatewayConfig)


def test_the_defaults_listen_on_loopback_and_ask_nobody() -> None:
    found = config("")
    assert found.clusters is None
    assert (str(found.listen.grpc), str(found.listen.http)) == (
        "host='127.0.0.1' port=15610",
        "host='127.0.0.1' port=15611",
    )
    assert found.listen.admin.port == 15690
    assert found.lanes == 8


def test_a_token_file_is_looked_for_beside_the_configuration() -> None:
    (cluster,) = config("clusters: [{name: c1, token_file: t}]").clusters or ()
    assert cluster.token_file == Path("/etc/pronoia/t")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("listen: {http: '0.0.0.0:15611'}", "listen.http: 0.0.0.0 can be reached by others"),
        ("listen: {grpc: 'gateway.example:15610'}", "listen.grpc: gateway.example can be reached by others"),
        ("listen: {grpc: null, http: null}", "give at least one of grpc and http"),
        ("clusters: []", "at least 1 item"),
        ("clusters: [{name: c1}]", "give at least one of token_file, tokens and certificates"),
        ("clusters: [{name: c1, tokens: ['']}]", "a token is empty"),
        ("clusters: [{name: c1, tokens: [a]}, {name: c1, tokens: [b]}]", "c1 stands twice"),
        ("clusters: [{name: c1, certificates: [a]}]", "certificates need tls.client_ca_file"),
        ("clusters: [{name: c1, tokens: [a], limits: {samples: 5}}]", "unknown key"),
        ("tls: {cert_file: c, key_file: k, require_client_certificate: true}", "needs client_ca_file beside it"),
        (
            "clusters: [{name: c1, certificates: [a]}]\ntls: {cert_file: c, key_file: k, client_ca_file: a}",
            "certificates over gRPC need tls.require_client_certificate",
        ),
        ("limits: {body: 10MB, in_flight: 1MB}", "in_flight is less than body"),
        ("on_foreign_label: drop", "'refuse' or 'overwrite'"),
        ("cluster_label: 'a-b'", "pattern"),
        ("lanes: 0", "greater than or equal to 1"),
        ("signals: []", "at least 1 item"),
        ("signals: [traces]", "must be <Signal.METRICS: 'metrics'> or <Signal.LOGS: 'logs'>"),
    ],
)
def test_what_cannot_work_is_said_before_anything_starts(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config(text)
    assert reason in str(raised.value)
    assert "/etc/pronoia/gateway.yml:" in str(raised.value)


def test_everybody_may_reach_a_gateway_that_asks_who_they_are() -> None:
    found = config("listen: {http: '0.0.0.0:15611'}\nclusters: [{name: c1, tokens: [a]}]")
    assert found.listen.http is not None
    assert found.listen.http.host == "0.0.0.0"
