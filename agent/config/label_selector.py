"""Kubernetes' LabelSelector, in an agent's file as in custom resources. Source: apimachinery, meta/v1 LabelSelector."""

from typing import Literal

from pydantic import AliasChoices, Field, model_validator

from agent.config.selectors import check_label_selector
from pipeline.http_config import NullableSection

Selecting = Literal["In", "NotIn", "Exists", "DoesNotExist"]


class Requirement(NullableSection):
    """One of `match_expressions`: what a label must be."""

    key: str
    """The label's name."""
    operator: Selecting
    """How its value is compared."""
    values: tuple[str, ...] = ()
    """What it is compared with; for In and NotIn."""

    @model_validator(mode="after")
    def _values_fit(self) -> "Requirement":
        if self.operator in ("In", "NotIn") and not self.values:
            raise ValueError(f"operator {self.operator} needs values")
        if self.operator in ("Exists", "DoesNotExist") and self.values:
            raise ValueError(f"operator {self.operator} takes no values")
        return self

    @property
    def text(self) -> str:
        """The requirement as the Kubernetes API reads it."""
        if self.operator in ("In", "NotIn"):
            return f"{self.key} {self.operator.lower()} ({','.join(sorted(self.values))})"
        return self.key if self.operator == "Exists" else f"!{self.key}"


class LabelSelector(NullableSection):
    """What labels must be: every part must hold; without any part everything is selected.

    Kubernetes' own spelling (`matchLabels`) is read too.
    """

    match_labels: dict[str, str] = Field(
        default_factory=dict, validation_alias=AliasChoices("match_labels", "matchLabels")
    )
    """Labels with exactly these values."""
    match_expressions: tuple[Requirement, ...] = Field(
        default=(), validation_alias=AliasChoices("match_expressions", "matchExpressions")
    )
    """Further requirements."""

    @property
    def text(self) -> str:
        """The selector as the Kubernetes API reads it: `labelSelector`, empty where it selects everything."""
        parts = [(key, f"{key}={value}") for key, value in self.match_labels.items()]
        parts += [(requirement.key, requirement.text) for requirement in self.match_expressions]
        return ",".join(text for _, text in sorted(parts, key=lambda part: part[0]))

    @model_validator(mode="after")
    def _readable(self) -> "LabelSelector":
        check_label_selector(self.text)
        return self
