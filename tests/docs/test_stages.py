import re

from agent.stages.template.functions import FUNCTIONS
from tests.docs.stages import PAGE, names, page


def test_the_tables_are_those_of_the_code() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "run: python -m tests.docs.stages"


def test_every_stage_has_a_section() -> None:
    assert [stage for stage in names() if f"\n## {stage}\n" not in PAGE.read_text(encoding="utf-8")] == []


def test_every_function_of_templates_is_named() -> None:
    functions = PAGE.read_text(encoding="utf-8").partition("### Functions\n")[2].partition("\n## ")[0]
    assert set(FUNCTIONS) <= set(re.findall(r"\w+", functions))
