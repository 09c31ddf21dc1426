"""The page on logs names every reason by which a line ends, and only metrics that there are."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry

from pipeline import telemetry

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "logs.md").read_text(encoding="utf-8")
ENDS = PAGE.partition("<!-- ends -->")[2].partition("<!-- end -->")[0]
LOSES = re.compile(r"dropped|refused|rejected|cut_|discarded|poison|missing")


def metrics(*sections: type) -> set[str]:
    registry = CollectorRegistry()
    for section in sections:
        section(registry)
    return {metric.name + ("_total" if metric.type == "counter" else "") for metric in registry.collect()}


def everything() -> set[str]:
    parts = [value for name, value in vars(telemetry).items() if name.endswith("Metrics") and isinstance(value, type)]
    return metrics(*parts)


def constants(trees: Iterable[ast.Module]) -> dict[str, str]:
    return {
        node.target.id: node.value.value
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }


def reasons(tree: ast.Module, named: dict[str, str]) -> Iterator[str]:
    """Yield the reasons that a module counts dropped lines by."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            labels = node.func.attr == "labels" and "dropped_lines" in ast.unparse(node.func)
            reason = node.args[-1] if labels else node.args[0]
            if (labels or node.func.attr == "drop") and isinstance(reason, ast.Name) and reason.id in named:
                yield named[reason.id]
            elif (labels or node.func.attr == "drop") and isinstance(reason, ast.Constant):
                yield str(reason.value)
        # What a stage counts by where its configuration says nothing: `config.drop_counter_reason or "drop_stage"`.
        if isinstance(node, ast.BoolOp) and "drop_counter_reason" in ast.unparse(node.values[0]):
            yield str(ast.literal_eval(node.values[-1]))


def test_every_reason_is_told() -> None:
    parts = ("inputs", "logs", "stages", "tail")
    files = [path for part in parts for path in (ROOT / "agent" / part).rglob("*.py")]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files]
    named = constants(trees)
    found = {reason for tree in trees for reason in reasons(tree, named)}
    assert {
        "relabel_configs",
        "drop_stage",
        "line_too_long",
        "udp_queue_full",
        "ratelimit_drop_stage",
        "malformed_json",
    } <= found
    assert {reason for reason in found if f"`{reason}`" not in ENDS} == set()


def test_every_metric_of_lines_that_end_is_told() -> None:
    wanted = metrics(telemetry.LogInputMetrics, telemetry.AgentMetrics, telemetry.LogStoreMetrics)
    told = {name for name in wanted if LOSES.search(name) and "samples" not in name}
    assert len(told) == 6
    assert {name for name in told if f"`{name}" not in ENDS} == set()


def test_every_metric_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`(pronoia_\w+)", PAGE))
    assert len(named) > 12
    assert named - everything() == set()
