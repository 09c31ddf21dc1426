import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import PermanentError
from pronoia.own_log import MOST_A_MINUTE, Sparing, keep_own_log


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, which is as it was afterwards."""
    logger = logging.getLogger()
    level, handlers = logger.level, list(logger.handlers)
    levels = [handler.level for handler in handlers]
    yield logger
    for handler in set(logger.handlers) - set(handlers):
        handler.close()
        logger.removeHandler(handler)
    for handler, before in zip(handlers, levels, strict=True):
        handler.setLevel(before)
    logger.setLevel(level)


def test_a_message_is_written_ten_times_a_minute_and_then_how_often_it_was_not(root: logging.Logger) -> None:
    now_s = [0.0]
    sparing = Sparing(lambda: now_s[0])

    def said(message: str, *arguments: object) -> logging.LogRecord | None:
        record = logging.LogRecord("x", logging.ERROR, "", 0, message, arguments, None)
        return record if sparing.filter(record) else None

    assert sum(said("batch %d failed", n) is not None for n in range(100)) == MOST_A_MINUTE
    assert said("another") is not None
    now_s[0] = 61
    again = said("batch %d failed", 100)
    assert again is not None
    assert vars(again)["left_out"] == 90
    after = said("batch %d failed", 101)
    assert after is not None
    assert "left_out" not in vars(after)


def test_the_file_has_what_the_terminal_is_spared(root: logging.Logger, tmp_path: Path) -> None:
    root.setLevel(logging.WARNING)
    keep_own_log(tmp_path / "data" / "own.log")
    logging.getLogger("x").info("told", extra={"who": "someone"})
    logging.getLogger("x").debug("not told")
    [line] = (tmp_path / "data" / "own.log").read_text().splitlines()
    written = json.loads(line)
    assert (written["level"], written["message"], written["who"]) == ("info", "told", "someone")
    assert all(handler.level >= logging.INFO for handler in root.handlers)


def test_a_file_that_cannot_be_written_ends_the_start(root: logging.Logger, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PermanentError, match="cannot be written"):
        keep_own_log(tmp_path / "file" / "own.log")
