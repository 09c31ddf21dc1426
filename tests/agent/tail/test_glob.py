"""Patterns mean what they mean to promtail: held to what doublestar itself answered (doublestar.json)."""

import json
from pathlib import Path

import pytest

from agent.tail.glob import Listing, Pattern

_GOLDEN = json.loads(Path(__file__).with_name("doublestar.json").read_text())


@pytest.mark.parametrize("pattern", _GOLDEN["matches"])
def test_a_pattern_matches_what_doublestar_matches(pattern: str) -> None:
    matches = _GOLDEN["matches"][pattern]
    if matches is None:
        with pytest.raises(ValueError):
            Pattern(pattern)
    else:
        read = Pattern(pattern)
        assert [path for path in _GOLDEN["paths"] if read.matches(path)] == matches


@pytest.mark.parametrize("pattern", [pattern for pattern, matches in _GOLDEN["matches"].items() if matches])
def test_the_files_found_are_those_that_match(tmp_path: Path, pattern: str) -> None:
    for path in _GOLDEN["paths"]:
        file = tmp_path / path.strip("/")
        is_folder = any(other.startswith(path.rstrip("/") + "/") for other in _GOLDEN["paths"])
        (file if is_folder else file.parent).mkdir(parents=True, exist_ok=True)
        if not is_folder:
            file.write_text("")
    found = {path.removeprefix(str(tmp_path)) for path in Pattern(f"{tmp_path}{pattern}").files(Listing())}
    assert found == {path for path in _GOLDEN["matches"][pattern] if (tmp_path / path.strip("/")).is_file()}


def test_a_link_to_a_directory_above_is_not_followed_for_ever(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "x.log").write_text("")
    assert set(Pattern(f"{tmp_path}/**/*.log").files(Listing())) == {f"{tmp_path}/a/x.log"}


def test_a_pattern_that_stands_for_too_many_is_refused() -> None:
    with pytest.raises(ValueError, match="more than"):
        Pattern("/" + "{a,b}" * 11)
