"""Where an API server is, and how to prove who we are: a pod's service account, or a kubeconfig file.

Sources: Kubernetes documentation, "Accessing the Kubernetes API from a Pod" and "Client Authentication (v1)", for
the names in kubeconfig `k8s.io/client-go/tools/clientcmd/api/v1`.
"""

import base64
import binascii
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from pipeline.config import ConfigError, Document, Key, read
from pipeline.errors import PermanentError, TransientError
from pipeline.http_config import HttpClientConfig

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Cluster:
    """One API server; `namespace` is the pod's own, or the kubeconfig context's."""

    url: str
    http: HttpClientConfig
    namespace: str = ""


Find = Callable[[], Cluster]
"""Says where the API server is, each time before it is asked; raises PipelineError."""


def in_cluster(environment: Mapping[str, str] = os.environ, folder: Path = SERVICE_ACCOUNT) -> Cluster:
    """Return the cluster that this process runs in as a pod; raises PermanentError elsewhere.

    The token itself is read for each request, since kubelet rotates it.
    """
    host, port = environment.get("KUBERNETES_SERVICE_HOST", ""), environment.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        reason = "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set"
        raise PermanentError(f"not in a Kubernetes cluster: {reason}; name an api_server or a kubeconfig_file")
    try:
        namespace = (folder / "namespace").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        namespace = ""  # Only namespaces.own_namespace needs it, and says so.
    ca_file = folder / "ca.crt"
    tls = {"ca_file": ca_file} if ca_file.exists() else {}
    http = HttpClientConfig.model_validate({"bearer_token_file": folder / "token", "tls_config": tls})
    return Cluster(f"https://{f'[{host}]' if ':' in host else host}:{port}", http, namespace)


class Kubeconfig:
    """A `Find` of a kubeconfig file, which is read again when it changes; `context` is its current one if empty."""

    def __init__(self, path: Path, context: str = "") -> None:
        self._path = path
        self._context = context
        self._known: tuple[tuple[int, int, int], Cluster] | None = None

    def __call__(self) -> Cluster:
        """Return the file's cluster; raises PipelineError."""
        try:
            stat = self._path.stat()
        except OSError as error:
            raise TransientError(f"{self._path}: cannot be read: {error.strerror}") from error
        stamp = stat.st_mtime_ns, stat.st_size, stat.st_ino
        if self._known is None or self._known[0] != stamp:
            self._known = stamp, read_kubeconfig(self._path, self._context)
        return self._known[1]


def read_kubeconfig(path: Path, context: str = "") -> Cluster:
    """Return the cluster of a kubeconfig's context; raises ConfigError with file, line, key and reason."""
    document = read(path)
    chosen = context or _text(document, document.value, "current-context", ())
    if not chosen:
        raise ConfigError([document.mistake((), "current-context is not set")])
    context_key, within = _named(document, "contexts", "context", chosen)
    cluster_key, cluster = _named(document, "clusters", "cluster", _text(document, within, "cluster", context_key))
    user_name = _text(document, within, "user", context_key)
    user_key, user = _named(document, "users", "user", user_name) if user_name else ((), {})
    for name in ("exec", "auth-provider"):
        if user.get(name):
            reason = "is not supported: no program is run for a token; name a token, tokenFile or client certificate"
            raise ConfigError([document.mistake((*user_key, name), reason)])
    try:
        http = HttpClientConfig.model_validate(_http(document, path.parent, cluster_key, cluster, user_key, user))
    except ValidationError as error:
        mistakes = [document.mistake(user_key, str(item["msg"])) for item in error.errors()]
        raise ConfigError(mistakes) from error
    url = _text(document, cluster, "server", cluster_key) or "http://localhost:8080"
    namespace = _text(document, within, "namespace", context_key)
    return Cluster(url.rstrip("/") if "://" in url else f"http://{url}".rstrip("/"), http, namespace)


def _http(
    document: Document,
    folder: Path,
    cluster_key: Key,
    cluster: Mapping[str, Any],
    user_key: Key,
    user: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the section of `HttpClientConfig` that a kubeconfig's cluster and user stand for; data beats files."""
    tls: dict[str, Any] = {"insecure_skip_verify": bool(cluster.get("insecure-skip-tls-verify", False))}
    http: dict[str, Any] = {"tls_config": tls, "http_headers": {}}
    sources = (
        ("ca", cluster_key, cluster, "certificate-authority"),
        ("cert", user_key, user, "client-certificate"),
        ("key", user_key, user, "client-key"),
    )
    for name, key, section, stem in sources:
        if data := _text(document, section, f"{stem}-data", key):
            tls[name] = _decoded(document, (*key, f"{stem}-data"), data)
        elif file := _text(document, section, stem, key):
            tls[f"{name}_file"] = folder / file
    tls["server_name"] = _text(document, cluster, "tls-server-name", cluster_key)
    http["proxy_url"] = _text(document, cluster, "proxy-url", cluster_key)
    if file := _text(document, user, "tokenFile", user_key):
        http["bearer_token_file"] = folder / file
    elif token := _text(document, user, "token", user_key):
        http["bearer_token"] = token
    elif name := _text(document, user, "username", user_key):
        http["basic_auth"] = {"username": name, "password": _text(document, user, "password", user_key)}
    if name := _text(document, user, "as", user_key):
        http["http_headers"]["Impersonate-User"] = {"values": [name]}
    if groups := user.get("as-groups"):
        http["http_headers"]["Impersonate-Group"] = {"values": [str(group) for group in groups]}
    return http


def _named(document: Document, plural: str, singular: str, name: str) -> tuple[Key, Mapping[str, Any]]:
    entries = document.value.get(plural) if isinstance(document.value, dict) else None
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, dict) and entry.get("name") == name:
            section = entry.get(singular)
            return (plural, index, singular), section if isinstance(section, dict) else {}
    raise ConfigError([document.mistake((plural,), f'has no {singular} named "{name}"')])


def _text(document: Document, section: Any, name: str, key: Key) -> str:
    value = section.get(name) if isinstance(section, Mapping) else None
    if value is not None and not isinstance(value, str):
        raise ConfigError([document.mistake((*key, name), "must be text")])
    return value or ""


def _decoded(document: Document, key: Key, data: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ConfigError([document.mistake(key, f"is no base64 of PEM: {error}")]) from error
