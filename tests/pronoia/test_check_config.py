from pathlib import Path

import pytest
from click.testing import CliRunner

from pronoia.agent_file import kind_of
from pronoia.cli import main

AGENT = "scrape_configs: [{job_name: a}]\nremote_write: [{url: 'http://127.0.0.1:9090/api/v1/write'}]\n"
INGESTER = """\
log: {sqlite: {path: d}}
sinks: [{name: p, remote_write: {url: 'http://127.0.0.1:9090/api/v1/write'}}]
"""


def run(folder: Path, text: str, *options: str) -> tuple[int, str, str]:
    path = folder / "f.yml"
    path.write_text(text)
    result = CliRunner().invoke(main, ["check-config", *options, str(path)])
    return result.exit_code, result.stdout.replace(f"{folder}/", ""), result.stderr.replace(f"{folder}/", "")


def test_a_usable_file_is_told_what_it_is(tmp_path: Path) -> None:
    usable = "f.yml: usable as an agent's configuration: 1 scrape job, 1 remote write receiver\n"
    assert run(tmp_path, AGENT) == (0, usable, "")
    assert run(tmp_path, INGESTER) == (0, "f.yml: usable as an ingester's configuration: 1 sink\n", "")


def test_each_mistake_is_a_line_with_file_line_key_and_reason(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "scrape_configs:\n- {job_name: a, foo: 1}\n- {job_name: a}\nreceive: {}\n")
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "f.yml:2: scrape_configs[0].foo: unknown key",
        "f.yml:4: receive: is not supported yet",
    ]


def test_what_belongs_to_a_store_is_warned_of_and_strictly_an_error(tmp_path: Path) -> None:
    text = AGENT + "rule_files: [a.yml]\n"
    code, _, err = run(tmp_path, text)
    assert (code, err) == (
        0,
        "warning: f.yml:3: an agent evaluates no rules and keeps no series; of no effect here: rule_files (line 3)\n",
    )
    code, out, err = run(tmp_path, text, "--strict")
    assert (code, out) == (1, "")
    assert err.startswith("f.yml:3: an agent evaluates no rules")


def test_a_file_without_destination_is_usable_and_says_what_it_lacks(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, "scrape_configs: [{job_name: a}]")
    assert (code, err) == (
        0,
        "warning: f.yml:1: names no destination: an agent needs gateway or remote_write\n",
    )


def test_the_sections_of_up_are_checked_together(tmp_path: Path) -> None:
    def indented(text: str) -> str:
        return "".join(f"  {line}\n" for line in text.splitlines())

    good = f"agent:\n{indented(AGENT)}gateway: {{log: {{sqlite: {{path: d}}}}}}\ningester:\n{indented(INGESTER)}"
    code, out, _ = run(tmp_path, good)
    assert (code, out) == (
        0,
        "f.yml: usable as one process: 1 scrape job, 1 remote write receiver, a gateway, 1 sink\n",
    )
    assert run(tmp_path, "agent: {scrape_configs: []}\ningester:\n")[0] == 0
    code, out, _ = run(tmp_path, "log_store: {max_bytes: 4GiB}\nconsole: {listen: 127.0.0.1:8000}\n")
    assert code == 0
    assert out.startswith("f.yml: usable as one process: 2 scrape jobs")
    assert run(tmp_path, "log_store: {max_bytes: 1MiB}\n")[2] == "f.yml:1: log_store: max_bytes must be 64MiB or more\n"
    two_logs = "gateway: {log: {sqlite: {path: a}}}\ningester: {log: {sqlite: {path: b}}}\n"
    code, _, err = run(tmp_path, two_logs)
    assert (code, err) == (1, "f.yml:2: ingester.log: is not gateway.log: in one process there is one log\n")
    bad = f"agent:\n{indented(AGENT)}  foo: 1\ningester:\n{indented(INGESTER)}  bar: 1\nelse: {{}}\n"
    code, _, err = run(tmp_path, bad)
    assert code == 1
    assert err.splitlines() == [
        "f.yml:4: agent.foo: unknown key",
        "f.yml:8: ingester.bar: unknown key",
        "f.yml:9: else: unknown key",
    ]


def test_files_that_are_named_must_be_there(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, AGENT + "gateway: {url: 'grpc://g', token_file: t}\n")
    assert (code, err) == (1, "f.yml:3: gateway.token_file: cannot be read: t: No such file or directory\n")
    text = INGESTER.replace("/write'", "/write', bearer_token_file: t")
    code, _, err = run(tmp_path, text)
    reason = "cannot be read: t: No such file or directory"
    assert (code, err) == (1, f"f.yml:2: sinks[0].remote_write.bearer_token_file: {reason}\n")


def test_a_file_that_is_not_there_is_an_error() -> None:
    result = CliRunner().invoke(main, ["check-config", "/nowhere/f.yml"])
    assert result.exit_code == 1
    assert result.stderr.startswith("/nowhere/f.yml:1: cannot be read")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({}, "agent"),
        (None, "agent"),
        ({"scrape_configs": [], "agent": "name", "gateway": {"url": "grpc://g"}}, "agent"),
        ({"gateway": {"url": "grpc://g"}}, "agent"),
        ({"listen": {}, "log": {}}, "gateway"),
        ({"clusters": []}, "gateway"),
        ({"log": {}, "sinks": []}, "ingester"),
        ({"agent": {"gateway": {"url": "grpc://g"}}}, "up"),
        ({"gateway": {"listen": {}}}, "up"),
        ({"ingester": {}}, "up"),
    ],
)
def test_a_file_is_known_by_its_keys(value: object, kind: str) -> None:
    assert kind_of(value) == kind


def test_of_a_promtail_s_file_only_what_it_has_is_told(tmp_path: Path) -> None:
    text = """\
clients: [{url: "http://127.0.0.1:3100/loki/api/v1/push"}]
scrape_configs:
- {job_name: a, static_configs: [{labels: {job: a, __path__: /var/log/a.log}}]}
"""
    assert run(tmp_path, text) == (0, "f.yml: usable as an agent's configuration: 1 log job, 1 Loki\n", "")
