"""What the Prometheus operator makes of custom resources: its own code, built once with Go from the module file beside.

There is no operator running: a program of a page (`operator_go/main.go`) calls the operator's configuration generator.
"""

import json
import shutil
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import yaml

from tests.servers.processes import MissingServerError, ServerFailedError, cache_folder, provide, run_tool

VERSION: Final = "0.93.0"
"""Also what `operator_go/go.mod` requires."""
MODULE: Final = Path(__file__).with_name("operator_go")


def operator_program() -> Path:
    """Return the program; raises MissingServerError."""
    name = f"prometheus-operator-{VERSION}"
    if shutil.which("go") is None and not (cache_folder() / name).exists():
        raise MissingServerError("the operator's code needs Go (no `go` on the PATH)")
    return provide(name, _build) / "operator"


def _build(folder: Path) -> None:
    run_tool("go", "build", "-trimpath", "-o", folder / "operator", ".", cwd=MODULE, env={"CGO_ENABLED": "0"})


def operator_makes(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the program answers; `operator_go/main.go` says what it takes and gives."""
    run = subprocess.run([operator_program()], input=json.dumps(given), capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise ServerFailedError(f"the operator's code failed: {run.stderr[-4000:]}")
    return json.loads(run.stdout)  # type: ignore[no-any-return]


@lru_cache
def operator_definition(plural: str) -> dict[str, Any]:
    """Return the operator's CustomResourceDefinition of a kind; raises MissingServerError."""
    if shutil.which("go") is None:
        raise MissingServerError("the operator's definitions need Go (no `go` on the PATH)")
    module = f"github.com/prometheus-operator/prometheus-operator@v{VERSION}"
    folder = Path(json.loads(run_tool("go", "mod", "download", "-json", module))["Dir"])
    path = folder / "example" / "prometheus-operator-crd" / f"monitoring.coreos.com_{plural}.yaml"
    return yaml.safe_load(path.read_text())  # type: ignore[no-any-return]
