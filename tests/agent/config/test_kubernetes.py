from typing import Any

import pytest
from pydantic import ValidationError

from agent.config.kubernetes import KubernetesSdConfig
from agent.config.selectors import check_field_selector, check_label_selector


@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "!a", "a=b", "a==b, c!=d", "a = b", "a=", "x in (a,b), y notin (c)", "a in ()", "a in (,)"),
        *("app.kubernetes.io/name=x", "a>5", "a<-1"),
    ],
)
def test_label_selectors_are_those_of_kubernetes(text: str) -> None:
    assert check_label_selector(text) == text


@pytest.mark.parametrize("text", ["a=b,", "a=b c", "=x", "a in", "a in (b", "ä=b", "a>x", "a b", "-a=b", "a/b/c=d"])
def test_other_label_selectors_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="unable to parse requirement"):
        check_label_selector(text)


@pytest.mark.parametrize(
    "text", ["", "spec.nodeName=a,status.phase!=Running", "a==b", ",a=b,", r"a=b\,c", r"a=b\=c", "a="]
)
def test_field_selectors_are_those_of_kubernetes(text: str) -> None:
    assert check_field_selector(text) == text


@pytest.mark.parametrize("text", ["foo", "a=b=c", r"a=\x", "a===b", "a=b\\"])
def test_other_field_selectors_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="can't understand"):
        check_field_selector(text)


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        ({}, "role missing"),
        ({"role": "vm"}, 'unknown Kubernetes SD role "vm"'),
        ({"role": "pod", "selectors": [{"role": "service"}]}, "pod role supports only pod, node selectors"),
        ({"role": "pod", "selectors": [{"role": "pod"}] * 2}, "duplicated selector role: pod"),
        ({"role": "pod", "api_server": "10.0.0.1:6443"}, "is no URL of http or https"),
        ({"role": "pod", "bearer_token": "t"}, "please provide the 'api_server' URL explicitly"),
    ],
)
def test_sections_that_prometheus_refuses_are_refused(section: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        KubernetesSdConfig.model_validate(section)


def test_the_keys_of_an_http_client_are_for_the_api_server() -> None:
    config = KubernetesSdConfig.model_validate({"role": "pod", "api_server": "https://a:1/", "bearer_token": "t"})
    assert config.api_server == "https://a:1"
    assert config.http.bearer_token.get_secret_value() == "t"
