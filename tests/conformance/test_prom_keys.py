"""Every key that Prometheus' configuration has is one of ours, or refused by name: read from Prometheus' own source."""

import re
import shutil
from functools import lru_cache
from pathlib import Path

import pytest
from pydantic import BaseModel

from agent.config.scrape import GlobalConfig, ScrapeConfig
from agent.config.store import StoreGlobals
from agent.config.unsupported import REASONS
from agent.discovery import MECHANISMS
from pipeline.http_config import Authorization, BasicAuth, Header, HttpClientConfig, OAuth2, TlsConfig
from pipeline.relabel import RelabelConfig
from tests.servers.processes import run_tool
from tests.servers.prometheus import MODULE

PROMETHEUS, COMMON = "github.com/prometheus/prometheus", "github.com/prometheus/common"
STRUCTS: list[tuple[str, str, str, tuple[type[BaseModel], ...]]] = [
    (PROMETHEUS, "config/config.go", "GlobalConfig", (GlobalConfig, StoreGlobals)),
    (PROMETHEUS, "config/config.go", "ScrapeConfig", (ScrapeConfig,)),
    (PROMETHEUS, "model/relabel/relabel.go", "Config", (RelabelConfig,)),
    (COMMON, "config/http_config.go", "HTTPClientConfig", (HttpClientConfig,)),
    (COMMON, "config/http_config.go", "ProxyConfig", (HttpClientConfig,)),
    (COMMON, "config/http_config.go", "TLSConfig", (TlsConfig,)),
    (COMMON, "config/http_config.go", "BasicAuth", (BasicAuth,)),
    (COMMON, "config/http_config.go", "Authorization", (Authorization,)),
    (COMMON, "config/http_config.go", "OAuth2", (OAuth2,)),
    (COMMON, "config/headers.go", "Header", (Header,)),
]
KINDS = {
    "file_sd_configs": ("file/file.go", "SDConfig"),
    "http_sd_configs": ("http/http.go", "SDConfig"),
    "dns_sd_configs": ("dns/dns.go", "SDConfig"),
    "consul_sd_configs": ("consul/consul.go", "SDConfig"),
    "docker_sd_configs": ("moby/docker.go", "DockerSDConfig"),
    "ec2_sd_configs": ("aws/ec2.go", "EC2SDConfig"),
    "kubernetes_sd_configs": ("kubernetes/kubernetes.go", "SDConfig"),
}
"""Where below Prometheus' discovery/ the sections are that we have."""


@lru_cache
def source(module: str) -> Path:
    """Return where a Go module's source is."""
    if shutil.which("go") is None:
        pytest.skip("Prometheus' source needs Go (no `go` on the PATH)")
    return Path(run_tool("go", "list", "-mod=mod", "-m", "-f", "{{.Dir}}", module, cwd=MODULE).strip())


def keys_of(text: str, struct: str) -> set[str]:
    """Return the YAML keys of a Go struct."""
    found = re.search(rf"^type {struct} struct {{\n(.*?)^}}", text, re.DOTALL | re.MULTILINE)
    assert found is not None, struct
    return set(re.findall(r'yaml:"(\w+)[,"]', found[1]))


@pytest.mark.parametrize(("module", "file", "struct", "ours"), STRUCTS, ids=[struct[2] for struct in STRUCTS])
def test_every_key_is_read_or_refused_by_name(
    module: str, file: str, struct: str, ours: tuple[type[BaseModel], ...]
) -> None:
    theirs = keys_of((source(module) / file).read_text(encoding="utf-8"), struct)
    read = {field.alias or name for model in ours for name, field in model.model_fields.items()}
    assert len(theirs) > 2
    assert theirs - read - set(REASONS) == set()


def test_every_kind_of_discovery_is_one_of_ours_or_refused_by_name() -> None:
    files = [path for path in (source(PROMETHEUS) / "discovery").rglob("*.go") if not path.name.endswith("_test.go")]
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    kinds = set(re.findall(r'Name\(\) string\s*{\s*return "(\w+)"', text)) - {"error", "static"}
    assert len(kinds) > 20
    assert {f"{kind}_sd_configs" for kind in kinds} - set(MECHANISMS) - set(REASONS) == set()


@pytest.mark.parametrize("key", sorted(set(MECHANISMS) - {"static_configs"}))
def test_every_key_of_a_discovery_is_read_or_refused_by_name(key: str) -> None:
    file, struct = KINDS[key]
    theirs = keys_of((source(PROMETHEUS) / "discovery" / file).read_text(encoding="utf-8"), struct)
    (model,) = sections(ScrapeConfig.model_fields[key].annotation)
    assert theirs
    assert theirs - {field.alias or name for name, field in model.model_fields.items()} - set(REASONS) == set()


def sections(annotation: object) -> list[type[BaseModel]]:
    """Return the sections that a type holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in sections(part)]
