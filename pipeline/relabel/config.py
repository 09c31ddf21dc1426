"""One rule of a `relabel_configs` list, and what Prometheus refuses in it."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, model_validator

from pipeline.config import Section
from pipeline.regex import compile_re2

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
DEFAULT_REGEX = "(.*)"
_DEFAULT_REPLACEMENT = "$1"
_LEGACY_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_LEGACY_TEMPLATE = re.compile(r"(?:[a-zA-Z_]|\$(?:\{\w+\}|\w+))(?:\w|\$(?:\{\w+\}|\w+))*", re.ASCII)


def is_label_name(name: str, legacy: bool = False) -> bool:
    """Tell whether a label may have this name: any text, or with `legacy` only letters, digits and underscores."""
    return _LEGACY_NAME.fullmatch(name) is not None if legacy else bool(name)


def compile_regex(text: str) -> Any:
    """Compile a regex the way a rule uses it; raises ValueError with RE2's reason."""
    try:
        return compile_re2(f"^(?s:{text})$")
    except ValueError as error:
        raise ValueError(f"error parsing regexp: {error}") from error


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
    """Whose values, joined, the rule looks at."""
    separator: str = ";"
    """What stands between them."""
    regex: Annotated[str, AfterValidator(_regex)] = DEFAULT_REGEX
    """RE2, for the whole value (or, for labelmap, labeldrop and labelkeep, the whole name)."""
    modulus: int = 0
    """By what hashmod divides."""
    target_label: str = ""
    """The label that is written, or compared with."""
    replacement: str = _DEFAULT_REPLACEMENT
    """What is written; `$1` and `${name}` are the regex's groups."""
    action: Annotated[Action, BeforeValidator(_action)] = "replace"
    """What the rule does."""

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
