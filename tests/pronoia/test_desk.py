from pathlib import Path

import pytest

from pronoia.desk import where_served

UP = "ingester: {sinks: [{name: store-logs, store: {signal: logs}}]}\ngateway: {listen: {admin: '127.0.0.1:1'}}\n"
INGESTER = "log: {sqlite: {path: log}}\nadmin: '127.0.0.1:2'\nsinks: [{name: a, remote_write: {url: 'http://a/'}}]\n"


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        (UP, ["http://127.0.0.1:1", "http://127.0.0.1:15694"]),
        ("console: {}\n", ["http://127.0.0.1:15690", "http://127.0.0.1:15694"]),
        (INGESTER, ["http://127.0.0.1:2"]),
    ],
)
def test_an_ingester_s_file_and_that_of_up_say_where_to_ask(tmp_path: Path, text: str, urls: list[str]) -> None:
    file = tmp_path / "file.yml"
    file.write_text(text)
    assert where_served(file) == urls
