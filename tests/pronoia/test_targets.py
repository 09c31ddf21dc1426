import json
from pathlib import Path

from click.testing import CliRunner

from pronoia.cli import main

CONFIG = """\
scrape_configs:
- job_name: one
  static_configs: [{targets: ["a:1", "drop:1"], labels: {env: p}}]
  relabel_configs: [{source_labels: [__address__], regex: "drop:.*", action: drop}]
- job_name: two
  file_sd_configs: [{files: [sd.json]}]
"""


def run(folder: Path, *options: str) -> tuple[int, str, str]:
    path = folder / "prometheus.yml"
    path.write_text(CONFIG)
    result = CliRunner().invoke(main, ["targets", "--config", str(path), *options])
    return result.exit_code, result.stdout, result.stderr


def test_targets_are_shown_with_their_labels_and_dropped_ones_with_the_rule(tmp_path: Path) -> None:
    (tmp_path / "sd.json").write_text('[{"targets": ["b:1"]}]')
    code, out, _ = run(tmp_path, "--json")
    assert code == 0
    shown = json.loads(out)
    first, second = shown["activeTargets"]
    assert first == {
        "discoveredLabels": {
            "__address__": "a:1",
            "__metrics_path__": "/metrics",
            "__scheme__": "http",
            "__scrape_interval__": "1m",
            "__scrape_timeout__": "10s",
            "env": "p",
            "job": "one",
        },
        "labels": {"env": "p", "instance": "a:1", "job": "one"},
        "scrapePool": "one",
        "scrapeUrl": "http://a:1/metrics",
        "scrapeInterval": "1m",
        "scrapeTimeout": "10s",
    }
    assert second["discoveredLabels"]["__meta_filepath"] == str(tmp_path / "sd.json")
    (dropped,) = shown["droppedTargets"]
    assert (dropped["scrapePool"], dropped["rule"]) == ("one", 0)
    assert dropped["reason"] == "relabel_configs[0]: action=drop source_labels=__address__ regex=drop:.*"
    assert shown["droppedTargetCounts"] == {"one": 1, "two": 0}


def test_text_says_the_same(tmp_path: Path) -> None:
    code, out, _ = run(tmp_path, "--job", "one")
    assert code == 0
    assert out.splitlines()[:3] == [
        "one: 1 scraped, 1 dropped",
        "  http://a:1/metrics",
        '    labels      {env="p", instance="a:1", job="one"}',
    ]


def test_a_discovery_that_fails_is_an_error_beside_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "sd.json").write_text("[null]")
    code, out, err = run(tmp_path, "--json")
    assert code == 1
    assert len(json.loads(out)["activeTargets"]) == 1
    assert err == f"error: {tmp_path}/sd.json:1: [0]: nil target group item found\n"


def test_the_agent_s_section_of_a_file_for_up_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "up.yml"
    path.write_text("agent:\n" + "".join(f"  {line}\n" for line in CONFIG.splitlines()[:4]))
    result = CliRunner().invoke(main, ["targets", "--config", str(path)])
    assert result.stdout.startswith("one: 1 scraped, 1 dropped")


def test_a_job_that_there_is_not_is_an_error(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, "--job", "three")
    assert code == 1
    assert "has no job named three" in err
