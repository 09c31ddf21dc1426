"""The examples of the page on inputs of logs are configurations that an agent takes."""

import re
from pathlib import Path

import pytest

from agent.config import load

PAGE = Path(__file__).parents[2] / "docs" / "log-inputs.md"
EXAMPLES = [text for text in re.findall(r"```\n(.*?)```", PAGE.read_text(), re.DOTALL) if "scrape_configs:" in text]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_taken(tmp_path: Path, example: str) -> None:
    file = tmp_path / "promtail.yml"
    file.write_text(f"clients: [{{url: 'http://127.0.0.1:3100/loki/api/v1/push'}}]\n{example}")
    for name in ("tls.crt", "tls.key", "clients.crt", "ca.crt"):
        (tmp_path / name).touch()
    logs = load(file, {}).config.logs
    assert logs is not None
    assert len(logs.scrape_configs) == 1


def test_there_is_an_example_of_each() -> None:
    assert len(EXAMPLES) == 6
