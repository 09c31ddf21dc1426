"""What several kinds of custom resources share beside HTTP: rules, limits, histograms, namespaces."""

import re
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, StrictInt, StrictStr, model_validator

from agent.discovery.operator.part import Own, Part
from pipeline.config import Seconds
from pipeline.relabel import RelabelConfig


class Rule(Part):
    """One of `relabelings` or `metricRelabelings`. An empty regex is the default one, as in the operator."""

    empty_text_counts: ClassVar[frozenset[str]] = frozenset(("separator", "replacement"))

    source_labels: tuple[str, ...] = ()
    separator: str = ";"
    target_label: str = ""
    regex: str = "(.*)"
    modulus: int = 0
    replacement: str = "$1"
    action: str = "replace"

    @model_validator(mode="after")
    def _usable(self) -> "Rule":
        self.config()
        return self

    def config(self) -> RelabelConfig:
        """Return the rule as Prometheus' file has it; raises ValueError."""
        return RelabelConfig(**{name: getattr(self, name) for name in self.model_fields_set})


class NamespaceSelector(Part):
    """`namespaceSelector`: any namespace, or those named, or (left empty) the resource's own."""

    any: bool = False
    match_names: tuple[str, ...] = ()

    def names(self, own: str, ignored: bool) -> tuple[str, ...]:
        """Return the namespaces to look into; none means all of them."""
        if ignored:
            return (own,)
        return () if self.any else self.match_names or (own,)


class AttachMetadata(Part):
    """`attachMetadata`."""

    node: bool = False


_QUANTITY = re.compile(r"([+-]?[0-9.]+)(?:(n|u|m|k|M|G|T|P|E|[KMGTPE]i)|[eE]([+-]?[0-9]+))?", re.ASCII)
_POWERS = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def parse_quantity(value: object) -> float:
    """Read Kubernetes' resource.Quantity (`1.1`, `1100m`, `1Ki`); raises ValueError."""
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        raise ValueError(f"not a quantity: {value!r}: write it like 1.1 or 1100m")
    number, suffix = float(match[1]), match[2] or ""
    if suffix.endswith("i"):
        return float(number * 1024 ** (" KMGTPE".index(suffix[0])))
    return float(number * 10.0 ** _POWERS.get(suffix, int(match[3] or 0)))


Limit = Annotated[int, Field(ge=0)]


class Limits(Part):
    """What every kind bounds, and how it reads histograms and pages."""

    sample_limit: Limit | None = None
    target_limit: Limit | None = None
    label_limit: Limit | None = None
    label_name_length_limit: Limit | None = None
    label_value_length_limit: Limit | None = None
    keep_dropped_targets: Limit | None = None
    scrape_native_histograms: bool | None = None
    always_scrape_classic_histograms: bool | None = Field(default=None, alias="scrapeClassicHistograms")
    native_histogram_bucket_limit: Limit | None = None
    native_histogram_min_bucket_factor: Annotated[float, BeforeValidator(parse_quantity)] | None = None
    convert_classic_histograms_to_nhcb: bool | None = Field(default=None, alias="convertClassicHistogramsToNHCB")
    scrape_protocols: tuple[str, ...] | None = None
    fallback_scrape_protocol: str | None = None
    scrape_class: Own[str | None] = None
    """One of the section's `scrape_classes`."""

    @model_validator(mode="after")
    def _no_empty_list(self) -> "Limits":
        if self.scrape_protocols == ():  # As the operator: an empty list is none.
            object.__setattr__(self, "scrape_protocols", None)
        return self


class SizedLimits(Limits):
    """The limits of kinds that also bound a page's size."""

    body_size_limit: str | None = None


Port = StrictInt | StrictStr
Params = dict[str, tuple[str, ...]]
Duration = Seconds
Rules = tuple[Rule, ...]
