import pytest

from ingester.config import IngesterConfig
from pipeline.config import ConfigError, parse, validate

GOOD = """\
log: {kafka: {brokers: ["127.0.0.1:9092"], topic_prefix: "p."}}
sinks:
- name: prometheus
  remote_write:
    url: http://127.0.0.1:9090/api/v1/write
    headers: {X-Team: a}
  clusters: [c1, c2]
  tenant: "{cluster}"
  start: 2026-01-31T12:00:00Z
  window: 5000
"""


def read(text: str) -> IngesterConfig:
    return validate(parse(text, "ingester.yaml"), IngesterConfig)


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return [str(mistake) for mistake in caught.value.mistakes]


def test_a_configuration_is_read() -> None:
    config = read(GOOD)
    [sink] = config.sinks
    assert config.prefix() == "p."
    assert (config.admin.host, config.admin.port) == ("127.0.0.1", 15694)
    assert sink.start_ms() == 1769860800000
    assert sink.tenant_of("c1", "t") == "c1"
    assert (sink.window, sink.request_items) == (5000, 10_000)


def test_what_is_left_out_has_a_default() -> None:
    [sink] = read("log: {sqlite: {path: d}}\nsinks: [{name: s, store: {}}]\n").sinks
    assert (sink.window, sink.start, sink.start_ms(), sink.clusters) == (10_000, "earliest", None, None)
    assert sink.tenant_of("c1", "t") == ""


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        (("window: 5000", "windw: 5000"), "ingester.yaml:10: sinks[0].windw: unknown key"),
        (
            ("window: 5000", "window: 0"),
            "ingester.yaml:10: sinks[0].window: Input should be greater than or equal to 1",
        ),
        (('"{cluster}"', '"{node}"'), "ingester.yaml:8: sinks[0].tenant: unknown field {node}"),
        (("[c1, c2]", "[]"), "ingester.yaml:7: sinks[0].clusters: "),
        (
            ("http://127.0.0.1:9090", "127.0.0.1:9090"),
            "ingester.yaml:3: sinks[0]: remote_write.url must begin with http",
        ),
        (("12:00:00Z", "12:00:00"), "ingester.yaml:3: sinks[0]: start needs a time zone"),
        (("  window: 5000", "  store: {}"), "ingester.yaml:3: sinks[0]: give exactly one of "),
        (("name: prometheus", "name: a b"), "ingester.yaml:3: sinks[0].name: "),
    ],
)
def test_a_mistake_is_told_with_its_line_and_key(change: tuple[str, str], mistake: str) -> None:
    [found] = mistakes(GOOD.replace(*change))
    assert found.startswith(mistake)


def test_two_sinks_cannot_have_one_name() -> None:
    text = "log: {sqlite: {path: d}}\nsinks: [{name: s, store: {}}, {name: s, store: {}}]\n"
    assert mistakes(text) == ["ingester.yaml:1: sink s stands twice"]


def test_an_ingester_without_sinks_is_refused() -> None:
    assert mistakes("log: {sqlite: {path: d}}\nsinks: []\n")[0].startswith("ingester.yaml:2: sinks: ")
