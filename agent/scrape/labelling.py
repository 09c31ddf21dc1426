"""From a page's labels to what is stored: target labels, metric relabelling, limits, external labels; then encoded.

Runs once for every distinct series text. Source: prometheus/scrape/scrape.go (mutateSampleLabels, verifyLabelLimits);
ARCHITECTURE 8 for the cluster's label.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.errors import TransientError
from pipeline.wire.protobuf import encode_bytes
from pipeline.wire.remote_write import Labels, encode_labels

Relabel = Callable[[Labels], Labels | None]
EXPORTED = "exported_"

_MAX_NAMES = 10_000
_BYTE = [bytes([number]) for number in range(128)]
_FIELD = [b"\x0a" + byte for byte in _BYTE]
_LEGACY_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII).fullmatch
_LEGACY_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII).fullmatch


class ScrapeError(TransientError):
    """This scrape failed, with the reason that `/api/v1/targets` shows; the next may do better."""


@dataclass(frozen=True, slots=True)
class LabelLimits:
    """What a series' labels may be before the whole scrape fails; 0 means no limit. Lengths are bytes of UTF-8."""

    labels: int = 0
    name_bytes: int = 0
    value_bytes: int = 0

    def check(self, labels: Labels) -> None:
        """Raise ScrapeError for a label set beyond a limit."""
        if not (self.labels or self.name_bytes or self.value_bytes):
            return
        metric = dict(labels).get("__name__", "")
        if self.labels and len(labels) > self.labels:
            raise ScrapeError(
                f"label_limit exceeded (metric: {metric:.50}, number of labels: {len(labels)}, limit: {self.labels})"
            )
        for name, value in labels:
            if self.name_bytes and (size := len(name.encode())) > self.name_bytes:
                raise ScrapeError(
                    f"label_name_length_limit exceeded (metric: {metric:.50}, label name: {name:.50}, "
                    f"length: {size}, limit: {self.name_bytes})"
                )
            if self.value_bytes and (size := len(value.encode())) > self.value_bytes:
                raise ScrapeError(
                    f"label_value_length_limit exceeded (metric: {metric:.50}, label name: {name:.50}, "
                    f'value: "{value:.50}", length: {size}, limit: {self.value_bytes})'
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelling:
    """How one target's series are labelled.

    `external` are added where a series has no such label; the one named `cluster_label` (if any) always holds the
    cluster's name, and another value that a series brings under that name moves to `exported_<name>`.
    """

    target: Labels
    honor_labels: bool = False
    relabel: Relabel | None = None
    external: Labels = ()
    cluster_label: str = ""
    limits: LabelLimits = LabelLimits()
    legacy_names: bool = False
    _names: dict[str, bytes] = field(default_factory=dict, repr=False, compare=False)

    def encode(self, scraped: Labels) -> bytes | None:
        """Return the encoded labels of a scraped series, or None where a rule drops it.

        Raises ScrapeError where Prometheus lets the whole scrape fail.
        """
        merged = self._with_target(scraped)
        labels: Labels | None = tuple(sorted([pair for pair in merged.items() if pair[1]]))
        if self.relabel is not None and labels is not None:
            labels = self.relabel(labels)
        if not labels:
            return None
        if len(dict(scraped)) < len(scraped):
            raise ScrapeError(f"a label name stands twice in a series: {show(scraped)}")
        self._check_names(labels)
        self.limits.check(labels)
        return self._encode(self._with_external(labels))

    def encode_report(self, metric: str) -> bytes:
        """Return the encoded labels of one of the series that tell about the scrape itself."""
        labels = tuple(sorted({"__name__": metric, **dict(self.target)}.items()))
        return self._encode(self._with_external(labels))

    def _encode(self, labels: Labels) -> bytes:
        """Encode labels as `encode_labels` does, several times faster: most are short, and names repeat."""
        out: list[bytes] = []
        names = self._names
        for name, value in labels:
            begin = names.get(name)
            if begin is None:
                if len(names) >= _MAX_NAMES:
                    names.clear()
                begin = names[name] = encode_bytes(0x0A, name.encode()) + b"\x12"
            content = value.encode()
            size = len(content)
            whole = len(begin) + 1 + size
            if whole < 128:
                out += (_FIELD[whole], begin, _BYTE[size], content)
            else:
                out.append(encode_labels(((name, value),)))
        return b"".join(out)

    def _with_target(self, scraped: Labels) -> dict[str, str]:
        merged = dict(scraped)
        if self.honor_labels:
            for name, value in self.target:
                # A label that is there but empty keeps the target's away.
                merged.setdefault(name, value)
            return merged
        moved = []
        for name, value in self.target:
            if existing := merged.get(name):
                moved.append((name, existing))
            merged[name] = value
        for name, value in sorted(moved, key=lambda pair: len(pair[0])):
            _export(merged, name, value)
        return merged

    def _check_names(self, labels: Labels) -> None:
        metric = dict(labels).get("__name__")
        if metric is None:
            raise ScrapeError("missing metric name (__name__ label)")
        valid = bool(labels[0][0])  # they are sorted, so that an empty name comes first
        if self.legacy_names:
            valid = bool(_LEGACY_METRIC(metric)) and all(_LEGACY_LABEL(name) for name, _ in labels)
        if not valid:
            raise ScrapeError(f"invalid metric name or label names: {show(labels)}")

    def _with_external(self, labels: Labels) -> Labels:
        if not self.external:
            return labels
        merged = dict(labels)
        for name, value in self.external:
            if name == self.cluster_label and merged.get(name, value) != value:
                _export(merged, name, merged[name])
                merged[name] = value
            merged.setdefault(name, value)
        return tuple(sorted(merged.items()))


def _export(labels: dict[str, str], name: str, value: str) -> None:
    """Keep a label's value under the first name that is free: exported_x, exported_exported_x, …"""
    name = EXPORTED + name
    while labels.get(name):
        name = EXPORTED + name
    labels[name] = value


def show(labels: Labels) -> str:
    """Write labels the way Prometheus shows them."""
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels) + "}"
