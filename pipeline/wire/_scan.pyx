# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False, cdivision=True
"""The identity scan, compiled: the same as `scan_plain`, label by label, without remembering anything.

Bytes are read through a bounds-checked view, but for `plain_label`, which reads labels the way nearly every encoder
writes them and checks each index against the end of the series itself, and for ranges that were checked as a whole
(memcmp, the ASCII test, the UTF-8 decoder).
"""

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcmp

from pipeline.wire.errors import MalformedError
from pipeline.wire.scan_found import Exceptional, Found, Kind

cdef enum:
    LABEL = 0x0A
    SAMPLE = 0x12
    EXEMPLAR = 0x1A
    HISTOGRAM = 0x22
    TIMESERIES = 0x0A
    METADATA = 0x1A
    NAME = 0x0A
    VALUE = 0x12
    SAMPLE_VALUE = 0x09
    SAMPLE_TIMESTAMP = 0x10
    EXEMPLAR_VALUE = 0x11
    EXEMPLAR_TIMESTAMP = 0x18
    HISTOGRAM_TIMESTAMP = 0x78

cdef object _KINDS = (None, Kind.UNLABELLED, Kind.FOREIGN, Kind.REPEATED, Kind.NAMELESS)
cdef bytes _METRIC_NAME = b"__name__"


cdef struct Span:
    Py_ssize_t start
    Py_ssize_t end


cdef struct Text:
    const unsigned char* at
    Py_ssize_t size


cdef inline Text _text(bytes of):
    return Text(<const unsigned char*> PyBytes_AS_STRING(of), len(of))


cdef inline bint equals(const unsigned char* data, Span span, Text wanted) noexcept nogil:
    cdef Py_ssize_t size = span.end - span.start
    if size != wanted.size or (size and data[span.start] != wanted.at[0]):
        return False
    return memcmp(data + span.start, wanted.at, size) == 0


cdef inline bint is_less(const unsigned char* data, Span left, Span right) noexcept nogil:
    """Tell whether the left name sorts before the right one; a left that starts at -1 stands for none yet."""
    cdef Py_ssize_t left_size = left.end - left.start
    cdef Py_ssize_t right_size = right.end - right.start
    cdef Py_ssize_t size = left_size if left_size < right_size else right_size
    cdef int order
    if left.start < 0:
        return True
    if size == 0:
        return left_size < right_size
    if data[left.start] != data[right.start]:
        return data[left.start] < data[right.start]
    order = memcmp(data + left.start, data + right.start, size)
    return order < 0 or (order == 0 and left_size < right_size)


cdef inline bint is_behind(const unsigned char* data, Span span, Text other) noexcept nogil:
    """Tell whether a name sorts behind a text."""
    cdef Py_ssize_t size = span.end - span.start
    cdef Py_ssize_t shared = size if size < other.size else other.size
    cdef int order
    if shared and data[span.start] != other.at[0]:
        return data[span.start] > other.at[0]
    order = memcmp(data + span.start, other.at, shared)
    return order > 0 or (order == 0 and size > other.size)


cdef inline bint is_ascii(const unsigned char* data, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    # Written for the C compiler to vectorise.
    cdef unsigned char all_bits = 0
    cdef Py_ssize_t i
    for i in range(start, end):
        all_bits |= data[i]
    return all_bits < 128


cdef inline Py_ssize_t plain_label(
    const unsigned char* data, Py_ssize_t position, Py_ssize_t end, Span* name, Span* value
) noexcept nogil:
    """Read a label of a name and then a value, each shorter than 128 bytes; return its end, or 0 if it is another."""
    cdef Py_ssize_t behind, middle
    if end - position < 6 or data[position + 1] > 127 or data[position + 2] != NAME or data[position + 3] > 127:
        return 0
    behind = position + 2 + data[position + 1]
    middle = position + 4 + data[position + 3]
    if behind > end or behind - middle < 2 or data[middle] != VALUE or data[middle + 1] != behind - middle - 2:
        return 0
    name.start, name.end = position + 4, middle
    value.start, value.end = middle + 2, behind
    return behind


cdef class _Walk:
    cdef const unsigned char[::1] data
    cdef Py_ssize_t size
    # The bytes objects that the texts below point into.
    cdef bytes label_bytes, value_bytes
    cdef Text label, value, metric_name
    # Where the field that `_field` read has its content, and where it ends.
    cdef Py_ssize_t at
    cdef Py_ssize_t behind
    cdef Py_ssize_t series, samples, histograms, exemplars, metadata
    cdef bint timed
    cdef int64_t earliest_ms, latest_ms
    cdef list exceptions

    def __cinit__(self, data, bytes label not None, bytes value not None):
        self.data = data
        self.label_bytes = label
        self.value_bytes = value
        self.label = _text(label)
        self.value = _text(value)
        self.metric_name = _text(_METRIC_NAME)
        self.size = self.data.shape[0]
        self.exceptions = []

    cdef inline uint64_t varint(self, Py_ssize_t position) except? 77:
        """Return the number at `position`; `self.at` is behind it."""
        cdef Py_ssize_t start = position
        cdef uint64_t number = 0
        cdef int shift = 0
        cdef unsigned char byte
        while True:
            if position >= self.size:
                raise MalformedError("the message ends inside a varint", start)
            byte = self.data[position]
            position += 1
            if shift == 63 and byte > 1:
                raise MalformedError(
                    "a varint of more than 64 bits" if byte < 128 else "a varint of more than ten bytes", start
                )
            number |= (<uint64_t> (byte & 127)) << shift
            if byte < 128:
                break
            shift += 7
        self.at = position
        return number

    cdef inline int field(self, Py_ssize_t position, Py_ssize_t end) except -1:
        """Read the length of the length-delimited field whose tag is at `position`; it must end within `end`."""
        cdef uint64_t length
        cdef unsigned char byte
        if position + 1 < self.size and self.data[position + 1] < 128:
            length = self.data[position + 1]
            self.at = position + 2
        else:
            length = self.varint(position + 1)
        if self.at > end or length > <uint64_t> (end - self.at):
            raise MalformedError("a field reaches beyond the end of its message", position)
        self.behind = self.at + <Py_ssize_t> length
        return 0

    cdef int request(self) except -1:
        cdef Py_ssize_t position = 0
        cdef Py_ssize_t behind
        cdef unsigned char tag
        while position < self.size:
            tag = self.data[position]
            if tag != TIMESERIES and tag != METADATA:
                raise MalformedError(f"prometheus.WriteRequest has no field with tag {tag}", position)
            self.field(position, self.size)
            behind = self.behind
            if tag == TIMESERIES:
                self.series += 1
                self.read_series(position, self.at, behind)
            else:
                self.metadata += 1
                self.framing(self.at, behind, 0)
            position = behind
        return 0

    cdef int read_series(self, Py_ssize_t field_start, Py_ssize_t start, Py_ssize_t end) except -1:
        cdef Py_ssize_t position = start
        cdef Py_ssize_t behind
        cdef Py_ssize_t plain_end = start
        cdef const unsigned char* bytes_ = &self.data[0]
        cdef Span name, value, before
        cdef bint ascending = True, named = False, empty_name = False
        cdef bint carried = False, foreign = False, present = False
        # Where the label belongs: in front of the first name that sorts behind it, or behind the last label.
        cdef Py_ssize_t place = 0, labels_end = start
        cdef unsigned char tag
        before.start = before.end = -1
        while position < end:
            tag = self.data[position]
            if tag == LABEL:
                behind = plain_label(bytes_, position, end, &name, &value)
                if behind == 0:
                    self.field(position, end)
                    behind = self.behind
                    self.read_label(self.at, behind, &name, &value)
                elif position == plain_end:
                    plain_end = behind
                else:
                    self.check_utf8(name.start, name.end)
                    self.check_utf8(value.start, value.end)
                if not is_less(bytes_, before, name):
                    ascending = False
                before = name
                labels_end = behind
                if place == 0 and is_behind(bytes_, name, self.label):
                    place = position
                if name.start == name.end:
                    empty_name = True
                if value.start != value.end:
                    if equals(bytes_, name, self.metric_name):
                        named = True
                if equals(bytes_, name, self.label):
                    present = True
                    if value.start != value.end:
                        carried = True
                        foreign = not equals(bytes_, value, self.value)
            elif tag == SAMPLE:
                self.field(position, end)
                behind = self.behind
                self.samples += 1
                self.read_sample(self.at, behind)
            elif tag == HISTOGRAM:
                self.field(position, end)
                behind = self.behind
                self.histograms += 1
                self.note_time(self.framing(self.at, behind, HISTOGRAM_TIMESTAMP))
            elif tag == EXEMPLAR:
                self.field(position, end)
                behind = self.behind
                self.exemplars += 1
                self.read_exemplar(self.at, behind)
            else:
                raise MalformedError(f"prometheus.TimeSeries has no field with tag {tag}", position)
            position = behind
        # The labels that were read in one row are ASCII as one, nearly always.
        if not is_ascii(bytes_, start, plain_end):
            self.check_texts(start, plain_end)
        cdef int kind = 0
        # Names in ascending order cannot repeat; any other order is looked at name by name.
        if not ascending and self.repeats(start, end):
            kind = 3
        elif carried and foreign:
            kind = 2
        elif not named or empty_name:
            kind = 4
        elif not carried:
            kind = 1
        if kind:
            place = 0 if present or kind != 1 else place if place else labels_end
            self.exceptions.append(Exceptional(field_start, end, _KINDS[kind], start if place else 0, place))
        return 0

    cdef int read_label(self, Py_ssize_t start, Py_ssize_t end, Span* name, Span* value) except -1:
        cdef Py_ssize_t position = start
        cdef bint has_name = False, has_value = False
        cdef unsigned char tag
        name.start = name.end = value.start = value.end = start
        while position < end:
            tag = self.data[position]
            if tag != NAME and tag != VALUE:
                raise MalformedError(f"prometheus.Label has no field with tag {tag}", position)
            self.field(position, end)
            if has_name if tag == NAME else has_value:
                raise MalformedError("a label with two names or two values", position)
            self.check_utf8(self.at, self.behind)
            if tag == NAME:
                has_name = True
                name.start, name.end = self.at, self.behind
            else:
                has_value = True
                value.start, value.end = self.at, self.behind
            position = self.behind
        return 0

    cdef int read_sample(self, Py_ssize_t start, Py_ssize_t end) except -1:
        cdef Py_ssize_t position = start
        cdef int64_t time_ms = 0
        cdef uint64_t number
        cdef unsigned char tag
        # As nearly every encoder writes it: the value, unless it is 0, then the time.
        if end - position > 9 and self.data[position] == SAMPLE_VALUE:
            position += 9
        if position < end and self.data[position] == SAMPLE_TIMESTAMP:
            time_ms = <int64_t> self.varint(position + 1)
            position = self.at
        if position != end:
            time_ms = self.read_odd_sample(start, end)
        self.note_time(time_ms)
        return 0

    cdef int64_t read_odd_sample(self, Py_ssize_t start, Py_ssize_t end) except? -1:
        cdef Py_ssize_t position = start
        cdef Py_ssize_t behind, content
        cdef int64_t time_ms = 0
        cdef uint64_t tag, number
        while position < end:
            tag = self.varint(position)
            if tag >> 3 == 0:
                raise MalformedError("field number 0", position)
            behind = self.skip(tag, position, end, &number, &content)
            if tag == SAMPLE_TIMESTAMP:
                time_ms = <int64_t> number
            elif tag != SAMPLE_VALUE:
                raise MalformedError(f"prometheus.Sample has no field with tag {tag}", position)
            position = behind
        return time_ms

    cdef int read_exemplar(self, Py_ssize_t start, Py_ssize_t end) except -1:
        cdef Py_ssize_t position = start
        cdef Py_ssize_t content, behind
        cdef uint64_t tag, number
        cdef Span name, value
        while position < end:
            tag = self.varint(position)
            if tag >> 3 == 0:
                raise MalformedError("field number 0", position)
            behind = self.skip(tag, position, end, &number, &content)
            if tag == LABEL:
                self.read_label(content, behind, &name, &value)
            elif tag != EXEMPLAR_VALUE and tag != EXEMPLAR_TIMESTAMP:
                raise MalformedError(f"prometheus.Exemplar has no field with tag {tag}", position)
            position = behind
        return 0

    cdef int64_t framing(self, Py_ssize_t start, Py_ssize_t end, uint64_t wanted) except? -1:
        """Walk the fields of a message to its exact end; return the last number of the field with the wanted tag."""
        cdef Py_ssize_t position = start
        cdef Py_ssize_t behind, content
        cdef int64_t found = 0
        cdef uint64_t tag, number
        while position < end:
            tag = self.varint(position)
            if tag >> 3 == 0:
                raise MalformedError("field number 0", position)
            behind = self.skip(tag, position, end, &number, &content)
            if tag == wanted:
                found = <int64_t> number
            position = behind
        return found

    cdef Py_ssize_t skip(
        self, uint64_t tag, Py_ssize_t position, Py_ssize_t end, uint64_t* number, Py_ssize_t* start
    ) except -1:
        """Return the end of the field at `position`, whose tag ends at `self.at`; `start`: of its content."""
        cdef Py_ssize_t content = self.at
        cdef int kind = tag & 7
        cdef uint64_t length = 0
        number[0] = 0
        if kind == 0:
            number[0] = self.varint(content)
            content = self.at
        elif kind == 2:
            length = self.varint(content)
            content = self.at
        elif kind == 1:
            length = 8
        elif kind == 5:
            length = 4
        else:
            raise MalformedError(f"wire type {kind}", position)
        if content > end or length > <uint64_t> (end - content):
            raise MalformedError("a field reaches beyond the end of its message", position)
        start[0] = content
        return content + <Py_ssize_t> length

    cdef inline void note_time(self, int64_t time_ms) noexcept:
        if not self.timed:
            self.timed = True
            self.earliest_ms = self.latest_ms = time_ms
        elif time_ms < self.earliest_ms:
            self.earliest_ms = time_ms
        elif time_ms > self.latest_ms:
            self.latest_ms = time_ms

    cdef int check_utf8(self, Py_ssize_t start, Py_ssize_t end) except -1:
        try:
            if start < end:
                PyUnicode_DecodeUTF8(<const char*> &self.data[start], end - start, NULL)
        except UnicodeDecodeError:
            raise MalformedError("a label that is not UTF-8", start) from None
        return 0

    cdef int check_texts(self, Py_ssize_t start, Py_ssize_t end) except -1:
        """Check the names and values of labels that stand in one row."""
        cdef Py_ssize_t behind
        cdef Span name, value
        while start < end:
            self.field(start, end)
            behind = self.behind
            self.read_label(self.at, behind, &name, &value)
            start = behind
        return 0

    cdef bint repeats(self, Py_ssize_t start, Py_ssize_t end) except -1:
        """Tell whether a label name stands twice in a series that was read before."""
        cdef Py_ssize_t position = start
        cdef Py_ssize_t behind
        cdef Span name, value
        cdef set names = set()
        cdef bytes text
        while position < end:
            self.field(position, end)
            behind = self.behind
            if self.data[position] == LABEL:
                self.read_label(self.at, behind, &name, &value)
                text = bytes(self.data[name.start : name.end])
                if text in names:
                    return True
                names.add(text)
            position = behind
        return False


def scan(data, label, value, known):
    """Return what the request holds; raises MalformedError. See `pipeline.wire.scan`; `known` is not needed here."""
    cdef _Walk walk = _Walk(data, label, value)
    walk.request()
    return Found(
        walk.series,
        walk.samples,
        walk.histograms,
        walk.exemplars,
        walk.metadata,
        walk.earliest_ms,
        walk.latest_ms,
        tuple(walk.exceptions),
    )
