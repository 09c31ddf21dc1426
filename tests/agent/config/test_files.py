from pathlib import Path

import pytest

from agent.config.files import matching


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.yml", ["a.yml"]),
        ("*.yml", [".hidden.yml", "a.yml", "b.yml"]),
        ("**.yml", [".hidden.yml", "a.yml", "b.yml"]),
        ("[^a].yml", ["b.yml"]),
        ("?.json", ["c.json"]),
        ("none/*.yml", []),
        ("x" * 400, []),
        ("nu\0ll/a", []),
    ],
)
def test_wildcards_are_go_s(tmp_path: Path, pattern: str, names: list[str]) -> None:
    for name in ("a.yml", "b.yml", ".hidden.yml", "c.json"):
        (tmp_path / name).touch()
    assert [path.name for path in matching(tmp_path / pattern)] == names
