"""Target groups: what every kind of discovery gives, and how Prometheus writes them in JSON and YAML."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from sys import intern
from typing import Any

from agent.config.lists import StaticConfig
from pipeline.config import ConfigError, Document, Mistake, parse, validate
from pipeline.errors import PermanentError

ADDRESS = "__address__"


@dataclass(frozen=True, slots=True)
class TargetGroup:
    """Targets that share labels. Each target is a label set of its own, with at least `__address__`.

    `source` names where the group came from, for log lines: a file, a URL, a job's static_configs.
    """

    source: str
    targets: tuple[Mapping[str, str], ...]
    labels: Mapping[str, str]


def group_of(config: StaticConfig, source: str, meta: Mapping[str, str]) -> TargetGroup:
    """Return the group of a list of addresses; `meta` are the labels that discovery adds of its own."""
    # Thousands of groups have the same names and values.
    labels = {intern(name): intern(value) for name, value in {**config.labels, **meta}.items()}
    return TargetGroup(source, tuple({ADDRESS: address} for address in config.targets), labels)


class Reading:
    """Reads text into groups, but not a second time what it read last: then its groups are the very same."""

    def __init__(self, read: Callable[[bytes], list[TargetGroup]]) -> None:
        self._read = read
        self._digest = b""
        self._groups: list[TargetGroup] = []

    def __call__(self, text: bytes) -> list[TargetGroup]:
        """Return the text's groups; raises PermanentError as `read` does, and then forgets nothing."""
        digest = blake2b(text, digest_size=16).digest()
        if digest != self._digest:
            self._groups, self._digest = self._read(text), digest
        return self._groups


def parse_json(text: bytes | str, source: str, meta: Mapping[str, str]) -> list[TargetGroup]:
    """Read a JSON list of `{"targets": [...], "labels": {...}}`; raises PermanentError with what is wrong."""
    try:
        value = json.loads(text)
        if "\\ud" in (text if isinstance(text, str) else text.decode()).lower():
            # JSON can write half of a surrogate pair, which no label can hold.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:  # Text that is no UTF-8 raises ValueErrors, too.
        raise PermanentError(f"{source}: not JSON: {error}") from error
    return _groups(Document(source, value, {}), meta)


def parse_yaml(text: str, source: str, meta: Mapping[str, str]) -> list[TargetGroup]:
    """Read the same from YAML; raises PermanentError with what is wrong, and the line."""
    document = parse(text, source, text_scalars=True)
    return _groups(document, meta) if document.value != {} else []


def _groups(document: Document, meta: Mapping[str, str]) -> list[TargetGroup]:
    entries: Any = document.value
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise ConfigError([document.mistake((), "must be a list of target groups")])
    groups, mistakes = [], list[Mistake]()
    for index, entry in enumerate(entries):
        if entry is None:
            mistakes.append(document.mistake((index,), "nil target group item found"))
            continue
        try:
            config = validate(document, StaticConfig, entry, (index,))
        except ConfigError as error:
            mistakes += error.mistakes
        else:
            groups.append(group_of(config, f"{document.file}:{index}", meta))
    if mistakes:
        raise ConfigError(mistakes)
    return groups
