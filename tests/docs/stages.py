"""The tables of docs/stages.md, made from the configuration's types: `python -m tests.docs.stages` writes them anew."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from agent.config.stage_metrics import CounterActions, CounterMetric, GaugeActions, HistogramActions
from agent.config.stages import REFUSED, StageConfig
from tests.docs.options import describe, sections_of

PAGE: Final = Path(__file__).parents[2] / "docs" / "stages.md"
_TABLE: Final = re.compile(r"<!-- (keys|stages|refused)(?: (\w+))? -->\n.*?<!-- end -->", re.DOTALL)
_METRICS: Final[dict[str, type[BaseModel]]] = {
    "metric": CounterMetric,
    "counter": CounterActions,
    "gauge": GaugeActions,
    "histogram": HistogramActions,
}


def page(text: str) -> str:
    """Return the page with its tables as the code has them."""
    return _TABLE.sub(lambda found: f"{_opening(found)}\n" + "\n".join(_lines(found)) + "\n<!-- end -->", text)


def _opening(found: re.Match[str]) -> str:
    return found[0].partition("\n")[0]


def _lines(found: re.Match[str]) -> Iterator[str]:
    kind, name = found.groups()
    if kind == "stages":
        yield from ("| stage | what it does |", "|---|---|")
        for stage in names():
            field = next(field for field, one in StageConfig.model_fields.items() if (one.alias or field) == stage)
            yield f"| [`{stage}`](#{stage}) | {describe(StageConfig, field)} |"
    elif kind == "refused":
        yield from ("| name | why |", "|---|---|")
        yield from (f"| `{stage}` | {reason} |" for stage, reason in REFUSED.items())
    else:
        yield from ("| key | what it does |", "|---|---|")
        model = _METRICS.get(name) or _section(name)
        yield from (f"| `{field.alias or key}` | {describe(model, key)} |" for key, field in model.model_fields.items())


def names() -> list[str]:
    """Return the names of all stages."""
    return [field.alias or name for name, field in StageConfig.model_fields.items()]


def _section(name: str) -> type[BaseModel]:
    field = next(one for key, one in StageConfig.model_fields.items() if (one.alias or key) == name)
    return sections_of(field.annotation)[0]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
