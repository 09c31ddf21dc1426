import pytest
from pydantic import ValidationError

from pipeline.errors import PermanentError
from pipeline.http_config import HttpClientConfig
from pipeline.http_proxy import Exempt, proxies_of


@pytest.mark.parametrize(
    ("text", "url", "covered"),
    [
        # golang.org/x/net/http/httpproxy, what its documentation says of NoProxy.
        ("example.org", ("example.org", 80), True),
        ("example.org", ("a.example.org", 80), True),
        ("example.org", ("anexample.org", 80), False),
        (".example.org", ("example.org", 80), False),
        (".example.org", ("a.example.org", 80), True),
        ("*.example.org", ("example.org", 80), False),
        ("*.example.org", ("a.b.example.org", 80), True),
        ("example.org:8080", ("example.org", 80), False),
        ("example.org:8080", ("example.org", 8080), True),
        ("EXAMPLE.org", ("Example.ORG", 80), True),
        ("10.0.0.0/8", ("10.1.2.3", 80), True),
        ("10.0.0.0/8", ("11.1.2.3", 80), False),
        ("10.1.2.3", ("10.1.2.3", 80), True),
        ("10.1.2.3:81", ("10.1.2.3", 80), False),
        ("[2001:db8::1]:81", ("2001:db8::1", 81), True),
        ("2001:db8::1", ("2001:db8::1", 81), True),
        ("2001:db8::/32", ("2001:db8::1", 81), True),
        ("a, b ,c", ("b", 80), True),
        ("*", ("anything", 80), True),
        ("x", ("localhost", 80), True),
        ("x", ("127.0.0.2", 80), True),
        ("x", ("::1", 80), True),
        (":80", ("a", 80), False),
        ("", ("a", 80), False),
    ],
)
def test_which_hosts_are_reached_without_a_proxy(text: str, url: tuple[str, int], covered: bool) -> None:
    assert Exempt(text).covers(*url) is covered


def keys(**given: object) -> HttpClientConfig:
    return HttpClientConfig.model_validate(given)


def test_a_proxy_without_exemptions_is_asked_for_loopback_too() -> None:
    proxies = proxies_of(keys(proxy_url="http://p:1"), {})
    assert proxies.for_url("http://127.0.0.1/x") == "http://p:1"
    assert proxies.for_url("https://a:444/x") == "http://p:1"
    assert proxies_of(keys(proxy_url="http://p:1", no_proxy="a:444"), {}).for_url("https://a:444/x") == ""


def test_the_environment_s_proxies_are_those_of_its_schemes() -> None:
    environment = {"HTTP_PROXY": "p:1", "https_proxy": "https://q:2", "no_proxy": ".cluster.local"}
    proxies = proxies_of(keys(proxy_from_environment=True), environment)
    assert proxies.for_url("http://a/") == "http://p:1"
    assert proxies.for_url("https://a/") == "https://q:2"
    assert proxies.for_url("http://a.cluster.local/") == ""
    assert proxies.for_url("http://localhost:9090/") == ""
    assert proxies_of(keys(), environment).for_url("http://a/") == ""


def test_a_proxy_of_the_environment_that_cannot_be_used_is_named() -> None:
    with pytest.raises(PermanentError, match="HTTPS_PROXY in the environment is no http"):
        proxies_of(keys(proxy_from_environment=True), {"HTTPS_PROXY": "socks5://p:1"})


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"no_proxy": "x"}, "if no_proxy is configured, proxy_url must also be configured"),
        ({"proxy_connect_header": {"X": ["y"]}}, "proxy_url or proxy_from_environment must also be configured"),
        ({"proxy_from_environment": True, "proxy_url": "http://p"}, "proxy_url must not be configured"),
        ({"proxy_from_environment": True, "proxy_url": "http://p", "no_proxy": "x"}, "must not be configured"),
        ({"proxy_url": "socks5://p:1"}, "must be an http:// or https:// URL"),
        ({"oauth2": {"client_id": "i", "token_url": "http://t", "no_proxy": "x"}}, "proxy_url must also be configured"),
    ],
)
def test_proxies_that_contradict_each_other_are_refused(given: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        keys(**given)
