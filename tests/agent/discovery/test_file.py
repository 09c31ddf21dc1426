import asyncio
from functools import partial
from pathlib import Path

import pytest

from agent.config import FileSdConfig
from agent.discovery import Groups, Place, TargetGroup
from agent.discovery.file import file_groups, read_groups
from agent.discovery.groups import Reading, parse_json
from pipeline.errors import PermanentError
from tests.agent.discovery.tools import Bench, addresses, bench

AT = Place("job", "file_sd_configs", 0)


def put(path: Path, text: str) -> None:
    """Replace a file the way deployments do: written beside, then renamed."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.replace(path)


async def after(stream: Groups, bench: Bench, seconds: float) -> list[TargetGroup]:
    """What the stream gives next, when the time moves on."""
    waiting = asyncio.ensure_future(stream.__anext__())
    await bench.time.sleeping()
    bench.time.move(seconds)
    async with asyncio.timeout(10):
        return await waiting


async def test_files_that_change_come_and_go_are_followed(tmp_path: Path) -> None:
    config = FileSdConfig(files=(tmp_path / "*.json", tmp_path / "one.yml"))
    put(tmp_path / "a.json", '[{"targets": ["a:1"], "labels": {"x": "1"}}]')
    async with bench() as made:
        stream = file_groups(config, AT, made.tools)
        (group,) = await anext(stream)
        assert addresses([group]) == ["a:1"]
        assert dict(group.labels) == {"x": "1", "__meta_filepath": str(tmp_path / "a.json")}

        put(tmp_path / "one.yml", "- targets: [b:2]\n  labels: {version: 1.10}\n")
        groups = await after(stream, made, 2.0)
        assert addresses(groups) == ["a:1", "b:2"]
        assert groups[1].labels["version"] == "1.10"

        put(tmp_path / "a.json", "[]")
        assert addresses(await after(stream, made, 2.0)) == ["b:2"]
        (tmp_path / "one.yml").unlink()
        assert addresses(await after(stream, made, 2.0)) == []


async def test_a_broken_file_keeps_its_last_good_groups(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    put(path, '[{"targets": ["a:1"]}]')
    async with bench() as made:
        stream = file_groups(FileSdConfig(files=(tmp_path / "*.json",)), AT, made.tools)
        assert addresses(await anext(stream)) == ["a:1"]
        put(path, '[{"targets": ["a:1"')
        put(tmp_path / "b.json", '[{"targets": ["b:1"]}]')
        assert addresses(await after(stream, made, 2.0)) == ["a:1", "b:1"]
        assert made.failures("job", "file_sd_configs") == 1
        assert "not JSON" in made.tools.failures[AT, str(path)]
        put(path, '[{"targets": ["a:2"]}]')
        assert addresses(await after(stream, made, 2.0)) == ["a:2", "b:1"]
        assert not made.tools.failures


async def test_nothing_to_find_is_told_too(tmp_path: Path) -> None:
    async with bench() as made:
        assert await anext(file_groups(FileSdConfig(files=(tmp_path / "*.yml",)), AT, made.tools)) == []


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.json", '[{"targets": ["a:1"], "label": {}}]', r"\[0\].label: unknown key"),
        ("a.json", '[{"targets": [9100]}]', r"\[0\].targets\[0\]: Input should be a valid string"),
        ("a.json", '{"targets": []}', "must be a list of target groups"),
        ("a.json", "", "not JSON"),
        ("a.json", r'[{"targets": ["a:1"], "labels": {"x": "\ud800"}}]', "not JSON: .* surrogates not allowed"),
        ("a.yml", "- targets: [a:1]\n- labels: {'': x}", r"a.yml:2: \[1\].labels: \"\" is not a valid label name"),
        ("a.yml", "- targets: {a: 1}", r"a.yml:1: \[0\].targets: Input should be a valid tuple"),
        ("a.yml", "- targets: [", "a.yml:2: not YAML"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, name: str, text: str, reason: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(PermanentError, match=reason):
        read_groups(tmp_path / name)


def test_an_empty_yaml_file_has_no_groups(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("# none yet\n")
    assert read_groups(tmp_path / "a.yml") == []


def test_a_file_that_holds_the_same_as_before_gives_the_very_same_groups(tmp_path: Path) -> None:
    path, reading = tmp_path / "a.json", Reading(partial(parse_json, source="a", meta={}))
    path.write_text('[{"targets": ["a:1"]}]')
    before = read_groups(path, reading)
    path.write_text('[{"targets": ["a:1"]}]')
    assert read_groups(path, reading) is before
    path.write_text("[null]")
    with pytest.raises(PermanentError):
        read_groups(path, reading)
    path.write_text('[{"targets": ["a:2"]}]')
    assert addresses(read_groups(path, reading)) == ["a:2"]
