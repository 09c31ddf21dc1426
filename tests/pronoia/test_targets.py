import json
from pathlib import Path
from typing import Any

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


def run(folder: Path, *options: str, more: str = "") -> tuple[int, str, str]:
    path = folder / "prometheus.yml"
    path.write_text(CONFIG + more)
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
            "__always_scrape_classic_histograms__": "false",
            "__convert_classic_histograms_to_nhcb__": "false",
            "__scrape_interval__": "1m",
            "__scrape_native_histograms__": "false",
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


def test_text_says_by_job_what_is_scraped_and_why_the_rest_is_not(tmp_path: Path) -> None:
    code, out, _ = run(tmp_path, "--job", "one")
    assert code == 0
    assert out.splitlines()[:3] == [
        "one: 1 scraped, 1 dropped",
        '  http://a:1/metrics  {env="p", instance="a:1", job="one"}',
        "  1 dropped by relabel_configs[0]: action=drop source_labels=__address__ regex=drop:.*",
    ]


def many(folder: Path, *options: str) -> tuple[str, Any]:
    """Return what is printed for a thousand targets, as text and as JSON."""
    hosts = [f"host-{n:03}:{9000 + n % 2}" for n in range(1000)]
    (folder / "sd.json").write_text(json.dumps([{"targets": [*hosts, "host-001:9001"], "labels": {"__meta_x": "1"}}]))
    rules = """\
  relabel_configs:
  - {source_labels: [__meta_x], target_label: x}
  - {source_labels: [__address__], regex: ".*:9000", action: drop}
  - {source_labels: [none], target_label: y}
"""
    return run(folder, *options, more=rules)[1], json.loads(run(folder, *options, "--json", more=rules)[1])


def test_a_thousand_targets_are_a_summary(tmp_path: Path) -> None:
    text, _ = many(tmp_path, "--job", "two")
    assert text.splitlines()[0] == "two: 500 scraped, 500 dropped, 1 found twice"
    assert "  … and 495 more: --target TEXT looks for some, --json has all" in text
    assert "  500 dropped by relabel_configs[1]: action=drop source_labels=__address__ regex=.*:9000" in text
    assert len(text.splitlines()) == 9


def test_a_target_that_is_looked_for_is_explained_rule_by_rule(tmp_path: Path) -> None:
    text, shown = many(tmp_path, "--target", "HOST-003", "--target", "__meta_x=1")
    assert text.splitlines()[0] == "http://host-003:9001/metrics (job two): scraped every 1m, timeout 10s"
    start = text.index("  relabel_configs[0]")
    assert text[start : text.index("  labels")].splitlines() == [
        "  relabel_configs[0]: action=replace source_labels=__meta_x target_label=x",
        '    + x="1"',
        "  relabel_configs[1]: action=drop source_labels=__address__ regex=.*:9000",
        '    keeps it (looked at "host-003:9001")',
        "  relabel_configs[2]: action=replace source_labels=none target_label=y",
        '    changes nothing (looked at "")',
    ]
    (target,) = shown["activeTargets"]
    assert [step["changes"] for step in target["steps"]] == [[{"label": "x", "from": None, "to": "1"}], [], []]
    assert (shown["droppedTargets"], shown["droppedTargetCounts"]) == ([], {"one": 1, "two": 500})


def test_a_dropped_target_names_the_rule_and_what_it_looked_at(tmp_path: Path) -> None:
    text, shown = many(tmp_path, "--target", "host-002")
    assert text.splitlines()[0] == "host-002:9000 (job two): dropped by relabel_configs[1]"
    assert '    DROPS the target (looked at "host-002:9000")\n  1 more do not run' in text
    assert [step["keep"] for step in shown["droppedTargets"][0]["steps"]] == [True, False, False]


def test_what_was_found_twice_is_a_state_to_ask_for(tmp_path: Path) -> None:
    text, shown = many(tmp_path, "--state", "duplicate", "--explain")
    assert text.splitlines()[0] == "http://host-001:9001/metrics (job two): found twice, scraped once"
    assert (shown["activeTargets"], len(shown["duplicateTargets"])) == ([], 1)
    assert shown["duplicateTargets"][0]["sameLabelsCount"] == 1


def test_targets_of_which_samples_get_mixed_up_are_named(tmp_path: Path) -> None:
    path = tmp_path / "prometheus.yml"
    rule = "{target_label: instance, replacement: same}, {target_label: job, replacement: x}"
    jobs = (f"- {{job_name: {name}, static_configs: [{{targets: [a]}}], relabel_configs: [{rule}]}}\n" for name in "ab")
    path.write_text("scrape_configs:\n" + "".join(jobs))
    out = CliRunner().invoke(main, ["targets", "--config", str(path)]).stdout
    assert out.count("  1 with the labels of another target, so that their samples get mixed up:\n") == 2
    assert '    for example http://a/metrics  {instance="same", job="x"}' in out


def test_more_than_can_be_read_are_counted(tmp_path: Path) -> None:
    text, shown = many(tmp_path, "--target", "host-")
    assert text.splitlines()[-1].startswith("981 more match")
    assert len(shown["activeTargets"]) + len(shown["droppedTargets"]) == 1000
    assert many(tmp_path, "--target", "none")[0] == "no target matches\n"


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
