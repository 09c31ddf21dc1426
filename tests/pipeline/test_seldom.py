import logging

import pytest

from pipeline.seldom import SELDOM_S, Seldom


def test_a_kind_of_line_is_told_once_in_a_while_and_never_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    now_s = 5.0
    logger = logging.getLogger("tests.seldom")
    taming = Seldom(lambda: now_s)
    logger.addFilter(taming)
    try:
        with caplog.at_level(logging.INFO, "tests.seldom"):
            for number in range(3):
                logger.error("host %d is away", number)
                logger.info("asked %d", number)
            logger.warning("another kind")
            now_s += SELDOM_S
            logger.error("host %d is away", 7)
    finally:
        logger.removeFilter(taming)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "host 0 is away"),
        ("INFO", "asked 0"),
        ("INFO", "asked 1"),
        ("INFO", "asked 2"),
        ("WARNING", "another kind"),
        ("WARNING", "host 7 is away"),
    ]
