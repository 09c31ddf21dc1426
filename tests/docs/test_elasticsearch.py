"""The page on Elasticsearch: its example can be used, and it names every key and privilege."""

import json
import re
from pathlib import Path

from ingester.config import IngesterConfig
from ingester.sinks.elasticsearch.config import DEFAULT_FIELDS, ElasticsearchConfig
from pipeline.config import parse
from pipeline.http_config import HttpClientConfig
from tests.ingester.sinks.elasticsearch.test_real_security import ROLES

PAGE = (Path(__file__).parents[2] / "docs" / "elasticsearch.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_example_is_a_configuration() -> None:
    value = parse(blocks("yaml")[0], "page").value
    for sink in value["sinks"]:
        # Files that a configuration names must be there.
        sink["elasticsearch"] = {
            key: part for key, part in sink["elasticsearch"].items() if key not in ("api_key_file", "tls_config")
        }
    config = IngesterConfig.model_validate(value)
    assert [sink.elasticsearch and sink.elasticsearch.signal for sink in config.sinks] == ["logs", "metrics"]
    fields = parse(blocks("yaml")[1], "page").value["fields"]
    assert ElasticsearchConfig(hosts=("http://es",), fields=fields).fields == fields
    assert DEFAULT_FIELDS.items() <= fields.items()


def test_every_key_is_in_the_table() -> None:
    own = set(ElasticsearchConfig.model_fields) - set(HttpClientConfig.model_fields)
    cells = re.findall(r"^\| ([^|]*) \|", PAGE, re.MULTILINE)
    assert own <= set(re.findall(r"`([a-z_]+)`", " ".join(cells)))


def test_the_role_is_the_one_that_is_tested() -> None:
    role, tested = json.loads(blocks("json")[0]), parse(ROLES, "roles").value["pronoia"]
    assert role["cluster"] == tested["cluster"]
    assert role["indices"][0]["privileges"] == tested["indices"][0]["privileges"]
