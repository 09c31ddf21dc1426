"""A real node_exporter, built once with Go from the module file beside, or Debian's where there is no Go."""

import shutil
from pathlib import Path

from tests.servers.processes import MissingServerError, Target, cache_folder, provide, run_tool

VERSION = "1.12.1"
MODULE = Path(__file__).with_name("node_exporter_go")
PACKAGE = "github.com/prometheus/node_exporter"


def node_exporter_program() -> Path:
    """Return the program: ours, built with Go once, or the installed one; raises MissingServerError."""
    name = f"node_exporter-{VERSION}"
    if shutil.which("go") is not None or (cache_folder() / name).exists():
        return provide(name, _build) / "node_exporter"
    if (installed := shutil.which("prometheus-node-exporter")) is not None:
        return Path(installed)
    raise MissingServerError(
        "node_exporter needs Go (no `go` on the PATH) or Debian's package prometheus-node-exporter"
    )


def _build(folder: Path) -> None:
    command = ("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", folder / "node_exporter", PACKAGE)
    run_tool(*command, cwd=MODULE, env={"CGO_ENABLED": "0"})


class NodeExporter(Target):
    """node_exporter on a free loopback port; with `pages` it shows the text pages (*.prom) of that folder alone."""

    def __init__(self, folder: Path, pages: Path | None = None) -> None:
        more = []
        if pages is not None:
            more = ["--collector.disable-defaults", "--collector.textfile", f"--collector.textfile.directory={pages}"]
        super().__init__(
            folder,
            node_exporter_program,
            lambda address: (f"--web.listen-address={address}", "--web.disable-exporter-metrics", *more),
        )
