"""docs/options.md, made from the configuration's types: `python -m tests.docs.options` writes its tables anew.

A new key, section or kind of discovery is on the page by itself. What a key does is the text below it in its class
(the first sentence), what a section is, its class's docstring. A switch that `off` refuses says why, and so does what
`agent.config.unsupported` names; a text that begins with "Read and of no effect" says that.
"""

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from agent.config.agent import AgentConfig
from agent.config.scrape import GlobalConfig, ScrapeConfig
from agent.config.store import StoreGlobals, StoreSections
from agent.config.unsupported import REASONS
from agent.discovery import MECHANISMS
from pipeline.config import format_duration
from pipeline.http_config import HttpClientConfig, Off
from pipeline.relabel import RelabelConfig

PAGE: Final = Path(__file__).parents[2] / "docs" / "options.md"
NO_EFFECT: Final = "Read and of no effect"
HEAD: Final = ("| key | works | what it does | left out |", "|---|---|---|---|")
OPERATOR: Final = "What ServiceMonitor, PodMonitor, Probe and ScrapeConfig of the Prometheus operator say."


def page(text: str) -> str:
    """Return the page with its tables as the code has them."""
    return re.sub(r"(<!-- tables -->\n).*(<!-- end -->)", lambda m: m[1] + tables() + m[2], text, flags=re.DOTALL)


def tables() -> str:
    """Return all tables, as they stand between the page's two marks."""
    seen: set[type[BaseModel]] = {HttpClientConfig, RelabelConfig}
    lines = ["## Discovery", "", *_mechanisms(), ""]
    lines += ["## `scrape_configs`, each", "", *table(ScrapeConfig), ""]
    lines += ["## `global`", "", *table(GlobalConfig), ""]
    for key in MECHANISMS:
        lines += sections(key, section_of(ScrapeConfig, key), seen, 2)
    lines += sections("operator", section_of(AgentConfig, "operator"), seen, 2)
    lines += sections("sharing", section_of(AgentConfig, "sharing"), seen, 2)
    lines += ["## Every HTTP client", "", "What scrape jobs and the discoveries that ask over HTTP have in common.", ""]
    lines += [*table(HttpClientConfig, skip=()), ""]
    for name, field in HttpClientConfig.model_fields.items():
        for model in sections_of(field.annotation):
            lines += sections(name, model, seen, 3)
    lines += ["## `relabel_configs` and `metric_relabel_configs`, each", "", *table(RelabelConfig), ""]
    lines += ["## Read, with a warning", "", *_warned(), ""]
    lines += ["## Refused by name", "", *_refused(), ""]
    return "\n".join(lines)


def undescribed() -> list[str]:
    """Return the keys on the page of which nothing is said."""
    return re.findall(r"^\| (`\w+`) \| [^|]* \|  \|", tables(), flags=re.MULTILINE)


def _mechanisms() -> Iterator[str]:
    yield "| mechanism | what it finds |"
    yield "|---|---|"
    for key in MECHANISMS:
        yield f"| [`{key}`](#{key}-each) | {_of_class(section_of(ScrapeConfig, key))} |"
    yield f"| [`operator`](#operator) | {OPERATOR} |"
    refused = sorted(key for key in REASONS if key.endswith("_sd_configs"))
    yield ""
    by_reason: dict[str, list[str]] = {}
    for key in refused:
        by_reason.setdefault(REASONS[key], []).append(f"`{key}`")
    for reason, keys in by_reason.items():
        yield f"Refused by name, since each {reason}: {', '.join(keys)}."


def _warned() -> Iterator[str]:
    names = [*StoreSections.model_fields, *(f"global.{name}" for name in StoreGlobals.model_fields)]
    yield "Keys of a store are checked, change nothing, and are named in one warning (`--strict` refuses them):"
    yield ", ".join(f"`{name}`" for name in names) + "."


def _refused() -> Iterator[str]:
    yield "| key | why |"
    yield "|---|---|"
    yield from (f"| `{key}` | {reason} |" for key, reason in REASONS.items() if not key.endswith("_sd_configs"))


def sections(key: str, model: type[BaseModel], seen: set[type[BaseModel]], level: int) -> Iterator[str]:
    """Yield a section's table, and those of the sections in it that have not been shown."""
    if model in seen:
        return
    seen.add(model)
    each = ", each" if key.endswith(("_configs", "selectors", "filters", "expressions", "classes")) else ""
    yield from (f"{'#' * level} `{key}`{each}", "", _of_class(model), "", *table(model), "")
    for name, field in _own_fields(model, (HttpClientConfig,)):
        for inner in sections_of(field.annotation):
            yield from sections(name, inner, seen, level + 1)


def table(model: type[BaseModel], skip: tuple[type[BaseModel], ...] = (HttpClientConfig,)) -> Iterator[str]:
    """Yield the table of a section's keys."""
    yield from HEAD
    for name, field in _own_fields(model, skip):
        if name not in MECHANISMS or model is not ScrapeConfig:
            yield f"| `{field.alias or name}` | {works(model, name)} | {describe(model, name)} | {_default(field)} |"
    if issubclass(model, HttpClientConfig) and HttpClientConfig in skip:
        yield "| … | | and [what every HTTP client has](#every-http-client) | |"


def _own_fields(model: type[BaseModel], skip: tuple[type[BaseModel], ...]) -> Iterator[tuple[str, FieldInfo]]:
    """Yield a section's keys without those that it has of `skip` as they are there."""
    inherited = {name: field for base in skip if issubclass(model, base) for name, field in base.model_fields.items()}
    own = inspect.get_annotations(model)
    for name, field in sorted(model.model_fields.items(), key=lambda item: item[0] not in own):
        if model in skip or name not in inherited or inherited[name].default != field.default:
            yield name, field


def works(model: type[BaseModel], name: str) -> str:
    if reasons := _reasons(model.model_fields[name]):
        return f"**refused** if true: {'; '.join(reasons)}"
    return "**no effect**" if text_below(model, name).startswith(NO_EFFECT) else "yes"


def describe(model: type[BaseModel], name: str) -> str:
    """Return what a key does, and which values it may have where they have names."""
    annotation = model.model_fields[name].annotation
    text = text_below(model, name)
    parts = [text] if text else [_of_class(inner) for inner in sections_of(annotation)[:1]]
    if choices := _choices(annotation):
        parts.append("One of " + ", ".join(f"`{choice}`" for choice in choices) + ".")
    return " ".join(parts)


def _reasons(field: FieldInfo) -> list[str]:
    return [check.reason for mark in field.metadata if isinstance(check := getattr(mark, "func", None), Off)]


@lru_cache
def _texts(model: type[BaseModel]) -> dict[str, str]:
    """Return the string literals below a class's own fields, by the field's name."""
    tree = ast.parse(inspect.getsource(sys.modules[model.__module__]))
    body = next(node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == model.__name__)
    found = {}
    for field, below in pairwise(body):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            found[field.target.id] = inspect.cleandoc(below.value.value)
    return found


def text_below(model: type[BaseModel], name: str) -> str:
    for base in model.__mro__:
        if name in inspect.get_annotations(base):
            return _line(_texts(base).get(name, ""))
    return ""


def _of_class(model: type[BaseModel]) -> str:
    """Return a class's first sentence without the key that it begins with."""
    text = _line((model.__doc__ or "").partition("\n\n")[0])
    text = re.sub(r"^(The section\.|(One of )?`[a-z0-9_]+`( of a scrape class)?(, by name|, each)?[:;,.]) *", "", text)
    return text[:1].upper() + text[1:]


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def section_of(model: type[BaseModel], key: str) -> type[BaseModel]:
    """Return the section that a key holds, or holds a list of; raises IndexError where it holds none."""
    return sections_of(model.model_fields[key].annotation)[0]


def sections_of(annotation: Any) -> list[type[BaseModel]]:
    """Return the sections that a type holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in sections_of(part)]


def _choices(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation) if choice != ""]
    if get_origin(annotation) in (Annotated, Union, UnionType, tuple):
        return [choice for part in get_args(annotation) for choice in _choices(part)]
    return []


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "" if field.default_factory is not None else "required"
    if (
        value is None
        or isinstance(value, BaseModel | SecretStr)
        or (not isinstance(value, bool) and value in ("", (), 0))
    ):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return format_duration(value) if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
