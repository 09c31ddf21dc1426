"""What one receiver is to get of a batch: `write_relabel_configs`, and no more than it wants of what a batch carries.

A batch travels as the bytes it was encoded to (ARCHITECTURE 1); only for a receiver that asks for less, or for other
labels, it is taken apart here. Source: Prometheus documentation, `<remote_write>`.
"""

from dataclasses import dataclass, field

from pipeline.relabel import Rules, compile_rules, relabel
from pipeline.send.config import RemoteWriteConfig
from pipeline.wire import snappy
from pipeline.wire.protobuf import decode_varint, fields
from pipeline.wire.remote_write import (
    EXEMPLAR,
    HISTOGRAM,
    LABEL,
    METADATA,
    SAMPLE,
    TIMESERIES,
    decode_series,
    encode_labels,
    encode_series,
)

MAX_CACHE_BYTES = 32 * 2**20
"""What the memory of relabelled label sets may take; beyond it all of it is forgotten."""


@dataclass(slots=True)
class Rewrite:
    """Takes payloads apart for one receiver; remembers what became of each label set. May run in any thread."""

    rules: Rules
    exemplars: bool
    metadata: bool
    histograms: bool = True
    _known: dict[bytes, bytes | None] = field(default_factory=dict)
    _known_bytes: int = 0

    def apply(self, payload: bytes) -> tuple[bytes, int]:
        """Return a `snappy(prometheus.WriteRequest)` rewritten, and its samples and histograms; raises MalformedError.

        Where nothing is left of it the payload is empty.
        """
        raw, out, items, at = snappy.decompress(payload), list[bytes](), 0, 0
        for tag, _, start, end in fields(raw):
            if tag == TIMESERIES:
                content, count = self._series(raw, start, end)
                if content:
                    out.append(encode_series(content))
                    items += count
            elif tag != METADATA or self.metadata:
                out.append(raw[at:end])
            at = end
        return (snappy.compress(b"".join(out)) if out else b""), items

    def _series(self, raw: bytes, start: int, end: int) -> tuple[bytes, int]:
        """Return a series' content and items; nothing if it is dropped."""
        behind_labels = start
        while behind_labels < end and raw[behind_labels] == LABEL:
            size, position = decode_varint(raw, behind_labels + 1)
            behind_labels = position + size
        labels = self._labels(raw[start:behind_labels])
        if labels is None:
            return b"", 0
        parts, items, at, left_out = [labels], 0, behind_labels, False
        for tag, _, _, behind in fields(raw, behind_labels, end):
            if (tag == EXEMPLAR and not self.exemplars) or (tag == HISTOGRAM and not self.histograms):
                left_out = True
            else:
                parts.append(raw[at:behind])
                items += tag in (SAMPLE, HISTOGRAM)
            at = behind
        if left_out and len(parts) == 1:
            return b"", 0  # what has labels alone says nothing
        return b"".join(parts), items

    def _labels(self, encoded: bytes) -> bytes | None:
        """Return encoded labels after the rules, None if a rule drops what carries them."""
        if not self.rules:
            return encoded
        if encoded in self._known:
            return self._known[encoded]
        labels = relabel(decode_series(encoded, 0, len(encoded)).labels, self.rules)
        made = encode_labels(labels) if labels else None
        if self._known_bytes > MAX_CACHE_BYTES:
            self._known.clear()
            self._known_bytes = 0
        # 200 bytes are about what a dict's entry and two bytes objects take beside their contents.
        self._known_bytes += len(encoded) + len(made or b"") + 200
        self._known[encoded] = made
        return made


def rewrite_for(config: RemoteWriteConfig, legacy_names: bool = False) -> Rewrite | None:
    """Return what a receiver's batches need, None where they go as they are.

    Exemplars, native histograms and metadata are part of a batch; they are taken out where a file says so in words
    (`send_exemplars: false`, `send_native_histograms: false`, `metadata_config: {send: false}`).
    """
    exemplars = config.send_exemplars or "send_exemplars" not in config.model_fields_set
    histograms = config.send_native_histograms or "send_native_histograms" not in config.model_fields_set
    metadata = config.metadata_config.send
    if exemplars and histograms and metadata and not config.write_relabel_configs:
        return None
    return Rewrite(compile_rules(config.write_relabel_configs, legacy_names), exemplars, metadata, histograms)
