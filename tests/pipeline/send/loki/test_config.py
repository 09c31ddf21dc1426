import pytest
from pydantic import ValidationError

from pipeline.send.loki.config import LokiConfig

URL = "http://loki:3100/loki/api/v1/push"

PROMTAIL = {
    "url": URL,
    "name": "main",
    "headers": {"X-Team": "a"},
    "basic_auth": {"username": "u", "password": "p"},
    "tls_config": {"insecure_skip_verify": True},
    "proxy_url": "http://proxy:3128",
    "backoff_config": {"min_period": "100ms", "max_period": "1.5m", "max_retries": 20},
    "batchwait": "1s",
    "batchsize": 102400,
    "timeout": "10s",
    "tenant_id": "t",
    "external_labels": {"datacentre": "x"},
    "drop_rate_limited_batches": False,
}


def test_promtails_entry_is_taken_as_it_is() -> None:
    config = LokiConfig.model_validate(PROMTAIL)
    assert (config.timeout, config.batchsize, config.tenant_id) == (10.0, 102400, "t")
    assert (config.backoff().first_s, config.backoff().longest_s) == (0.1, 90.0)


def test_its_defaults_are_promtails() -> None:
    config = LokiConfig(url=URL)
    assert (config.timeout, config.batchsize) == (10.0, 2**20)
    assert (config.backoff().first_s, config.backoff().longest_s) == (0.5, 30.0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"drop_rate_limited_batches": True}, "nothing is dropped for a Loki that throttles"),
        ({"url": "loki:3100"}, "must be a URL"),
        ({"headers": {"Authorization": "x"}}, 'setting header "Authorization" is not allowed'),
        ({"external_labels": {"a-b": "x"}}, "is not a label's name"),
        ({"backoff_config": {"min_period": "1m", "max_period": "1s"}}, "not greater than max_period"),
        ({"query_url": "loki"}, "must be a URL"),
        ({"authorization": {"credentials": "x"}}, "at most one of basic_auth, oauth2 & authorization"),
        ({"unknown": 1}, "Extra inputs"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(change: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        LokiConfig.model_validate({**PROMTAIL, **change})


def test_it_is_asked_beside_where_it_is_pushed_to() -> None:
    assert LokiConfig(url=URL).asked_url() == "http://loki:3100/loki/api/v1/query_range"
    assert LokiConfig(url="https://x/a/loki/api/v1/push").asked_url() == "https://x/a/loki/api/v1/query_range"
    assert LokiConfig(url="http://x/api/prom/push").asked_url() == ""
    assert LokiConfig(url=URL, query_url="none").asked_url() == ""
    assert LokiConfig(url=URL, query_url="http://q/q").asked_url() == "http://q/q"
