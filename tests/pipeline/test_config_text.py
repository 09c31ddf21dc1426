from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from pipeline.config import ConfigError, FilePath, Section, format_duration, parse, parse_duration_s, validate


class Labels(Section):
    labels: dict[str, str]
    count: int = 0
    on: bool = False


def test_scalars_can_stay_the_text_of_the_file() -> None:
    text = "labels: {version: 1.10, day: 2024-01-02, port: 0x10, yes: on}\ncount: 12\non: true"
    read = validate(parse(text, "f.yml", text_scalars=True), Labels)
    assert read.labels == {"version": "1.10", "day": "2024-01-02", "port": "0x10", "yes": "on"}
    assert (read.count, read.on) == (12, True)


def test_a_relative_path_is_looked_for_beside_the_file() -> None:
    class Files(Section):
        near: FilePath
        far: FilePath

    files = validate(parse("near: a/b\nfar: /c", "/etc/p/f.yml"), Files)
    assert files == Files(near=Path("/etc/p/a/b"), far=Path("/c"))


def test_a_key_that_stands_twice_is_named_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("a: {b: 1}\na: {b: 2}\n", "f.yml")
    assert str(caught.value) == "f.yml:2: a: stands twice"


@pytest.mark.parametrize(
    "text", ["0s", "1ms", "15s", "1m", "1m30s", "1h", "1d", "8d", "2w", "1y", "5w", "400d", "1h1s500ms"]
)
def test_durations_are_written_as_prometheus_writes_them(text: str) -> None:
    assert format_duration(parse_duration_s(text)) == text


def test_a_list_of_mistakes_is_not_called_too_short() -> None:
    class Lists(Section):
        some: Annotated[tuple[Labels, ...], Field(min_length=1)]

    with pytest.raises(ConfigError) as caught:
        validate(parse("some:\n- {labels: {}, x: 1}\n", "f.yml"), Lists)
    assert str(caught.value) == "f.yml:2: some[0].x: unknown key"
    with pytest.raises(ConfigError, match="at least 1 item"):
        validate(parse("some: []", "f.yml"), Lists)


def test_a_file_that_holds_itself_is_refused() -> None:
    with pytest.raises(ConfigError, match="nested too deeply, or holds itself"):
        parse("a: &a [*a]", "f.yml")


def test_a_file_that_unfolds_without_end_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(ConfigError, match="holds more than 500000 keys and entries"):
        parse("\n".join(lines), "f.yml")
