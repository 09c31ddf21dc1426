"""Where the cases are; a checkout without them skips the tests that need them, and says so."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(os.environ.get("CONFORMANCE_DIR") or Path(__file__).parents[2].parent / "shared" / "conformance")


def folder(name: str) -> Path:
    """Return the folder of one kind of cases; skips the caller where it is missing."""
    path = ROOT / name
    if not path.is_dir():
        pytest.skip(f"needs the conformance data ({name}): set CONFORMANCE_DIR", allow_module_level=True)
    return path


def json_lines(path: Path) -> list[Any]:
    """Return the values of a file that has one on each line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
