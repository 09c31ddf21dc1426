"""Typed configuration from YAML: every mistake is reported with its file, line, key and reason, before anything starts.

Models are pydantic's; derive from `Section` so that unknown keys are refused by name. `load` reads a file into one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo

from pipeline.errors import PermanentError

Key = tuple[str | int, ...]
"""A path into the file: ("scrape_configs", 0, "job_name")."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong in a configuration file; `line` counts from 1."""

    file: str
    line: int
    key: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key + ': ' if self.key else ''}{self.reason}"


class ConfigError(PermanentError):
    """A configuration that cannot be used, with every mistake in it."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = mistakes


class Section(BaseModel):
    """The base of every configuration section: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed YAML file: plain values, and the line on which each key stands."""

    file: str
    value: Any
    lines: Mapping[Key, int]

    def line_of(self, key: Key) -> int:
        """Return the line of a key, or of the nearest section around it that the file has."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key, 1)

    def mistake(self, key: Key, reason: str) -> Mistake:
        """Name a mistake at a key of this document."""
        return Mistake(self.file, self.line_of(key), show_key(key), reason)


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _TextLoader(_Loader):  # type: ignore[misc] # libyaml's loader where PyYAML was built with it
    """Reads every scalar but null as text."""


for _tag in ("int", "float", "bool", "timestamp"):
    _TextLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", yaml.SafeLoader.construct_scalar)

SectionT = TypeVar("SectionT", bound=BaseModel)


def read(path: Path, text_scalars: bool = False) -> Document:
    """Parse a YAML file; `text_scalars` as in `parse`; raises ConfigError."""
    return parse(read_text(path), str(path), text_scalars)


def read_text(path: Path) -> str:
    """Return a file's text; raises ConfigError."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Mistake(str(path), 1, "", f"cannot be read: {error}")]) from error


def parse(text: str, file: str, text_scalars: bool = False) -> Document:
    """Parse YAML text that came from `file`; raises ConfigError, also for a key that stands twice.

    With `text_scalars`, numbers, booleans and dates stay the text that the file has, for the models to read: a label's
    value `1.10` is then `1.10`, as in Prometheus' own files, and not `1.1`.
    """
    lines: dict[Key, int] = {}
    mistakes: list[Mistake] = []
    loader = (_TextLoader if text_scalars else _Loader)(text)
    try:
        node = loader.get_single_node()
        if node is not None:
            _note_lines(node, (), file, lines, mistakes)
        value = None if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error)
        raise ConfigError([Mistake(file, mark.line + 1 if mark else 1, "", f"not YAML: {reason}")]) from error
    except RecursionError as error:
        raise ConfigError([Mistake(file, 1, "", "is nested too deeply, or holds itself")]) from error
    finally:
        loader.dispose()
    if mistakes:
        raise ConfigError(mistakes)
    return Document(file, value if value is not None else {}, lines)


def validate(document: Document, model: type[SectionT], value: Any = None, at: Key = ()) -> SectionT:
    """Turn a document (or the part `value` of it that stands at key `at`) into a model; raises ConfigError."""
    try:
        folder = {"folder": Path(document.file).parent}
        return model.model_validate(document.value if value is None else value, context=folder)
    except ValidationError as error:
        raise ConfigError([_mistake(document, at, item) for item in _own_errors(error)]) from error


def load(path: Path, model: type[SectionT]) -> SectionT:
    """Read a file into a model; raises ConfigError."""
    return validate(read(path), model)


def show_key(key: Key) -> str:
    """Write a key the way people say it: `scrape_configs[0].job_name`."""
    out = ""
    for part in key:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else part
    return out


def _own_errors(error: ValidationError) -> list[dict[str, Any]]:
    """Return what is wrong, without a list's "too short" that only follows from its entries being wrong."""
    items: list[dict[str, Any]] = [{**item} for item in error.errors(include_url=False)]
    return [
        item
        for item in items
        if item["type"] != "too_short"
        or not any(other["loc"][: len(item["loc"])] == item["loc"] for other in items if other is not item)
    ]


def _mistake(document: Document, at: Key, error: dict[str, Any]) -> Mistake:
    key: Key = (*at, *error["loc"])
    if error["type"] == "extra_forbidden":
        return document.mistake(key, "unknown key")
    if error["type"] == "missing":
        return document.mistake(key, "is required")
    if error["type"] == "literal_error" and isinstance(error["input"], str):
        return document.mistake(key, f"must be {error['ctx']['expected']}, not '{error['input']}'")
    return document.mistake(key, str(error["msg"]).removeprefix("Value error, "))


_MAX_NODES = 500_000


def _note_lines(node: yaml.Node, at: Key, file: str, lines: dict[Key, int], mistakes: list[Mistake]) -> None:
    lines.setdefault(at, node.start_mark.line + 1)
    if len(lines) > _MAX_NODES:
        # A few hundred bytes of aliases of aliases can stand for more than fits into memory.
        raise ConfigError([Mistake(file, 1, "", f"holds more than {_MAX_NODES} keys and entries")])
    if isinstance(node, yaml.MappingNode):
        for name, child in node.value:
            key = (*at, str(name.value))
            if key in lines and name.value != "<<":
                mistakes.append(Mistake(file, name.start_mark.line + 1, show_key(key), "stands twice"))
                continue
            lines[key] = name.start_mark.line + 1
            _note_lines(child, key, file, lines, mistakes)
    elif isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            _note_lines(child, (*at, index), file, lines, mistakes)


_DURATION = re.compile(r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII)
_DURATION_UNITS_S = (31_536_000.0, 604_800.0, 86_400.0, 3_600.0, 60.0, 1.0, 0.001)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTPE]i?)?B?", re.ASCII)
_SIZE_UNITS = {"": 1, **{u + i: b ** (n + 1) for n, u in enumerate("KMGTPE") for i, b in (("", 1024), ("i", 1024))}}


def parse_duration_s(text: object) -> float:
    """Read a duration as Prometheus writes it (`1h30m`, `15s`, `100ms`, `0`) in seconds; raises ValueError."""
    if text in (0, "0"):
        return 0.0
    match = _DURATION.fullmatch(text) if isinstance(text, str) and text else None
    if match is None:
        raise ValueError(f"not a valid duration string: {text!r}: write it like 15s, 1m or 1h30m")
    seconds = sum(float(n) * unit for n, unit in zip(match.groups(), _DURATION_UNITS_S, strict=True) if n)
    if seconds >= 2**63 / 1e9:
        raise ValueError(f"not a valid duration string: {text!r}: duration out of range")
    return seconds


def format_duration(seconds: float) -> str:
    """Write a duration the way Prometheus does: `1m30s`; weeks and years only where they leave no rest."""
    left_ms = round(seconds * 1000)
    out = ""
    for unit, unit_s in zip(("y", "w", "d", "h", "m", "s", "ms"), _DURATION_UNITS_S, strict=True):
        unit_ms = round(unit_s * 1000)
        if left_ms >= unit_ms and (unit not in "yw" or left_ms % unit_ms == 0):
            out += f"{left_ms // unit_ms}{unit}"
            left_ms %= unit_ms
    return out or "0s"


def parse_bytes(text: object) -> int:
    """Read a size (`10MB`, `2GiB`, `512`) in bytes, in powers of 1024 as Prometheus does; raises ValueError."""
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"not a size: {text!r}: write it like 512KB, 10MB or 2GiB")
    size = float(match[1]) * _SIZE_UNITS[match[2] or ""]
    if size >= 2**63:
        raise ValueError("larger than any disk")
    return int(size)


Seconds = Annotated[float, BeforeValidator(lambda v: v if isinstance(v, float) else parse_duration_s(v))]
"""A duration in the file (`15s`), seconds in the code."""
Bytes = Annotated[int, BeforeValidator(parse_bytes)]
"""A size in the file (`2GiB`), bytes in the code."""


def _from_folder(path: Path, info: ValidationInfo) -> Path:
    if "\0" in str(path):
        raise ValueError("a file's name cannot hold a null byte")
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / path


FilePath = Annotated[Path, AfterValidator(_from_folder)]
"""A file's name; a relative one is looked for beside the configuration file."""


class Address(BaseModel):
    """A `host:port` to listen on."""

    model_config = ConfigDict(frozen=True)
    host: str
    port: int


def parse_address(text: object) -> Address:
    """Read `host:port` (`:9090` means every interface); raises ValueError."""
    if isinstance(text, Address):
        return text
    host, colon, port = text.rpartition(":") if isinstance(text, str) else ("", "", "")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"not an address: {text!r}: write it like 127.0.0.1:15611")
    return Address(host=host.strip("[]") or "0.0.0.0", port=int(port))


ListenAddress = Annotated[Address, BeforeValidator(parse_address)]
