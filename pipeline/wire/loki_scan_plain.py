"""The identity scan of logs in plain Python; see `pipeline.wire.loki_scan`."""

from typing import Final

from pipeline.wire.errors import MalformedError
from pipeline.wire.loki import (
    ENTRY,
    HASH,
    LINE,
    MAX_TIME_NS,
    METADATA,
    MIN_TIME_NS,
    NANOS,
    NS,
    PARSED,
    SECONDS,
    STREAM,
    STREAM_LABELS,
    TIMESTAMP,
    parse_labels,
)
from pipeline.wire.protobuf import decode_varint
from pipeline.wire.remote_write import signed
from pipeline.wire.scan_found import Exceptional, FoundLogs, Kind
from pipeline.wire.scan_plain import OWN, Known

MIN_TIME_S: Final = MIN_TIME_NS // NS
MAX_TIME_S: Final = MAX_TIME_NS // NS
_NAME, _VALUE = 0x0A, 0x12


def scan_logs_plain(data: bytes | memoryview, label: bytes, value: bytes, known: Known) -> FoundLogs:
    """Return what the request holds; raises MalformedError. See `pipeline.wire.loki_scan`."""
    walk = _Walk(data if isinstance(data, bytes) else bytes(data), label, value, known)
    try:
        walk.request()
    except IndexError:
        raise MalformedError("the message ends inside a varint", len(data)) from None
    return walk.found()


def judge(text: bytes, label: bytes, value: bytes, known: Known) -> int:
    """Decide on a stream by its labels' text, and remember it: OWN where it is the cluster's, else a Kind's number."""
    verdict = known.find_old(text)
    if verdict is None:
        verdict = _read(text, label, value)
        known.add(text, verdict)
    return verdict


def _read(text: bytes, label: bytes, value: bytes) -> int:
    try:
        labels = dict(parse_labels(text.decode(), empty=True))
    except MalformedError:
        return Kind.UNREADABLE
    carried = labels.get(label.decode(), "")
    if not carried:
        return Kind.UNLABELLED
    return OWN if carried.encode() == value else Kind.FOREIGN


class _Walk:
    """One scan: the bytes, what is asked of them, and what was counted so far."""

    def __init__(self, data: bytes, label: bytes, value: bytes, known: Known) -> None:
        self._data = data
        self._label = label
        self._value = value
        self._known = known
        self._streams = self._entries = 0
        self._earliest_ms: int | None = None
        self._latest_ms = 0
        self._exceptions: list[Exceptional] = []

    def found(self) -> FoundLogs:
        """Return what was counted."""
        earliest_ms = self._earliest_ms or 0
        return FoundLogs(self._streams, self._entries, earliest_ms, self._latest_ms, tuple(self._exceptions))

    def request(self) -> None:
        """Walk the top-level fields to their exact end."""
        data = self._data
        position, end = 0, len(data)
        while position < end:
            if data[position] != STREAM:
                raise MalformedError(f"logproto.PushRequest has no field with tag {data[position]}", position)
            start, behind = self._field(position, end)
            self._streams += 1
            self._stream(position, start, behind)
            position = behind

    def _field(self, position: int, end: int) -> tuple[int, int]:
        """Return where the length-delimited field whose tag is at `position` has its content, and where it ends."""
        length = self._data[position + 1]
        start = position + 2
        if length > 127:
            length, start = decode_varint(self._data, position + 1)
        if start + length > end:
            raise MalformedError("a field reaches beyond the end of its message", position)
        return start, start + length

    def _stream(self, field_start: int, position: int, end: int) -> None:
        """Read a stream, and note what is not the cluster's."""
        data = self._data
        text, labels_start, labels_end = b"", 0, 0
        hashed = False
        entries_kind: Kind | None = None
        while position < end:
            tag = data[position]
            if tag == ENTRY:
                start, behind = self._field(position, end)
                self._entries += 1
                kind = self._entry(start, behind)
                if kind is not None and entries_kind is not Kind.MISTIMED:
                    entries_kind = kind
            elif tag == STREAM_LABELS:
                start, behind = self._field(position, end)
                if labels_end:
                    raise MalformedError("a stream with two label sets", position)
                text, labels_start, labels_end = data[start:behind], position, behind
                self._check_utf8(start, behind)
            elif tag == HASH:
                hashed = True
                _, behind = decode_varint(data, position + 1)
                if behind > end:
                    raise MalformedError("a field reaches beyond the end of its message", position)
            else:
                raise MalformedError(f"logproto.StreamAdapter has no field with tag {tag}", position)
            position = behind
        verdict = self._known.young.get(text)
        if verdict is None:
            verdict = judge(text, self._label, self._value, self._known)
        if verdict != OWN:
            place = (0, 0) if entries_kind or hashed else (labels_start, labels_end)
            self._exceptions.append(Exceptional(field_start, end, Kind(verdict), *place))
        elif entries_kind:
            self._exceptions.append(Exceptional(field_start, end, entries_kind))

    def _entry(self, position: int, end: int) -> Kind | None:
        """Read an entry; return what is wrong with its time or line, or None."""
        data = self._data
        seen = lined = garbled = timed = False
        while position < end:
            tag = data[position]
            start, behind = self._field(position, end)
            if tag == TIMESTAMP:
                if seen:
                    raise MalformedError("an entry with two times", position)
                seen = True
                timed = self._note_time(start, behind)
            elif tag == LINE:
                if lined:
                    raise MalformedError("an entry with two lines", position)
                lined = True
                garbled = not _is_utf8(data[start:behind])
            elif tag in (METADATA, PARSED):
                self._check_pair(start, behind)
            else:
                raise MalformedError(f"logproto.EntryAdapter has no field with tag {tag}", position)
            position = behind
        if not timed:
            return Kind.MISTIMED
        return Kind.GARBLED if garbled else None

    def _note_time(self, start: int, end: int) -> bool:
        """Note a time; return whether it is one."""
        data = self._data
        seconds = nanos = 0
        position, before = start, 0
        while position < end:
            tag = data[position]
            # Encoders write fields in order; anything else is a field that stands twice, or no Timestamp's.
            if tag <= before or tag not in (SECONDS, NANOS):
                raise MalformedError(f"a time with tag {tag} behind tag {before}", position)
            before = tag
            number, position = decode_varint(data, position + 1)
            if tag == SECONDS:
                seconds = signed(number)
            else:
                nanos = number
        if position > end:
            raise MalformedError("a field reaches beyond the end of its message", start)
        if not MIN_TIME_S <= seconds <= MAX_TIME_S or nanos >= NS:
            return False
        time_ms = seconds * 1000 + nanos // 1_000_000
        if self._earliest_ms is None:
            self._earliest_ms = self._latest_ms = time_ms
        elif time_ms < self._earliest_ms:
            self._earliest_ms = time_ms
        elif time_ms > self._latest_ms:
            self._latest_ms = time_ms
        return True

    def _check_pair(self, position: int, end: int) -> None:
        data, seen = self._data, set[int]()
        while position < end:
            tag = data[position]
            start, behind = self._field(position, end)
            if tag not in (_NAME, _VALUE):
                raise MalformedError(f"logproto.LabelPairAdapter has no field with tag {tag}", position)
            if tag in seen:
                raise MalformedError("metadata with two names or two values", position)
            seen.add(tag)
            self._check_utf8(start, behind)
            position = behind

    def _check_utf8(self, start: int, end: int) -> None:
        if not _is_utf8(self._data[start:end]):
            raise MalformedError("labels or metadata that are not UTF-8", start)


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
