from agent.config.scrape import ScrapeConfig
from agent.config.unsupported import REASONS
from agent.discovery import MECHANISMS
from tests.docs.options import PAGE, page, undescribed


def test_the_page_says_what_the_code_does() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "run: python -m tests.docs.options"


def test_every_key_says_what_it_does() -> None:
    assert undescribed() == [], "write a sentence below the key in its class"


def test_a_discovery_that_is_read_is_carried_out_and_the_others_are_refused() -> None:
    read = {key for key in ScrapeConfig.model_fields if key.endswith(("_sd_configs", "static_configs"))}
    assert read == set(MECHANISMS)
    assert not read & set(REASONS)
