from agent.config.unsupported import REASONS
from tests.docs.promtail import OF_JOBS, PAGE, page, undescribed


def test_the_tables_are_those_of_the_code() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "run: python -m tests.docs.promtail"


def test_every_key_says_what_it_does() -> None:
    assert undescribed() == [], "write a sentence below the key in its class"


def test_what_is_refused_by_name_is_on_the_page() -> None:
    assert set(OF_JOBS) <= set(REASONS)
