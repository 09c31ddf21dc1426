"""Relabelling as Prometheus 3 does it: rules that rewrite a label set, or drop what carries it.

`RelabelConfig` is one rule of a file; `compile_rules` makes rules ready to run; `relabel` runs them. Regexes are RE2,
anchored at both ends, and `.` matches a newline (`^(?s:…)$`); replacements follow Go's `Regexp.Expand`.
Source: prometheus/model/relabel; Prometheus documentation, `<relabel_config>`.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

import re2
from pydantic import AfterValidator, BeforeValidator, model_validator

from pipeline.config import Section
from pipeline.wire.remote_write import Labels

Action = Literal[
    "replace",
    "keep",
    "drop",
    "keepequal",
    "dropequal",
    "hashmod",
    "labelmap",
    "labeldrop",
    "labelkeep",
    "lowercase",
    "uppercase",
]
_ACTIONS: frozenset[str] = frozenset(Action.__args__)  # type: ignore[attr-defined] # typing has no name for it
_WITH_TARGET = frozenset(("replace", "hashmod", "lowercase", "uppercase", "keepequal", "dropequal"))
_DEFAULT_REGEX = "(.*)"
_DEFAULT_REPLACEMENT = "$1"
_LEGACY_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_LEGACY_TEMPLATE = re.compile(r"(?:[a-zA-Z_]|\$(?:\{\w+\}|\w+))(?:\w|\$(?:\{\w+\}|\w+))*", re.ASCII)


def is_label_name(name: str, legacy: bool = False) -> bool:
    """Tell whether a label may have this name: any text, or with `legacy` only letters, digits and underscores."""
    return _LEGACY_NAME.fullmatch(name) is not None if legacy else bool(name)


def compile_regex(text: str) -> Any:
    """Compile a regex the way a rule uses it; raises ValueError with RE2's reason."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(f"^(?s:{text})$", options)
    except re2.error as error:
        reason = error.args[0]
        said = reason.decode() if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"error parsing regexp: {said}") from error


def _regex(text: str) -> str:
    compile_regex(text)
    return text


def _action(value: object) -> str:
    if value == "":
        raise ValueError("relabel action cannot be empty")
    if not isinstance(value, str) or value.lower() not in _ACTIONS:
        raise ValueError(f'unknown relabel action "{value}"')
    return value.lower()


def a_rule(reason: str) -> BeforeValidator:
    """Refuse a null in a list of rules with the reason that this list has for it."""

    def check(value: object) -> object:
        if value is None:
            raise ValueError(reason)
        return value

    return BeforeValidator(check)


class RelabelConfig(Section):
    """One rule."""

    source_labels: tuple[str, ...] = ()
    separator: str = ";"
    regex: Annotated[str, AfterValidator(_regex)] = _DEFAULT_REGEX
    modulus: int = 0
    target_label: str = ""
    replacement: str = _DEFAULT_REPLACEMENT
    action: Annotated[Action, BeforeValidator(_action)] = "replace"

    @model_validator(mode="before")
    @classmethod
    def _nulls_are_empty(cls, value: Any) -> Any:
        # Unlike in other sections: `regex:` without a value is the empty regex, not the default.
        if not isinstance(value, dict):
            return value
        empty = {"source_labels": (), "modulus": 0}
        return {k: empty.get(k, "") if v is None else v for k, v in value.items()}

    @model_validator(mode="after")
    def _usable(self) -> "RelabelConfig":
        if (reason := self.mistake(legacy=False)) is not None:
            raise ValueError(reason)
        return self

    def mistake(self, legacy: bool) -> str | None:
        """Return what is wrong with the rule, under `legacy` or free label names, or None."""
        action, target = self.action, self.target_label
        if action == "hashmod" and self.modulus <= 0:
            return "relabel configuration for hashmod requires non-zero modulus"
        if action in _WITH_TARGET:
            if not target:
                return f"relabel configuration for {action} action requires 'target_label' value"
            template = action == "replace" and "$" in target
            if not (_is_template(target, legacy) if template else is_label_name(target, legacy)):
                return f"\"{target}\" is invalid 'target_label' for {action} action"
        if action in ("lowercase", "uppercase", "keepequal", "dropequal") and self.replacement != _DEFAULT_REPLACEMENT:
            return f"'replacement' can not be set for {action} action"
        if action == "labelmap" and not _is_template(self.replacement, legacy):
            return f"\"{self.replacement}\" is invalid 'replacement' for {action} action"
        return self._superfluous()

    def _superfluous(self) -> str | None:
        given = self.model_fields_set - {"action"}
        changed = {name for name in given if getattr(self, name) != type(self).model_fields[name].default}
        if self.action in ("keepequal", "dropequal") and changed - {"source_labels", "target_label"}:
            return f"{self.action} action requires only 'source_labels' and `target_label`, and no other fields"
        if self.action in ("labeldrop", "labelkeep") and changed - {"regex"}:
            return f"{self.action} action requires only 'regex', and no other fields"
        return None

    def __str__(self) -> str:
        """Write the rule in one line, without what is left at its default."""
        parts = [f"action={self.action}"]
        for name in ("source_labels", "separator", "regex", "modulus", "target_label", "replacement"):
            value = getattr(self, name)
            if value != type(self).model_fields[name].default:
                parts.append(f"{name}={','.join(value) if name == 'source_labels' else value}")
        return " ".join(parts)


def _is_template(text: str, legacy: bool) -> bool:
    return _LEGACY_TEMPLATE.fullmatch(text) is not None if legacy else bool(text)


_NAMES = 4096
"""How many label names a rule remembers its answer for: the same names come with every target and series."""

Step = Callable[[dict[str, str]], bool]
"""Changes a label set in place; false when what carries it is dropped."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules that are ready to run, in order."""

    configs: tuple[RelabelConfig, ...]
    steps: tuple[Step, ...]

    def __bool__(self) -> bool:
        return bool(self.steps)


NO_RULES = Rules((), ())


def compile_rules(configs: Sequence[RelabelConfig], legacy_names: bool = False) -> Rules:
    """Make rules ready to run; with `legacy_names` a replace to a name beyond [a-zA-Z0-9_] does nothing."""
    return Rules(tuple(configs), tuple(_compile(config, legacy_names) for config in configs)) if configs else NO_RULES


def run(rules: Rules, labels: dict[str, str]) -> int | None:
    """Run all rules on a label set, in place; return the index of the rule that drops what carries it, or None."""
    for index, step in enumerate(rules.steps):
        if not step(labels):
            return index
    return None


def relabel(labels: Labels | Mapping[str, str], rules: Rules) -> Labels | None:
    """Return the labels after all rules, sorted by name and without empty values; None if a rule dropped them."""
    changed = dict(labels)
    return as_labels(changed) if run(rules, changed) is None else None


def as_labels(labels: Mapping[str, str]) -> Labels:
    """Return a label set's canonical form: pairs sorted by name, without empty values."""
    return tuple(sorted(pair for pair in labels.items() if pair[1]))


def _compile(config: RelabelConfig, legacy_names: bool) -> Step:
    match config.action:
        case "keep" | "drop":
            return _keep_or_drop(config)
        case "keepequal" | "dropequal":
            return _keep_or_drop_equal(config)
        case "replace":
            return _replace(config, legacy_names)
        case "hashmod":
            return _hashmod(config)
        case "labelmap":
            return _labelmap(config)
        case "labeldrop" | "labelkeep":
            return _labeldrop_or_keep(config)
        case "lowercase" | "uppercase":
            return _change_case(config)


def _joined(config: RelabelConfig) -> Callable[[dict[str, str]], str]:
    """Return what reads the value a rule looks at: its source labels' values, joined."""
    names, separator = config.source_labels, config.separator
    if len(names) == 1:
        name = names[0]
        return lambda labels: labels.get(name, "")
    return lambda labels: separator.join([labels.get(name, "") for name in names])


def _matches(text: str) -> Callable[[str], bool]:
    """Return what tells whether a value matches the regex in full."""
    if text in (".*", _DEFAULT_REGEX):
        return lambda _: True
    # Most rules list plain words: looking one up costs a tenth of running RE2 from Python.
    words = text.split("|")
    if all(re.fullmatch(r"(?:[\w:/@ -]|\\[.-])*", word, re.ASCII) for word in words):
        return frozenset(word.replace("\\", "") for word in words).__contains__
    search = compile_regex(text).search
    return lambda value: search(value) is not None


def _keep_or_drop(config: RelabelConfig) -> Step:
    value_of, matches = _joined(config), _matches(config.regex)
    if config.action == "keep":
        return lambda labels: matches(value_of(labels))
    return lambda labels: not matches(value_of(labels))


def _keep_or_drop_equal(config: RelabelConfig) -> Step:
    value_of, target, keep = _joined(config), config.target_label, config.action == "keepequal"
    return lambda labels: (labels.get(target, "") == value_of(labels)) is keep


def _put(labels: dict[str, str], name: str, value: str) -> None:
    if value:
        labels[name] = value
    else:
        labels.pop(name, None)


def _replace(config: RelabelConfig, legacy_names: bool) -> Step:
    value_of, target = _joined(config), config.target_label
    if config.regex == _DEFAULT_REGEX and "$" not in target:
        if config.replacement in ("$1", "${1}"):

            def copy(labels: dict[str, str]) -> bool:
                _put(labels, target, value_of(labels))
                return True

            return copy
        if "$" not in config.replacement:
            constant = config.replacement

            def write(labels: dict[str, str]) -> bool:
                _put(labels, target, constant)
                return True

            return write
    regex = compile_regex(config.regex)
    name_of, text_of = _template(target, regex), _template(config.replacement, regex)

    def replace(labels: dict[str, str]) -> bool:
        found = regex.search(value_of(labels))
        if found is not None and is_label_name(name := name_of(found), legacy_names):
            _put(labels, name, text_of(found))
        return True

    return replace


def _hashmod(config: RelabelConfig) -> Step:
    value_of, target, modulus = _joined(config), config.target_label, config.modulus

    def hashmod(labels: dict[str, str]) -> bool:
        digest = hashlib.md5(value_of(labels).encode(), usedforsecurity=False).digest()
        labels[target] = str(int.from_bytes(digest[8:], "big") % modulus)
        return True

    return hashmod


def _labelmap(config: RelabelConfig) -> Step:
    regex = compile_regex(config.regex)
    name_of = _template(config.replacement, regex)

    @lru_cache(_NAMES)
    def mapped(name: str) -> str | None:
        found = regex.search(name)
        return None if found is None else name_of(found)

    def labelmap(labels: dict[str, str]) -> bool:
        for name, value in sorted(labels.items()):
            if (new := mapped(name)) is not None:
                _put(labels, new, value)
        return True

    return labelmap


def _labeldrop_or_keep(config: RelabelConfig) -> Step:
    matches, keep = lru_cache(_NAMES)(_matches(config.regex)), config.action == "labelkeep"

    def drop(labels: dict[str, str]) -> bool:
        for name in [name for name in labels if matches(name) is not keep]:
            del labels[name]
        return True

    return drop


def _change_case(config: RelabelConfig) -> Step:
    value_of, target = _joined(config), config.target_label
    change = _lower if config.action == "lowercase" else _upper

    def change_case(labels: dict[str, str]) -> bool:
        _put(labels, target, change(value_of(labels)))
        return True

    return change_case


def _lower(text: str) -> str:
    """Lower each character by itself, as Go does: Python's `lower` looks at neighbours, and makes two of `İ`."""
    return text.lower() if text.isascii() else "".join("i" if char == "İ" else char.lower() for char in text)


def _upper(text: str) -> str:
    """Raise each character by itself, as Go does: Python makes `SS` of `ß`, which Go leaves alone."""
    return text.upper() if text.isascii() else "".join(map(_upper_char, text))


def _upper_char(char: str) -> str:
    for changed in (char.upper(), char.title()):
        if len(changed) == 1:
            return changed
    return char


def _template(text: str, regex: Any) -> Callable[[Any], str]:
    """Return what expands a replacement for a match, by the rules of Go's `Regexp.Expand`."""
    parts = list(_template_parts(text, regex))
    if all(isinstance(part, str) for part in parts):
        constant = "".join(str(part) for part in parts)
        return lambda _: constant

    def expand(found: Any) -> str:
        return "".join([part if isinstance(part, str) else found.group(part) or "" for part in parts])

    return expand


def _template_parts(text: str, regex: Any) -> Iterable[str | int]:
    """Split a replacement into text and numbers of groups; a group that the regex lacks is the empty text."""
    while text:
        before, dollar, text = text.partition("$")
        yield before
        if not dollar:
            return
        if text.startswith("$"):
            yield "$"
            text = text[1:]
            continue
        braced = text.startswith("{")
        start = end = 1 if braced else 0
        # A name is as long as can be: in `$1x` it is `1x`.
        while end < len(text) and (text[end].isalpha() or text[end].isdecimal() or text[end] == "_"):
            end += 1
        name = text[start:end]
        if not name or (braced and text[end : end + 1] != "}"):
            yield "$"
            continue
        text = text[end + 1 if braced else end :]
        if re.fullmatch(r"0|[1-9][0-9]*", name, re.ASCII):
            if int(name) <= regex.groups:
                yield int(name)
        elif name in regex.groupindex:
            yield regex.groupindex[name]
