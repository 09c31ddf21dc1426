"""The identity scan in plain Python. What was checked once is not parsed again: label sets repeat between scrapes.

`Known` remembers encoded label fields (all of a series', from its first byte) that were found to be one cluster's, or
to lack its label only. A series that begins with such bytes, and goes on behind them with exactly one sample, is
thereby proven: the remembered bytes end where a field ends, so a parser reads on at the sample.
"""

from threading import Lock
from typing import Final
from weakref import WeakSet

from pipeline.wire.errors import MalformedError
from pipeline.wire.protobuf import decode_varint, fields
from pipeline.wire.remote_write import EXEMPLAR, HISTOGRAM, LABEL, METADATA, SAMPLE, TIMESERIES, signed
from pipeline.wire.scan_found import Exceptional, Found, Kind

_METRIC_NAME: Final = b"__name__"
_NAME, _VALUE = 0x0A, 0x12
_SAMPLE_VALUE, _SAMPLE_TIMESTAMP, _HISTOGRAM_TIMESTAMP = 0x09, 0x10, 0x78
_EXEMPLAR_VALUE, _EXEMPLAR_TIMESTAMP = 0x11, 0x18
_OVERHEAD_BYTES: Final = 33 + 64
"""Of a bytes object and its place in a dictionary."""
OWN: Final = -1
"""No place is to be found for a label that is there."""


class Memory:
    """Bounds what all `Known` of a process remember together, in bytes.

    Two generations: when the young ones are full they become the old ones, and what is seen again moves back. Several
    threads may scan at the same time.
    """

    def __init__(self, max_bytes: int) -> None:
        self._lock = Lock()
        self._max_young_bytes = max_bytes // 2
        self._young_bytes = 0
        self._all: WeakSet[Known] = WeakSet()

    def join(self, known: "Known") -> None:
        """Bound this one too."""
        with self._lock:
            self._all.add(known)

    def grow(self, size: int) -> bool:
        """Return whether there is room for so many bytes; make the young generations the old ones to get it."""
        with self._lock:
            if self._young_bytes + size > self._max_young_bytes:
                for known in self._all:
                    known.old, known.young = known.young, {}
                self._young_bytes = 0
            if size > self._max_young_bytes:
                return False
            self._young_bytes += size
            return True


class Known:
    """Label fields (all of a series') that were found to carry one cluster's label: OWN, or only to lack it.

    Of the latter the value is where in them the label belongs.
    """

    __slots__ = ("__weakref__", "_memory", "old", "young")

    def __init__(self, memory: Memory) -> None:
        self.young: dict[bytes, int] = {}
        self.old: dict[bytes, int] = {}
        self._memory = memory
        memory.join(self)

    def find_old(self, labels: bytes) -> int | None:
        """Return what the old generation has of these; if it has, they are young again."""
        found = self.old.get(labels)
        if found is not None:
            self.add(labels, found)
        return found

    def add(self, labels: bytes, place: int = OWN) -> None:
        """Remember label fields."""
        if self._memory.grow(len(labels) + _OVERHEAD_BYTES):
            self.young[labels] = place


def scan_plain(data: bytes | memoryview, label: bytes, value: bytes, known: Known) -> Found:
    """Return what the request holds; raises MalformedError. See `pipeline.wire.scan`."""
    data = data if isinstance(data, bytes) else bytes(data)
    walk = _Walk(data, label, value, known)
    try:
        walk.request()
    except IndexError:
        raise MalformedError("the message ends inside a varint", len(data)) from None
    return walk.found()


class _Walk:
    """One scan: the bytes, what is asked of them, and what was counted so far."""

    def __init__(self, data: bytes, label: bytes, value: bytes, known: Known) -> None:
        self._data = data
        self._label = label
        self._value = value
        self._known = known
        self._series = self._samples = self._histograms = self._exemplars = self._metadata = 0
        self._earliest_ms: int | None = None
        self._latest_ms = 0
        self._exceptions: list[Exceptional] = []

    def found(self) -> Found:
        """Return what was counted."""
        return Found(
            self._series,
            self._samples,
            self._histograms,
            self._exemplars,
            self._metadata,
            self._earliest_ms or 0,
            self._latest_ms,
            tuple(self._exceptions),
        )

    def request(self) -> None:
        """Walk the top-level fields to their exact end."""
        data, known = self._data, self._known
        position, end = 0, len(data)
        stamps: dict[bytes, None] = {}
        while position < end:
            tag = data[position]
            # The length's one or two bytes are read here: this loop runs once a series.
            length = data[position + 1]
            if length < 128:
                start = position + 2
            elif (second := data[position + 2]) < 128:
                length, start = length & 127 | second << 7, position + 3
            else:
                length, start = decode_varint(data, position + 1)
            behind = start + length
            if behind > end:
                raise MalformedError("a field reaches beyond the end of its message", position)
            if tag == TIMESERIES:
                self._series += 1
                # Nearly always the series ends with its one sample, of 18 bytes (where its time is between 2004 and
                # 2109), or of 9 where its value is 0 and left out.
                size = 18 if data[behind - 18 : behind - 15] == b"\x12\x10\x09" else 9
                labels = data[start : behind - size]
                place = known.young.get(labels)
                if place is None:
                    place = known.find_old(labels)
                if place is not None:
                    stamp = data[behind - size : behind - size + 3] + data[behind - 7 : behind]
                    if stamp in stamps or self._is_sample(stamp):
                        stamps[stamp] = None
                        self._samples += 1
                        if place != OWN:
                            self._exceptions.append(
                                Exceptional(position, behind, Kind.UNLABELLED, start, start + place)
                            )
                        position = behind
                        continue
                self._read_series(position, start, behind)
            elif tag == METADATA:
                self._metadata += 1
                _check_framing(data, start, behind)
            else:
                raise MalformedError(f"prometheus.WriteRequest has no field with tag {tag}", position)
            position = behind

    def _is_sample(self, stamp: bytes) -> bool:
        """Tell whether these (the first three bytes and the last seven of a field) are a sample's; note its time."""
        if stamp[:3] == b"\x12\x10\x09":
            if stamp[3] != _SAMPLE_TIMESTAMP:
                return False
        elif stamp[:3] != b"\x12\x07\x10":
            return False
        number, behind = decode_varint(stamp, 4)
        if behind != 10:
            return False
        self._note_time(signed(number))
        return True

    def _note_time(self, time_ms: int) -> None:
        if self._earliest_ms is None:
            self._earliest_ms = self._latest_ms = time_ms
        elif time_ms < self._earliest_ms:
            self._earliest_ms = time_ms
        elif time_ms > self._latest_ms:
            self._latest_ms = time_ms

    def _read_series(self, field_start: int, start: int, end: int) -> None:
        """Read a whole TimeSeries, field by field."""
        data = self._data
        labels: list[tuple[bytes, bytes]] = []
        labels_end, scattered, position, place = start, False, start, 0
        while position < end:
            tag = data[position]
            length, at = decode_varint(data, position + 1)
            behind = at + length
            if tag not in (LABEL, SAMPLE, EXEMPLAR, HISTOGRAM):
                raise MalformedError(f"prometheus.TimeSeries has no field with tag {tag}", position)
            if behind > end:
                raise MalformedError("a field reaches beyond the end of its message", position)
            if tag == LABEL:
                labels.append(_read_label(data, at, behind))
                if not place and labels[-1][0] > self._label:
                    place = position
                scattered = scattered or position != labels_end
                labels_end = behind
            elif tag == SAMPLE:
                self._samples += 1
                self._note_time(_sample_time(data, at, behind))
            elif tag == HISTOGRAM:
                self._histograms += 1
                self._note_time(_histogram_time(data, at, behind))
            else:
                self._exemplars += 1
                _check_exemplar(data, at, behind)
            position = behind
        kind = _judge(labels, self._label, self._value)
        if kind is not Kind.UNLABELLED or any(name == self._label for name, _ in labels):
            place = 0
        elif not place:
            place = labels_end
        if kind is not None:
            self._exceptions.append(Exceptional(field_start, end, kind, start if place else 0, place))
        if not scattered and (kind is None or place):
            self._known.add(data[start:labels_end], place - start if place else OWN)


def _judge(labels: list[tuple[bytes, bytes]], label: bytes, value: bytes) -> Kind | None:
    """Decide on a series by its labels; None means that it is one of the cluster's."""
    found = dict(labels)
    if len(found) != len(labels):
        return Kind.REPEATED
    carried = found.get(label, b"")
    if carried and carried != value:
        return Kind.FOREIGN
    if not found.get(_METRIC_NAME) or b"" in found:
        return Kind.NAMELESS
    return None if carried else Kind.UNLABELLED


def _read_label(data: bytes, start: int, end: int) -> tuple[bytes, bytes]:
    """Return a label's name and value; raises MalformedError for anything that two parsers could read differently."""
    name: bytes | None = None
    value: bytes | None = None
    position = start
    while position < end:
        tag = data[position]
        length, at = decode_varint(data, position + 1)
        behind = at + length
        if tag not in (_NAME, _VALUE):
            raise MalformedError(f"prometheus.Label has no field with tag {tag}", position)
        if behind > end:
            raise MalformedError("a field reaches beyond the end of its message", position)
        if (name if tag == _NAME else value) is not None:
            raise MalformedError("a label with two names or two values", position)
        try:
            data[at:behind].decode()
        except UnicodeDecodeError:
            raise MalformedError("a label that is not UTF-8", at) from None
        if tag == _NAME:
            name = data[at:behind]
        else:
            value = data[at:behind]
        position = behind
    return name or b"", value or b""


def _sample_time(data: bytes, start: int, end: int) -> int:
    """Return a sample's time; where a field stands twice the last one counts, as in every parser."""
    time_ms = 0
    for tag, number, at, _ in fields(data, start, end):
        if tag == _SAMPLE_TIMESTAMP:
            time_ms = signed(number)
        elif tag != _SAMPLE_VALUE:
            raise MalformedError(f"prometheus.Sample has no field with tag {tag}", at)
    return time_ms


def _histogram_time(data: bytes, start: int, end: int) -> int:
    """Return a native histogram's time; its other fields are passed on as they are."""
    time_ms = 0
    for tag, number, _, _ in fields(data, start, end):
        if tag == _HISTOGRAM_TIMESTAMP:
            time_ms = signed(number)
    return time_ms


def _check_exemplar(data: bytes, start: int, end: int) -> None:
    for tag, _, at, behind in fields(data, start, end):
        if tag == LABEL:
            _read_label(data, at, behind)
        elif tag not in (_EXEMPLAR_VALUE, _EXEMPLAR_TIMESTAMP):
            raise MalformedError(f"prometheus.Exemplar has no field with tag {tag}", at)


def _check_framing(data: bytes, start: int, end: int) -> None:
    for _ in fields(data, start, end):
        pass
