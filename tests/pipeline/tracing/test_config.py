import pytest

from pipeline.config import ConfigError, parse, validate
from pipeline.tracing import TracingConfig


def read(text: str) -> TracingConfig:
    return validate(parse(text, "f.yml"), TracingConfig)


def test_the_keys_are_those_of_prometheus_with_its_defaults() -> None:
    config = read("endpoint: localhost:4317\n")
    assert (config.client_type, config.endpoint, config.sampling_fraction) == ("grpc", "localhost:4317", 0.0)
    assert (config.insecure, config.headers, config.compression, config.timeout) == (False, {}, "", 10.0)
    config = read(
        """\
client_type: http
endpoint: "[::1]:4318"
sampling_fraction: 0.25
headers: {foo: bar}
timeout: 5s
compression: gzip
tls_config: {ca_file: ca.pem, cert_file: c.pem, key_file: k.pem}
"""
    )
    assert (config.client_type, config.sampling_fraction, config.timeout) == ("http", 0.25, 5.0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sampling_fraction: 1\n", "f.yml:1: tracing endpoint must be set"),
        ("endpoint: http://h:1\n", "endpoint must be host:port, without a scheme or a path, not 'http://h:1'"),
        ("endpoint: h:1/v1/traces\n", "endpoint must be host:port"),
        ("endpoint: h\n", "endpoint must be host:port"),
        (
            "endpoint: h:1\nsampling_fraction: 1.5\n",
            "f.yml:2: sampling_fraction: Input should be less than or equal to 1",
        ),
        ("endpoint: h:1\ncompression: zstd\n", "compression: invalid compression type zstd provided, valid options"),
        ("endpoint: h:1\nheaders: {Authorization: x}\n", "custom authorization header configuration is not yet"),
        ("endpoint: h:1\nheaders: {Host: x}\n", "headers: Host is a reserved header. It must not be changed"),
        ("endpoint: h:1\nclient_type: thrift\n", "client_type: must be 'grpc' or 'http', not 'thrift'"),
        ("endpoint: h:1\nratio: 1\n", "f.yml:2: ratio: unknown key"),
        (
            "endpoint: h:1\ntls_config: {insecure_skip_verify: true}\n",
            "tls_config.insecure_skip_verify: is not supported",
        ),
        ("endpoint: h:1\ntls_config: {min_version: TLS13}\n", "tls_config.min_version: is not supported"),
        ("endpoint: h:1\nclient_type: http\ntls_config: {server_name: x}\n", "tls_config.server_name is not supported"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert reason in str(caught.value)
