"""Names that rotation gives, and the order in which their files were written."""

from pathlib import Path

import pytest

from agent.tail.folders import Folders
from agent.tail.rotated import base_of


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("app.log.1", "app.log"),
        ("app.log.12.gz", "app.log"),
        ("app.log-20260101.bz2", "app.log"),
        ("app.log-20260101-1767225600", "app.log"),
        ("app.log.2026-01-01_15", "app.log"),
        ("0.log.20260101-000000.gz", "0.log"),
        ("app.log", None),
        ("app.log.1.tmp", None),
        ("app.log.old", None),
        ("worker-1", None),
        ("syslog-ng.log", None),
        (".1", None),
    ],
)
def test_a_name_tells_the_log_that_it_is_a_part_of(name: str, base: str | None) -> None:
    assert base_of(name) == base


@pytest.mark.parametrize(
    "oldest_first",
    [
        ["app.log.10.gz", "app.log.9.gz", "app.log.2.gz", "app.log.1"],
        ["app.log-20251231.gz", "app.log-20260101.gz", "app.log-20260102"],
        ["app.log.20260101-000000.gz", "app.log.20260101-235959.gz", "app.log.20260102-000000"],
        ["app.log-20251231", "app.log.2", "app.log.1"],
    ],
)
def test_parts_are_sorted_by_age(tmp_path: Path, oldest_first: list[str]) -> None:
    for name in [*sorted(oldest_first), "app.log", "other.log.1", "app.log.1.tmp"]:
        (tmp_path / name).write_text("")
    assert Folders().beside(f"{tmp_path}/app.log") == [f"{tmp_path}/{name}" for name in oldest_first]


def test_what_is_just_being_compressed_is_there_once(tmp_path: Path) -> None:
    for name in ("app.log", "app.log.1", "app.log.1.gz"):
        (tmp_path / name).write_text("")
    assert Folders().beside(f"{tmp_path}/app.log") == [f"{tmp_path}/app.log.1"]
