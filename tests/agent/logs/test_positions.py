"""promtail's positions are gone on from once, and never guessed."""

from pathlib import Path

import pytest

from agent.config.promtail import PositionsConfig
from agent.logs.positions import forget_known, import_once, imported_offsets, parse_positions, read_positions
from pipeline.errors import PermanentError
from tests.agent.logs.test_batcher import Bed, running

CURSOR = "s=1;i=2;b=3;m=4;t=5;x=6"
KEYS = {"journal": b"input/journal/journal\0position"}


def positions(folder: Path, text: str) -> PositionsConfig:
    file = folder / "positions.yaml"
    file.write_text(text)
    return PositionsConfig(filename=file)


def test_files_and_journals_are_told_apart() -> None:
    text = f'positions:\n  /var/log/a: "10"\n  /var/log/b.gz: 7\n  cursor-journal: "{CURSOR}"\n  journal-old: x\n'
    found = parse_positions(text, "p")
    assert found.offsets == {"/var/log/a": 10, "/var/log/b.gz": 7}
    assert found.cursors == {"journal": CURSOR, "old": "x"}


@pytest.mark.parametrize("text", ["", "positions: {}\n", "positions:\n"])
def test_an_empty_file_holds_nothing(text: str) -> None:
    assert parse_positions(text, "p").offsets == {}


@pytest.mark.parametrize(
    "text",
    [
        'positions:\n  /a: "1',
        'positions:\n  /a: "x"\n',
        "positions: [1]\n",
        "other: {}\n",
        "a\n",
        'positions:\n  /a: "1"\n  /a: "2"\n',
    ],
)
def test_a_damaged_file_is_an_error_that_says_what_to_do(tmp_path: Path, text: str) -> None:
    with pytest.raises(PermanentError, match="ignore_invalid_yaml"):
        read_positions(positions(tmp_path, text))
    ignoring = positions(tmp_path, text).model_copy(update={"ignore_invalid_yaml": True})
    assert read_positions(ignoring).offsets == {}


def test_a_file_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert read_positions(PositionsConfig(filename=tmp_path / "none")).offsets == {}


async def test_they_are_taken_over_once_and_only_of_files_that_are_there(tmp_path: Path) -> None:
    there = tmp_path / "a.log"
    there.write_text("x" * 100)
    config = positions(tmp_path, f'positions:\n  {there}: "10"\n  /gone: "5"\n  cursor-journal: "{CURSOR}"\n')
    async with running(Bed(tmp_path / "b")) as bed:
        await import_once(config, bed.batcher, KEYS)
        assert imported_offsets(bed.batcher) == {str(there): 10}
        assert bed.batcher.state(b"input/journal/journal") == {KEYS["journal"]: CURSOR.encode()}
    async with running(Bed(tmp_path / "b")) as bed:
        assert imported_offsets(bed.batcher) == {str(there): 10}, "until the file is known"
        await forget_known(bed.batcher, ["/other", str(there)])
        assert imported_offsets(bed.batcher) == {}
        await bed.batcher.flush()
        await import_once(config, bed.batcher, KEYS)
        assert imported_offsets(bed.batcher) == {}, "another file may have that name by now"
    async with running(Bed(tmp_path / "b")) as bed:
        await import_once(config, bed.batcher, KEYS)
        assert imported_offsets(bed.batcher) == {}
