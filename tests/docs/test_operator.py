from tests.docs.operator import PAGE, PARTS, page, tables


def test_the_tables_are_those_of_the_code() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "run: python -m tests.docs.operator"


def test_every_field_is_an_option_or_says_what_it_is() -> None:
    assert "|  |" not in tables()
    for part in PARTS.values():
        for name, field in part.model_fields.items():
            assert f"| `{field.alias or name}` |" in tables()
