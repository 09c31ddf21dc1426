import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.discovery.kubernetes import Kubeconfig, in_cluster
from agent.discovery.kubernetes.cluster import read_kubeconfig
from pipeline.config import ConfigError
from pipeline.errors import PermanentError, TransientError


def account(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def test_a_pod_finds_its_api_server_by_its_environment_and_account(tmp_path: Path) -> None:
    folder = account(tmp_path / "account", token="t", ca_crt="pem", namespace="monitoring\n")
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    found = in_cluster(environment, folder)
    assert found.url == "https://[fd00::1]:443"
    assert found.namespace == "monitoring"
    assert found.http.bearer_token_file == folder / "token"
    assert found.http.tls_config.ca_file == folder / "ca.crt"


def test_elsewhere_it_is_said_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="not in a Kubernetes cluster: KUBERNETES_SERVICE_HOST and"):
        in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path)


def kubeconfig(folder: Path, user: dict[str, Any], cluster: dict[str, Any] | None = None, **more: Any) -> Path:
    config = {
        "current-context": "here",
        "contexts": [
            {"name": "there", "context": {"cluster": "none", "user": "none"}},
            {"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "n"}},
        ],
        "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443/", **(cluster or {})}}],
        "users": [{"name": "u", "user": user}],
        **more,
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def test_certificates_and_tokens_are_inline_or_in_files_beside(tmp_path: Path) -> None:
    data = base64.b64encode(b"PEM").decode()
    given = {"client-certificate-data": data, "client-key-data": data, "client-key": "ignored"}
    found = read_kubeconfig(kubeconfig(tmp_path, given, {"certificate-authority": "ca.pem", "tls-server-name": "api"}))
    assert (found.url, found.namespace) == ("https://10.0.0.1:6443", "n")
    tls = found.http.tls_config
    assert (tls.ca_file, tls.cert, tls.key.get_secret_value(), tls.key_file) == (
        tmp_path / "ca.pem",
        "PEM",
        "PEM",
        None,
    )
    assert tls.server_name == "api"
    assert not tls.insecure_skip_verify

    found = read_kubeconfig(kubeconfig(tmp_path, {"token": "a", "tokenFile": "t"}, {"insecure-skip-tls-verify": True}))
    assert found.http.bearer_token_file == tmp_path / "t"
    assert found.http.tls_config.insecure_skip_verify

    impersonating = {"token": "a", "as": "jane", "as-groups": ["g1", "g2"]}
    found = read_kubeconfig(kubeconfig(tmp_path, impersonating))
    assert found.http.bearer_token.get_secret_value() == "a"
    assert {name: header.values for name, header in found.http.http_headers.items()} == {
        "Impersonate-User": ("jane",),
        "Impersonate-Group": ("g1", "g2"),
    }

    basic = read_kubeconfig(kubeconfig(tmp_path, {"username": "u", "password": "p"})).http.basic_auth
    assert basic is not None
    assert (basic.username, basic.password.get_secret_value()) == ("u", "p")


@pytest.mark.parametrize(
    ("user", "more", "reason"),
    [
        ({"exec": {"command": "aws"}}, {}, r"users\[0\]\.user\.exec: is not supported: no program is run for a token"),
        ({"auth-provider": {"name": "gcp"}}, {}, r"users\[0\]\.user\.auth-provider: is not supported"),
        ({"token": 5}, {}, r"users\[0\]\.user\.token: must be text"),
        ({"client-certificate-data": "%"}, {}, r"client-certificate-data: is no base64 of PEM"),
        ({"client-certificate": "c"}, {}, r"a client certificate needs both"),
        ({}, {"current-context": ""}, r"current-context is not set"),
        ({}, {"current-context": "x"}, r'contexts: has no context named "x"'),
        ({}, {"clusters": []}, r'clusters: has no cluster named "c"'),
        ({}, {"users": None}, r'users: has no user named "u"'),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    tmp_path: Path, user: dict[str, Any], more: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        read_kubeconfig(kubeconfig(tmp_path, user, **more))


def test_a_kubeconfig_is_read_again_when_it_changes(tmp_path: Path) -> None:
    find = Kubeconfig(kubeconfig(tmp_path, {"token": "first"}))
    first = find()
    assert find() is first
    kubeconfig(tmp_path, {"token": "the second"})
    assert find().http.bearer_token.get_secret_value() == "the second"
    (tmp_path / "kubeconfig").unlink()
    with pytest.raises(TransientError, match="kubeconfig: cannot be read: No such file"):
        find()
