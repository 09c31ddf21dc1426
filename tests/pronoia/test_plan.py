"""What `pronoia up` keeps is in its data folder, wherever its file is and whatever it is started from."""

from pathlib import Path

import pytest

from pipeline.config import Address
from pronoia.plan import Plan, make_plan

NODE = Address(host="127.0.0.1", port=9100)


def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> tuple[Plan, Path]:
    """Plan with a file in one folder, started from another, with a relative data folder."""
    here, file = tmp_path / "here", tmp_path / "etc" / "up.yml"
    here.mkdir()
    file.parent.mkdir()
    file.write_text(text)
    monkeypatch.chdir(here)
    return make_plan(file, Path("data"), NODE), here / "data"


@pytest.mark.parametrize("text", ["{}", "gateway: {log: {sqlite: {path: log}}}"])
def test_what_is_kept_is_in_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    made, data = plan(tmp_path, monkeypatch, text)
    assert made.gateway.log.sqlite is not None
    assert made.gateway.log.sqlite.path == data / "log"
    assert made.ingester.log == made.gateway.log
    assert (made.store.path, made.log_store.path) == (data / "store", data / "logs")


def test_a_folder_that_is_named_is_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = plan(tmp_path, monkeypatch, "store: {path: kept}")
    assert made.store.path == tmp_path / "etc" / "kept"
