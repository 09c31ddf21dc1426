"""Stages that change labels, the tenant and structured metadata.

Source: promtail, stages/labels.go, static_labels.go, labelallow.go, labeldrop.go, structuredmetadata.go, tenant.go.
"""

from collections.abc import Callable, Mapping

from agent.config.stage_selection import TenantStage
from agent.logs.entry import Entry
from agent.stages.step import Run, Step, Then
from agent.stages.streams import TENANT
from agent.stages.values import as_text


def valid(value: str) -> bool:
    """Tell whether text may be a label's value: lone surrogates have no UTF-8."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def _on_labels(change: Callable[[dict[str, str]], None]) -> Step:
    """Return a stage that changes nothing but labels, and looks at nothing else."""

    def bind(then: Then, run: Run) -> Then:
        def run_change(entry: Entry) -> None:
            change(entry.labels)
            then(entry)

        return run_change

    return Step(bind, by_labels=True)


def labels_step(sources: Mapping[str, str]) -> Step:
    """Return the `labels` stage: extracted values that have a text become labels."""
    pairs = list(sources.items())

    def bind(then: Then, run: Run) -> Then:
        def run_labels(entry: Entry) -> None:
            labels, extracted = entry.labels, entry.extracted
            for name, source in pairs:
                if source in extracted:
                    value = as_text(extracted[source])
                    if value is not None and valid(value):
                        labels[name] = value
            then(entry)

        return run_labels

    return Step(bind, by_labels=True)


def static_labels_step(labels: Mapping[str, str]) -> Step:
    """Return the `static_labels` stage."""

    return _on_labels(lambda of: of.update(labels))


def labeldrop_step(names: tuple[str, ...]) -> Step:
    """Return the `labeldrop` stage."""

    def change(labels: dict[str, str]) -> None:
        for name in names:
            labels.pop(name, None)

    return _on_labels(change)


def labelallow_step(names: tuple[str, ...]) -> Step:
    """Return the `labelallow` stage."""
    allowed = frozenset(names)

    def change(labels: dict[str, str]) -> None:
        for name in [name for name in labels if name not in allowed]:
            del labels[name]

    return _on_labels(change)


def tenant_step(config: TenantStage) -> Step:
    """Return the `tenant` stage: what names no tenant leaves it as it was."""
    if config.source:
        return Step(lambda then, run: _tenant_of(config.source, then), by_labels=True)

    def change(labels: dict[str, str]) -> None:
        tenant = labels.get(config.label) if config.label else config.value
        if tenant:
            labels[TENANT] = tenant

    return _on_labels(change)


def _tenant_of(source: str, then: Then) -> Then:
    def run_tenant(entry: Entry) -> None:
        tenant = as_text(entry.extracted.get(source))
        if tenant:
            entry.labels[TENANT] = tenant
        then(entry)

    return run_tenant


def structured_metadata_step(sources: Mapping[str, str]) -> Step:
    """Return the `structured_metadata` stage.

    A source is an extracted value, or else a label; a label that became metadata with its very value goes.
    """
    pairs = list(sources.items())

    def bind(then: Then, run: Run) -> Then:
        def run_metadata(entry: Entry) -> None:
            labels, extracted, taken = entry.labels, entry.extracted, dict[str, str]()
            for name, source in pairs:
                value = as_text(extracted[source]) if source in extracted else None
                if value is not None and valid(value):
                    entry.metadata[name] = taken[source] = value
            for name, source in pairs:
                if source not in taken and source in labels:
                    entry.metadata[name] = taken[source] = labels[source]
            for source, value in taken.items():
                if labels.get(source) == value:
                    del labels[source]
            then(entry)

        return run_metadata

    return Step(bind, by_labels=True)
