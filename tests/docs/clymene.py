"""The table of docs/clymene.md, made from the code: `python -m tests.docs.clymene` writes it anew."""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Final

from pronoia.clymene_flags import FLAGS, OTHER_VARIABLES, PREFIXES, REFUSED_STORAGES, STORAGE_TYPE, STORAGES, Does, Flag

PAGE: Final = Path(__file__).parents[2] / "docs" / "clymene.md"
HEAD: Final = ("| flag | variable | Clymene's default | here |", "|---|---|---|---|")
DOES: Final = {Does.WORKS: "", Does.NOTHING: "no effect: ", Does.REFUSED: "refused: ", Does.OURS: "Pronoia's own: "}
STORED: Final = {
    "gateway": "`gateway`",
    "prometheus": "`remote_write` to `prometheus.remote.url`",
    "cortex": "`remote_write` to `cortex.distributor.url`",
}


def page(text: str) -> str:
    """Return the page with its tables as the code has them."""
    lines = "\n".join(chain(_storages(), _flags())) + "\n"
    return re.sub(r"(<!-- tables -->\n).*(<!-- end -->)", lambda m: m[1] + lines + m[2], text, flags=re.DOTALL)


def _storages() -> Iterator[str]:
    yield from (f"| `{STORAGE_TYPE}` | here |", "|---|---|")
    for storage in STORAGES:
        yield f"| `{storage}` | {STORED[storage]} |"
    for storage, reason in REFUSED_STORAGES.items():
        default = " (also where the variable is not set)" if storage == "elasticsearch" else ""
        yield f"| `{storage}`{default} | refused: {reason} |"
    yield from ("", "| other variables | here |", "|---|---|")
    yield from (f"| `{name}` | {DOES[does]}{reason} |" for name, (does, reason) in OTHER_VARIABLES.items())
    yield ""


def _flags() -> Iterator[str]:
    for storage in ("", *STORAGES):
        yield from (f"### With `{STORAGE_TYPE}={storage}`" if storage else "### Always", "", *HEAD)
        yield from (_row(flag) for flag in FLAGS if flag.storage == storage)
        yield ""
    yield from ("### Refused with their storage", "", "| flags | here |", "|---|---|")
    for prefix, storage in PREFIXES.items():
        yield f"| `--{prefix}…` | refused, as `{STORAGE_TYPE}={storage}` is |"


def _row(flag: Flag) -> str:
    variable, default = (f"`{text}`" if text else "" for text in (flag.variable, flag.default))
    if flag.does is Does.OURS:
        variable = ""
    return f"| `--{flag.name}` | {variable} | {default} | {DOES[flag.does]}{flag.note} |"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
