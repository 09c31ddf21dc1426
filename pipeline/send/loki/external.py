"""`external_labels`: labels that every stream gets which does not have them. Pure but for what it remembers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from pipeline.send.loki.parcel import labels_of
from pipeline.send.request import Request
from pipeline.wire import snappy
from pipeline.wire.loki import STREAM, STREAM_LABELS, encode_labels, parse_labels
from pipeline.wire.protobuf import encode_bytes, fields

_MAX_KNOWN: Final = 20_000


@dataclass(slots=True)
class ExternalLabels:
    """Adds labels to payloads; a stream's own go first, as in promtail."""

    labels: Mapping[str, str]
    _known: dict[bytes, bytes] = field(default_factory=dict)

    def add(self, request: Request) -> Request:
        """Return the request with them; raises MalformedError."""
        return request.of(*(replace(piece, payload=self._payload(piece.payload)) for piece in request.pieces))

    def _payload(self, payload: bytes) -> bytes:
        raw, out, start = snappy.decompress(payload), list[bytes](), 0
        for tag, _, content, end in fields(raw):
            if tag == STREAM:
                labels, behind = labels_of(raw, content, end)
                out.append(encode_bytes(STREAM, encode_bytes(STREAM_LABELS, self._with(labels)) + raw[behind:end]))
            else:
                out.append(raw[start:end])
            start = end
        return snappy.compress(b"".join(out))

    def _with(self, labels: bytes) -> bytes:
        made = self._known.get(labels)
        if made is None:
            # A stream without labels is none to Loki; with these it is one.
            own = {} if labels.strip() == b"{}" else dict(parse_labels(labels.decode(errors="replace")))
            made = encode_labels({**self.labels, **own}.items())
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[labels] = made
        return made
