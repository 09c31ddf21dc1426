import json
from pathlib import Path

from click.testing import CliRunner

from pronoia.cli import main


def run(folder: Path, *options: str, more: str = "") -> str:
    """Ask for the targets of a promtail's file that reads `folder`/*.log but for b.log, and what is not there."""
    path = folder / "promtail.yaml"
    path.write_text(f"""\
clients: [{{url: "http://127.0.0.1:3100/loki/api/v1/push"}}]
scrape_configs:
- job_name: some
  static_configs:
  - labels: {{job: some, __path__: "{folder}/*.log", __path_exclude__: "{folder}/b.log"}}
- job_name: none
  static_configs:
  - labels: {{job: none, __path__: "{folder}/missing/*.log"}}
{more}""")
    result = CliRunner().invoke(main, ["targets", "--config", str(path), *options])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_pattern_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    more = '- {job_name: wrong, static_configs: [{labels: {__path__: "/var/log/[a"}}]}'
    out = run(tmp_path, "--job", "logs/wrong", more=more)
    assert out.startswith("logs/wrong: 0 targets with 0 files, 1 left out\n  1 left out: __path__ /var/log/[a: ")


def test_the_files_that_a_job_of_logs_reads_are_named(tmp_path: Path) -> None:
    for name in ("a.log", "b.log", "c.log"):
        (tmp_path / name).write_text("line\n")
    (tmp_path / "socket.log").symlink_to("/dev/null")
    expected = f"""\
logs/none: 1 target with 0 files, 0 left out
  {tmp_path}/missing/*.log  {{job="none"}}
    no such file
logs/some: 1 target with 2 files, 0 left out
  {tmp_path}/*.log  {{job="some"}}
    {tmp_path}/a.log
    {tmp_path}/c.log
  not read: {tmp_path}/socket.log is not a regular file
"""
    assert run(tmp_path) == expected
    none, some = json.loads(run(tmp_path, "--json"))["logs"]["activeTargets"]
    assert (none["files"], some["files"]) == ([], [f"{tmp_path}/a.log", f"{tmp_path}/c.log"])


def test_of_many_files_some_are_named(tmp_path: Path) -> None:
    for number in range(100, 150):
        (tmp_path / f"{number}.log").write_text("line\n")
    out = run(tmp_path)
    assert "logs/some: 1 target with 50 files, 0 left out\n" in out
    assert f"    {tmp_path}/104.log\n    … and 45 more: --json has all\n" in out
