# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False, cdivision=True
"""The identity scan of logs, compiled: the same walk as `loki_scan_plain`, with the same memory of labels.

Bytes are read through pointers; each read is behind a check against the end of the field that it belongs to, which
itself ends within the request.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t, uint64_t

from pipeline.wire._varint cimport read_varint

from pipeline.wire.errors import MalformedError
from pipeline.wire.loki_scan_plain import MAX_TIME_S, MIN_TIME_S, judge
from pipeline.wire.protobuf import decode_varint
from pipeline.wire.scan_found import Exceptional, FoundLogs, Kind
from pipeline.wire.scan_plain import OWN

cdef enum:
    STREAM = 0x0A
    STREAM_LABELS = 0x0A
    ENTRY = 0x12
    HASH = 0x18
    TIMESTAMP = 0x0A
    LINE = 0x12
    METADATA = 0x1A
    PARSED = 0x22
    NAME = 0x0A
    VALUE = 0x12
    SECONDS = 0x08
    NANOS = 0x10
    # Of Kind.
    GARBLED = 6
    MISTIMED = 7

cdef int64_t _MIN_TIME_S = MIN_TIME_S
cdef int64_t _MAX_TIME_S = MAX_TIME_S
cdef int _OWN = OWN


cdef inline bint is_ascii(const uint8_t* at, const uint8_t* end) noexcept nogil:
    # Written for the C compiler to vectorise.
    cdef uint8_t all_bits = 0
    cdef Py_ssize_t i
    for i in range(end - at):
        all_bits |= at[i]
    return all_bits < 128


cdef class _Walk:
    cdef object source
    cdef const uint8_t[::1] view
    cdef const uint8_t* base
    cdef const uint8_t* limit
    cdef object label, value, known
    # Where the field that `field` read has its content, and where it ends.
    cdef const uint8_t* at
    cdef const uint8_t* behind
    cdef Py_ssize_t streams, entries
    cdef bint timed
    cdef int64_t earliest_ms, latest_ms
    cdef list exceptions

    def __cinit__(self, data, bytes label not None, bytes value not None, known):
        self.source = data
        self.view = data
        self.base = &self.view[0] if self.view.shape[0] else NULL
        self.limit = self.base + self.view.shape[0]
        self.label, self.value, self.known = label, value, known
        self.exceptions = []

    cdef object malformed(self, str reason, const uint8_t* at):
        return MalformedError(reason, at - self.base)

    cdef int varint(self, const uint8_t* at, uint64_t* number) except -1:
        """Read the number at a position; `self.at` is behind it."""
        cdef const uint8_t* start = at
        if not read_varint(&at, self.limit, number):
            # Ten bytes, as of negative numbers; too many; or cut off.
            found, behind = decode_varint(self.source, start - self.base)
            number[0] = found
            at = self.base + <Py_ssize_t> behind
        self.at = at
        return 0

    cdef inline int field(self, const uint8_t* at, const uint8_t* end) except -1:
        """Read the length of the length-delimited field whose tag is at a position; it must end within `end`."""
        cdef uint64_t length
        if end - at > 1 and at[1] < 128:
            length = at[1]
            self.at = at + 2
        else:
            self.varint(at + 1, &length)
        if self.at > end or length > <uint64_t> (end - self.at):
            raise self.malformed("a field reaches beyond the end of its message", at)
        self.behind = self.at + length
        return 0

    cdef int request(self) except -1:
        cdef const uint8_t* at = self.base
        cdef const uint8_t* behind
        while at < self.limit:
            if at[0] != STREAM:
                raise self.malformed(f"logproto.PushRequest has no field with tag {at[0]}", at)
            self.field(at, self.limit)
            behind = self.behind
            self.streams += 1
            self.stream(at, self.at, behind)
            at = behind
        return 0

    cdef int stream(self, const uint8_t* field_start, const uint8_t* at, const uint8_t* end) except -1:
        """Read a stream, and note what is not the cluster's."""
        cdef const uint8_t* behind
        cdef const uint8_t* labels = NULL
        cdef const uint8_t* text = NULL
        cdef const uint8_t* text_end = NULL
        cdef uint64_t number
        cdef bint hashed = False, patchable
        cdef int kind, entries_kind = 0, verdict
        while at < end:
            if at[0] == ENTRY:
                self.field(at, end)
                behind = self.behind
                self.entries += 1
                kind = self.entry(self.at, behind)
                # A time that is none is the worse of the two.
                if kind > entries_kind:
                    entries_kind = kind
            elif at[0] == STREAM_LABELS:
                self.field(at, end)
                behind = self.behind
                if text != NULL:
                    raise self.malformed("a stream with two label sets", at)
                labels, text, text_end = at, self.at, behind
                self.check_utf8(text, text_end)
            elif at[0] == HASH:
                hashed = True
                self.varint(at + 1, &number)
                behind = self.at
                if behind > end:
                    raise self.malformed("a field reaches beyond the end of its message", at)
            else:
                raise self.malformed(f"logproto.StreamAdapter has no field with tag {at[0]}", at)
            at = behind
        verdict = self.verdict(PyBytes_FromStringAndSize(<const char*> text, text_end - text))
        if verdict != _OWN or entries_kind:
            patchable = verdict != _OWN and labels != NULL and not entries_kind and not hashed
            self.exceptions.append(
                Exceptional(
                    field_start - self.base,
                    end - self.base,
                    Kind(entries_kind if verdict == _OWN else verdict),
                    labels - self.base if patchable else 0,
                    text_end - self.base if patchable else 0,
                )
            )
        return 0

    cdef int verdict(self, bytes text) except -2:
        # The young generation may be another dictionary by now: judging others makes room.
        cdef dict young = self.known.young
        cdef PyObject* found = PyDict_GetItem(young, text)
        if found != NULL:
            return <object> found
        return judge(text, self.label, self.value, self.known)

    cdef int entry(self, const uint8_t* at, const uint8_t* end) except -1:
        """Read an entry; return the number of the Kind that its time or line makes of its stream, or 0."""
        cdef const uint8_t* behind
        cdef bint seen = False, lined = False, garbled = False, timed = False
        while at < end:
            self.field(at, end)
            behind = self.behind
            if at[0] == TIMESTAMP:
                if seen:
                    raise self.malformed("an entry with two times", at)
                seen = True
                timed = self.note_time(self.at, behind)
            elif at[0] == LINE:
                if lined:
                    raise self.malformed("an entry with two lines", at)
                lined = True
                garbled = not self.is_utf8(self.at, behind)
            elif at[0] == METADATA or at[0] == PARSED:
                self.check_pair(self.at, behind)
            else:
                raise self.malformed(f"logproto.EntryAdapter has no field with tag {at[0]}", at)
            at = behind
        if not timed:
            return MISTIMED
        return GARBLED if garbled else 0

    cdef bint note_time(self, const uint8_t* start, const uint8_t* end) except -1:
        """Note a time; return whether it is one."""
        cdef const uint8_t* at = start
        cdef uint64_t number, nanos = 0
        cdef int64_t seconds = 0, time_ms
        cdef int before = 0, tag
        while at < end:
            tag = at[0]
            if tag <= before or (tag != SECONDS and tag != NANOS):
                raise self.malformed(f"a time with tag {tag} behind tag {before}", at)
            before = tag
            self.varint(at + 1, &number)
            at = self.at
            if tag == SECONDS:
                seconds = <int64_t> number
            else:
                nanos = number
        if at > end:
            raise self.malformed("a field reaches beyond the end of its message", start)
        if seconds < _MIN_TIME_S or seconds > _MAX_TIME_S or nanos >= 1000000000:
            return False
        time_ms = seconds * 1000 + <int64_t> (nanos // 1000000)
        if not self.timed:
            self.timed = True
            self.earliest_ms = self.latest_ms = time_ms
        elif time_ms < self.earliest_ms:
            self.earliest_ms = time_ms
        elif time_ms > self.latest_ms:
            self.latest_ms = time_ms
        return True

    cdef int check_pair(self, const uint8_t* at, const uint8_t* end) except -1:
        cdef bint has_name = False, has_value = False
        while at < end:
            if at[0] != NAME and at[0] != VALUE:
                raise self.malformed(f"logproto.LabelPairAdapter has no field with tag {at[0]}", at)
            if has_name if at[0] == NAME else has_value:
                raise self.malformed("metadata with two names or two values", at)
            if at[0] == NAME:
                has_name = True
            else:
                has_value = True
            self.field(at, end)
            self.check_utf8(self.at, self.behind)
            at = self.behind
        return 0

    cdef int check_utf8(self, const uint8_t* at, const uint8_t* end) except -1:
        if not self.is_utf8(at, end):
            raise self.malformed("labels or metadata that are not UTF-8", at)
        return 0

    cdef bint is_utf8(self, const uint8_t* at, const uint8_t* end) except -1:
        if is_ascii(at, end):
            return True
        try:
            PyUnicode_DecodeUTF8(<const char*> at, end - at, NULL)
        except UnicodeDecodeError:
            return False
        return True


def scan(data, label, value, known):
    """Return what the request holds; raises MalformedError. See `pipeline.wire.loki_scan`."""
    cdef _Walk walk = _Walk(data, label, value, known)
    walk.request()
    return FoundLogs(walk.streams, walk.entries, walk.earliest_ms, walk.latest_ms, tuple(walk.exceptions))
