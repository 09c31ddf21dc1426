"""promtail's own pipeline stages, and Go's own times: a program around its packages, built with Go beside Loki."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, Self, cast

from tests.servers.loki import MODULE, VERSION
from tests.servers.processes import MissingServerError, cache_folder, provide, run_tool


class Passed(NamedTuple):
    """One entry behind the stages."""

    labels: dict[str, str]
    line: str
    time_ns: int
    metadata: dict[str, str]


def stages_program() -> Path:
    """Return the program, built once for each version of its source; raises MissingServerError."""
    source = (MODULE / "stages" / "main.go").read_bytes()
    name = f"promtail-stages-{VERSION}-{hashlib.sha256(source).hexdigest()[:8]}"
    if shutil.which("go") is None and not (cache_folder() / name).exists():
        raise MissingServerError("promtail's stages need Go (no `go` on the PATH)")
    return provide(name, _build) / "stages"


def _build(folder: Path) -> None:
    command = ("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", folder / "stages", "./stages")
    run_tool(*command, cwd=MODULE, env={"CGO_ENABLED": "0"})


class PromtailStages:
    """The program at work, for one question at a time."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen([stages_program()], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(self, *error: object) -> None:
        with self._process:
            cast(IO[bytes], self._process.stdin).close()

    def _ask(self, **question: Any) -> Any:
        asked, answers = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        asked.write(json.dumps(question).encode() + b"\n")
        asked.flush()
        answer = json.loads(answers.readline())
        if answer["error"]:
            raise ValueError(answer["error"])
        return answer

    def run(self, stages: str, labels: Mapping[str, str], lines: Sequence[str], first_ns: int) -> list[Passed]:
        """Send lines through stages (YAML), a nanosecond apart; raises ValueError where promtail refuses them."""
        times = (divmod(first_ns + number, 10**9) for number in range(len(lines)))
        entries = [
            {"labels": labels, "line": line, "seconds": seconds, "nanos": nanos}
            for line, (seconds, nanos) in zip(lines, times, strict=True)
        ]
        return [
            Passed(one["labels"], one["line"], one["seconds"] * 10**9 + one["nanos"], one["metadata"])
            for one in self._ask(stages=stages, entries=entries)["entries"]
        ]

    def parse_time(self, layout: str, text: str, zone: str = "") -> int:
        """Read a time by a Go layout as Unix nanoseconds; raises ValueError."""
        answer = self._ask(layout=layout, text=text, zone=zone)
        return int(answer["seconds"]) * 10**9 + int(answer["nanos"])
