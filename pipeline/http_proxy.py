"""Which proxy a request goes through, as Prometheus decides it.

Source: Prometheus documentation, `<http_config>`; golang.org/x/net/http/httpproxy for what `no_proxy` means.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from multidict import CIMultiDict
from pydantic import Field, SecretStr, model_validator

from pipeline.config import Section
from pipeline.errors import PermanentError

_PORTS = {"http": 80, "https": 443}


class ProxyKeys(Section):
    """The keys of every HTTP client, and of `oauth2`, that say how to reach it."""

    proxy_url: str = ""
    """The proxy to ask through."""
    no_proxy: str = ""
    """Hosts to ask without it, as in Go's NO_PROXY."""
    proxy_from_environment: bool = False
    """Take the proxy from HTTP_PROXY, HTTPS_PROXY and NO_PROXY."""
    proxy_connect_header: dict[str, tuple[SecretStr, ...]] = Field(default_factory=dict)
    """Headers for the proxy's CONNECT."""

    @model_validator(mode="after")
    def _one_proxy(self) -> "ProxyKeys":
        if self.proxy_connect_header and not (self.proxy_url or self.proxy_from_environment):
            raise ValueError(
                "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured"
            )
        for name in ("proxy_url", "no_proxy"):
            if self.proxy_from_environment and getattr(self, name):
                raise ValueError(f"if proxy_from_environment is configured, {name} must not be configured")
        if self.no_proxy and not self.proxy_url:
            raise ValueError("if no_proxy is configured, proxy_url must also be configured")
        if self.proxy_url and not _is_http(self.proxy_url):
            raise ValueError("proxy_url must be an http:// or https:// URL")
        return self


@dataclass(frozen=True, slots=True)
class Proxies:
    """A proxy for each scheme (empty: none), and the hosts that are reached without."""

    http: str = ""
    https: str = ""
    exempt: "Exempt | None" = None
    """None: every host goes through the proxy, loopback too."""

    def for_url(self, url: str) -> str:
        """Return the proxy's URL, empty where the request goes straight to its host."""
        parts = urlsplit(url)
        proxy = self.https if parts.scheme == "https" else self.http
        if not proxy or (self.exempt is not None and self.exempt.covers(parts.hostname or "", _port(url))):
            return ""
        return proxy


def proxies_of(keys: ProxyKeys, environment: Mapping[str, str]) -> Proxies:
    """Return what the keys say; raises PermanentError where the environment names a proxy that cannot be used."""
    if keys.proxy_from_environment:
        http, https = (_from_environment(environment, name) for name in ("HTTP_PROXY", "HTTPS_PROXY"))
        return Proxies(http, https, Exempt(_either(environment, "NO_PROXY")))
    return Proxies(keys.proxy_url, keys.proxy_url, Exempt(keys.no_proxy) if keys.no_proxy else None)


def connect_headers(keys: ProxyKeys) -> CIMultiDict[str]:
    """Return what the proxy itself is told when it is to connect to an https host."""
    out = CIMultiDict[str]()
    for name, secrets in keys.proxy_connect_header.items():
        for secret in secrets:
            out.add(name, secret.get_secret_value())
    return out


def _either(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name) or environment.get(name.lower(), "")


def _from_environment(environment: Mapping[str, str], name: str) -> str:
    value = _either(environment, name)
    url = value if not value or "://" in value else f"http://{value}"
    if url and not _is_http(url):
        raise PermanentError(f"{name} in the environment is no http:// or https:// URL")
    return url


def _is_http(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in _PORTS and bool(parts.hostname)


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or _PORTS.get(parts.scheme, 0)


class Exempt:
    """A list such as `10.0.0.0/8, 192.168.1.1:8080, .cluster.local, example.org`; `*` is everything.

    `example.org` covers its subdomains too, `.example.org` and `*.example.org` only those. Loopback is always covered.
    """

    def __init__(self, text: str) -> None:
        self._all = False
        self._networks: list[IPv4Network | IPv6Network] = []
        self._addresses: set[tuple[IPv4Address | IPv6Address, int]] = set()
        self._domains: list[tuple[str, bool, int]] = []
        for part in filter(None, (part.strip().lower() for part in text.split(","))):
            self._add(part)

    def _add(self, part: str) -> None:
        if part == "*":
            self._all = True
            return
        if "/" in part:
            try:
                self._networks.append(ip_network(part, strict=False))
            except ValueError:
                pass  # As in Go it is the name of no host then.
            else:
                return
        host, port = _split(part)
        if (address := _address(host)) is not None:
            self._addresses.add((address, port))
            return
        host = host.removeprefix("*") if host.startswith("*.") else host
        if host:
            self._domains.append(("." + host.lstrip("."), not host.startswith("."), port))

    def covers(self, host: str, port: int) -> bool:
        """Tell whether a host (a name, or an address without brackets) is reached without a proxy."""
        host = host.strip().lower()
        address = _address(host)
        if host == "localhost" or (address is not None and address.is_loopback) or self._all:
            return True
        if address is not None and (
            any(address in network for network in self._networks)
            or not self._addresses.isdisjoint(((address, port), (address, 0)))
        ):
            return True
        return any(
            (host.endswith(domain) or (itself and host == domain[1:])) and only in (0, port)
            for domain, itself, only in self._domains
        )


def _split(part: str) -> tuple[str, int]:
    """Return a host and its port, 0 where none is named."""
    host, colon, port = part.rpartition(":")
    if colon and port.isdigit() and (host.endswith("]") or ":" not in host):
        return host.strip("[]"), int(port)
    return part.strip("[]"), 0


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
