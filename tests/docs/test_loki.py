"""The page on Loki: its example can be used, and it names every key."""

import re
from pathlib import Path

from ingester.config import IngesterConfig
from ingester.sinks.loki.config import LokiSinkConfig
from pipeline.config import parse
from pipeline.http_config import HttpClientConfig

PAGE = (Path(__file__).parents[2] / "docs" / "loki.md").read_text(encoding="utf-8")


def test_the_example_is_a_configuration_and_shows_the_defaults() -> None:
    example = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0]
    [sink] = IngesterConfig.model_validate(parse(example, "page").value).sinks
    assert sink.loki is not None
    assert sink.loki == LokiSinkConfig(url=sink.loki.url)


def test_every_key_is_in_the_table() -> None:
    own = set(LokiSinkConfig.model_fields) - set(HttpClientConfig.model_fields)
    cells = re.findall(r"^\| ([^|]*) \|", PAGE, re.MULTILINE)
    assert own <= set(re.findall(r"`([a-z_]+)`", " ".join(cells)))
