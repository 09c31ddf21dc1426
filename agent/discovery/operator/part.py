"""What the models of custom resources are made of: camelCase outside, Prometheus' own keys inside.

A field's Python name is its key in Prometheus' file, its alias the key in the resource. So most of a conversion is
writing a model out again under other names (`written`), with references to Secrets replaced by what they hold.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from pipeline.config import Key
from pipeline.errors import PipelineError


@dataclass(frozen=True, slots=True)
class Reference:
    """A key of a Secret or a ConfigMap in the resource's own namespace."""

    kind: Literal["Secret", "ConfigMap"]
    name: str
    key: str


Values = Mapping[Reference, str | PipelineError]
"""What references hold, or why that cannot be read."""

T = TypeVar("T")
Own = Annotated[T, Field(exclude=True)]
"""A field that is not written out: its kind's conversion does something else with it."""


class Part(BaseModel):
    """A part of a custom resource. Unknown keys are refused; null and empty text are as good as absent, as in Go."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, alias_generator=to_camel)
    empty_text_counts: ClassVar[frozenset[str]] = frozenset()
    """Keys for which empty text is a value of its own."""

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {k: v for k, v in value.items() if v is not None and (v != "" or k in cls.empty_text_counts)}


class SecretKey(Part):
    """A key of a Secret: Kubernetes' SecretKeySelector. As in the operator `optional` excuses nothing."""

    name: str
    key: str
    optional: bool = False

    @property
    def reference(self) -> Reference:
        """What is to be read."""
        return Reference("Secret", self.name, self.key)


class ConfigMapKey(SecretKey):
    """A key of a ConfigMap."""

    @property
    def reference(self) -> Reference:
        """What is to be read."""
        return Reference("ConfigMap", self.name, self.key)


class KeySource(Part):
    """A key of a Secret or of a ConfigMap: the operator's SecretOrConfigMap."""

    secret: SecretKey | None = None
    config_map: ConfigMapKey | None = None

    @model_validator(mode="after")
    def _one(self) -> "KeySource":
        if self.secret is not None and self.config_map is not None:
            raise ValueError("cannot specify both secret and configMap")
        if self.secret is None and self.config_map is None:
            raise ValueError("names neither a secret nor a configMap")
        return self

    @property
    def reference(self) -> Reference:
        """What is to be read."""
        found = self.secret or self.config_map
        assert found is not None
        return found.reference


def _not_nameless(value: Any) -> Any:
    # Go's clients write a reference that was never set as {} or as {"key": ""}.
    return None if isinstance(value, dict) and not any(value.values()) else value


SecretRef = Annotated[SecretKey | None, BeforeValidator(_not_nameless)]
KeyRef = Annotated[KeySource | None, BeforeValidator(_not_nameless)]


def references(value: Any, at: Key = ()) -> Iterator[tuple[Key, Reference]]:
    """Yield every reference of a resource, and the key at which it stands."""
    if isinstance(value, SecretKey | KeySource):
        yield at, value.reference
    elif isinstance(value, Part):
        for name, field in type(value).model_fields.items():
            yield from references(getattr(value, name), (*at, field.alias or name))
    elif isinstance(value, dict):
        for name, entry in value.items():
            yield from references(entry, (*at, name))
    elif isinstance(value, tuple):
        for index, entry in enumerate(value):
            yield from references(entry, (*at, index))


def written(part: Part, values: Values) -> dict[str, Any]:
    """Write what a part sets, under Prometheus' keys; raises PipelineError for a reference that cannot be read."""
    fields = type(part).model_fields
    given = {name: getattr(part, name) for name in fields if name in part.model_fields_set and not fields[name].exclude}
    return {name: _plain(value, values) for name, value in given.items() if value is not None}


def _plain(value: Any, values: Values) -> Any:
    if isinstance(value, SecretKey | KeySource):
        found = values[value.reference]
        if isinstance(found, PipelineError):
            raise found
        return found
    if isinstance(value, Part):
        return written(value, values)
    if isinstance(value, tuple):
        return [_plain(entry, values) for entry in value]
    if isinstance(value, dict):
        return {name: _plain(entry, values) for name, entry in value.items()}
    return value
