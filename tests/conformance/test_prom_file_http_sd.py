"""prometheus/prometheus, discovery/file and discovery/http: their fixtures."""

import pytest

from agent.discovery.file import read_groups
from agent.discovery.groups import parse_json
from pipeline.errors import PermanentError
from tests.conformance.data import folder

FILES = folder("prom-file-http-sd")


@pytest.mark.parametrize("name", ["valid.json", "valid.yml", "valid3.yml"])
def test_valid_files_give_their_groups(name: str) -> None:
    path = FILES / "file" / name
    groups = read_groups(path)
    assert [[target["__address__"] for target in group.targets] for group in groups] == [
        ["localhost:9090", "example.org:443"],
        ["my.domain"],
    ]
    assert [dict(group.labels) for group in groups] == [
        {"foo": "bar", "__meta_filepath": str(path)},
        {"__meta_filepath": str(path)},
    ]
    assert [group.source for group in groups] == [f"{path}:0", f"{path}:1"]


@pytest.mark.parametrize("name", ["invalid_nil.json", "invalid_nil.yml"])
def test_a_file_with_an_empty_group_is_refused_whole(name: str) -> None:
    with pytest.raises(PermanentError, match="nil target group item found"):
        read_groups(FILES / "file" / name)


def test_an_http_answer_gives_its_groups() -> None:
    url = "http://sd.example/targets"
    body = (FILES / "http" / "http_sd.good.json").read_bytes()
    (group,) = parse_json(body, url, {"__meta_url": url})
    assert [dict(target) for target in group.targets] == [{"__address__": "127.0.0.1:9090"}]
    assert dict(group.labels) == {"__meta_datacenter": "bru1", "__meta_url": url}
