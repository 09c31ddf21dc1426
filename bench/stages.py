"""What stages cost: CPU microseconds a line of 200 bytes, from a block as a file gives it to encoded streams.

    python -m bench.stages [--lines 2000] [--rounds 15]

A line for each kind of stages, by the compiled code where it was built and by the Python beside it; the least of many
rounds counts. Where stages look at each line, most is Python in both: what differs is the encoding.
"""

import argparse
import json
import random
import time
from collections.abc import Sequence

import yaml
from prometheus_client import CollectorRegistry

from agent.config.stages import StageConfig
from agent.stages.lines import ACCELERATED
from agent.stages.make import StageTools, make_pipelines
from pipeline.telemetry import LogInputMetrics

LABELS = {"namespace": "shop", "pod": "web-7c9f", "container": "web", "node": "n1", "filename": "/var/log/pods/web.log"}
START_S = 1_790_000_000
BYTES = 200

KINDS = {
    "as they are": ("", "cri"),
    "docker": ("- docker: {}", "docker"),
    "cri": ("- cri: {}", "cri"),
    "cri, labels": ("- cri: {}\n- labeldrop: [filename]\n- structured_metadata: {pod: , node: }", "cri"),
    "cri, match of another": ("- cri: {}\n- match: {selector: '{pod=\"x\"}', stages: [{decolorize: }]}", "cri"),
    "cri, drop": ("- cri: {}\n- drop: {expression: 'healthz'}", "cri"),
    "cri, regex, labels": ("- cri: {}\n- regex: {expression: 'level=(?P<level>\\w+)'}\n- labels: {level: }", "cri"),
    "cri, logfmt, labels": ("- cri: {}\n- logfmt: {mapping: {level: }}\n- labels: {level: }", "cri"),
    "cri, multiline": ("- cri: {}\n- multiline: {firstline: '^level=(info|error)'}", "cri"),
    "cri, template": ("- cri: {}\n- template: {source: a, template: '{{ ToUpper .Entry }}'}", "cri"),
    "json, timestamp, labels": (
        "- json: {expressions: {log: , stream: , time: }}\n- timestamp: {source: time, format: RFC3339Nano}\n"
        "- labels: {stream: }\n- output: {source: log}",
        "docker",
    ),
}  # fmt: skip


def block(form: str, lines: int) -> bytes:
    """Return lines as a container runtime or Docker writes them."""
    chosen, out = random.Random(1), []
    for number in range(lines):
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(START_S + number // 200))
        at += f".{number * 4_999_999 % 10**9:09}Z"
        stream = "stderr" if number % 10 == 0 else "stdout"
        level = chosen.choice(("info", "info", "warn", "error"))
        text = (
            f'level={level} msg="request served" path=/api/v1/{chosen.randrange(10**6)} id={chosen.randrange(10**12)}'
        )
        if form == "cri":
            line = f"{at} {stream} F {text}"
            line = line.ljust(BYTES - 1, "x")
        else:
            line = json.dumps({"log": text + "\n", "stream": stream, "time": at}, separators=(",", ":"))
        out.append(line)
    return "\n".join([*out, ""]).encode()


def cost_us(stages: str, lines: bytes, *, accelerated: bool, rounds: int) -> float:
    """Return the least CPU time of a line."""
    config = [StageConfig.model_validate(stage) for stage in yaml.safe_load(stages) or ()]
    tools = StageTools("bench", LogInputMetrics(CollectorRegistry()), last={"cluster": "c1"}, accelerated=accelerated)
    source, times = make_pipelines(config, tools)(LABELS), list[float]()
    for number in range(rounds):
        began = time.process_time()
        source.block(lines, (START_S + number) * 10**9)
        times.append(time.process_time() - began)
    return min(times) / lines.count(b"\n") * 1e6


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each kind of stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=2000, help="lines in a block")
    parser.add_argument("--rounds", type=int, default=15, help="how often each is measured; the least counts")
    options = parser.parse_args(arguments)
    print(f"{'stages':26} {'compiled':>9} {'Python':>9}  µs a line")
    for name, (stages, form) in KINDS.items():
        lines = block(form, options.lines)
        plain = cost_us(stages, lines, accelerated=False, rounds=options.rounds)
        if ACCELERATED is None:
            print(f"{name:26} {'–':>9} {plain:9.2f}", flush=True)
            continue
        fast = cost_us(stages, lines, accelerated=True, rounds=options.rounds)
        print(f"{name:26} {fast:9.2f} {plain:9.2f}  1 : {plain / fast:.1f}", flush=True)


if __name__ == "__main__":
    main()
