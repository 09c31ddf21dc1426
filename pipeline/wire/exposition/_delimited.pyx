# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False, cdivision=True
"""The accelerator of `delimited_family.read_family`: metrics as client libraries write them, read in one pass each.

Whatever looks otherwise (a timestamp, fields in another order or twice, a length beyond its message) is left to
`read_metric`, which reads it or says what is wrong.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport isinf
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from pipeline.wire._varint cimport read_varint
from pipeline.wire.exposition import delimited_family

DEF VALUE = 8
DEF TAIL = 20
DEF LABEL = 0x0A
DEF METRIC = 0x22
DEF SLICE_BYTES = 1 << 18
DEF SLICE_LINE_BYTES = 1 << 22
DEF MAX_METRIC_BYTES = 1 << 24
DEF BUCKET_FIELD = 0x1A
DEF SUMMARY_KIND = 2
DEF HISTOGRAM_KIND = 4
DEF GAUGE_HISTOGRAM_KIND = 5

cdef uint8_t[6] VALUE_TAGS
VALUE_TAGS[0], VALUE_TAGS[1], VALUE_TAGS[2], VALUE_TAGS[3], VALUE_TAGS[4], VALUE_TAGS[5] = 0x1A, 0x12, 0x22, 0x2A, 0x3A, 0x3A


cdef struct Bucket:
    double count
    double bound
    const uint8_t *exemplar
    Py_ssize_t exemplar_bytes


cdef struct Histogram:
    double count
    double sum
    bint is_native
    Py_ssize_t buckets


cdef inline bint delimited(const uint8_t **at, const uint8_t *end, const uint8_t **behind) noexcept nogil:
    """Read a length; `behind` is where its content ends, within the message."""
    cdef uint64_t length
    if not read_varint(at, end, &length) or length > <uint64_t>(end - at[0]):
        return False
    behind[0] = at[0] + length
    return True


cdef bint skip(uint64_t tag, const uint8_t **at, const uint8_t *end) noexcept nogil:
    """Skip a field's content."""
    cdef const uint8_t *behind = end
    cdef uint64_t number
    cdef int kind = tag & 7
    if tag < 8:
        return False
    if kind == 0:
        return read_varint(at, end, &number)
    if kind == 2:
        if not delimited(at, end, &behind):
            return False
        at[0] = behind
        return True
    if kind == 1 or kind == 5:
        number = 8 if kind == 1 else 4
        if <uint64_t>(end - at[0]) < number:
            return False
        at[0] += number
        return True
    return False


cdef bint read_bucket(const uint8_t *at, const uint8_t *end, Bucket *bucket) noexcept nogil:
    cdef uint64_t tag, number
    cdef double floats = 0
    bucket.count = bucket.bound = 0
    bucket.exemplar, bucket.exemplar_bytes = NULL, 0
    while at < end:
        if not read_varint(&at, end, &tag):
            return False
        if tag == 0x08:
            if not read_varint(&at, end, &number):
                return False
            bucket.count = <double>number
        elif tag == 0x11 or tag == 0x21:
            if end - at < VALUE:
                return False
            memcpy(&bucket.bound if tag == 0x11 else &floats, at, VALUE)
            at += VALUE
        elif tag == 0x1A:
            if bucket.exemplar != NULL or not delimited(&at, end, &bucket.exemplar):
                return False
            bucket.exemplar_bytes = bucket.exemplar - at
            bucket.exemplar, at = at, bucket.exemplar
        elif not skip(tag, &at, end):
            return False
    if floats != 0:
        bucket.count = floats
    return True


cdef bint read_histogram(const uint8_t *at, const uint8_t *end, Histogram *histogram) noexcept nogil:
    """Read the classic part, and whether there is a native one; proves every bucket readable."""
    cdef uint64_t tag, number
    cdef double floats = 0, number_float = 0
    cdef const uint8_t *behind = end
    cdef Bucket bucket
    histogram.count = histogram.sum = 0
    histogram.is_native, histogram.buckets = False, 0
    while at < end:
        if not read_varint(&at, end, &tag):
            return False
        if tag == BUCKET_FIELD:
            if not delimited(&at, end, &behind) or not read_bucket(at, behind, &bucket):
                return False
            histogram.buckets += 1
            at = behind
        elif tag == 0x08 or tag == 0x38:
            if not read_varint(&at, end, &number):
                return False
            if tag == 0x08:
                histogram.count = <double>number
            elif number:
                histogram.is_native = True
        elif tag == 0x11 or tag == 0x21 or tag == 0x31:
            if end - at < VALUE:
                return False
            memcpy(&number_float, at, VALUE)
            at += VALUE
            if tag == 0x11:
                histogram.sum = number_float
            elif tag == 0x21:
                floats = number_float
            elif number_float > 0:
                histogram.is_native = True
        else:
            if tag == 0x4A or tag == 0x62:
                histogram.is_native = True
            if not skip(tag, &at, end):
                return False
    if floats != 0:
        histogram.count = floats
    return True


cdef class Lines:
    """The lines of one family's metrics."""

    cdef list lines
    cdef bytes named
    cdef const uint8_t *labels
    cdef Py_ssize_t label_bytes
    cdef Py_ssize_t size

    cdef bytes begin(self, uint8_t kind, Py_ssize_t rest, uint8_t **out):
        """Return a line whose series is written; `rest` bytes from `out` on are to come."""
        cdef Py_ssize_t named = PyBytes_GET_SIZE(self.named)
        cdef bytes line = PyBytes_FromStringAndSize(NULL, 1 + named + self.label_bytes + rest)
        self.size += PyBytes_GET_SIZE(line)
        out[0] = <uint8_t *>PyBytes_AS_STRING(line)
        out[0][0] = kind
        memcpy(out[0] + 1, PyBytes_AS_STRING(self.named), named)
        memcpy(out[0] + 1 + named, self.labels, self.label_bytes)
        out[0] += 1 + named + self.label_bytes
        return line

    cdef int add(self, uint8_t kind, const double *bound, const void *value, const uint8_t *exemplar, Py_ssize_t size) except -1:
        """Append the line of a number."""
        cdef uint8_t *out = NULL
        cdef uint32_t tail = <uint32_t>(TAIL + size)
        cdef bytes line = self.begin(kind, (VALUE if bound != NULL else 0) + tail, &out)
        if bound != NULL:
            memcpy(out, bound, VALUE)
            out += VALUE
        memcpy(out, value, VALUE)
        memset(out + VALUE, 0, VALUE)
        if size:
            memcpy(out + 2 * VALUE, exemplar, size)
        memcpy(out + 2 * VALUE + size, &tail, 4)
        self.lines.append(line)
        return 0

    cdef int add_native(self, uint8_t kind, const uint8_t *content, Py_ssize_t size) except -1:
        """Append the line of a native histogram."""
        cdef uint8_t *out = NULL
        cdef uint32_t tail = <uint32_t>(VALUE + size + 4)
        cdef bytes line = self.begin(kind, tail, &out)
        memset(out, 0, VALUE)
        memcpy(out + VALUE, content, size)
        memcpy(out + VALUE + size, &tail, 4)
        self.lines.append(line)
        return 0

    cdef int add_classic(self, const uint8_t *at, const uint8_t *end, Histogram *histogram) except -1:
        """Append the lines of a classic histogram that `read_histogram` has read."""
        cdef uint64_t tag
        cdef const uint8_t *behind = end
        cdef Bucket bucket
        cdef double infinite = float("inf")
        self.add(c"c", NULL, &histogram.count, NULL, 0)
        self.add(c"s", NULL, &histogram.sum, NULL, 0)
        while at < end:
            if not read_varint(&at, end, &tag):
                raise RuntimeError("what was read cannot be read again")
            if tag != BUCKET_FIELD:
                skip(tag, &at, end)
                continue
            delimited(&at, end, &behind)
            read_bucket(at, behind, &bucket)
            at = behind
            self.add(c"b", &bucket.bound, &bucket.count, bucket.exemplar, bucket.exemplar_bytes)
            if isinf(bucket.bound) and bucket.bound > 0:
                return 0
        self.add(c"b", &infinite, &histogram.count, NULL, 0)
        return 0


cdef bint add_metric(Lines lines, const uint8_t *at, const uint8_t *end, int kind, bint native, bint classic_too) except -1:
    """Append a metric's lines; false leaves it to others."""
    cdef const uint8_t *behind = end
    cdef Histogram histogram
    lines.labels = at
    while at < end and at[0] == LABEL:
        at += 1
        if not delimited(&at, end, &behind):
            return False
        at = behind
    lines.label_bytes = at - lines.labels
    if at == end or at[0] != VALUE_TAGS[kind]:
        return False
    at += 1
    if not delimited(&at, end, &behind) or behind != end:
        return False
    if kind == SUMMARY_KIND:
        return False
    if kind < SUMMARY_KIND or kind == 3:
        if end - at != 1 + VALUE or at[0] != 0x09:
            return False
        lines.add(c"v", NULL, at + 1, NULL, 0)
        return True
    if not read_histogram(at, end, &histogram):
        return False
    # Others count to the byte.
    if (histogram.buckets + 4) * (PyBytes_GET_SIZE(lines.named) + lines.label_bytes + 64) + end - at > MAX_METRIC_BYTES:
        return False
    if histogram.is_native and native:
        lines.add_native(c"g" if kind == GAUGE_HISTOGRAM_KIND else c"h", at, end - at)
        if not classic_too or not histogram.buckets:
            return True
    lines.add_classic(at, end, &histogram)
    return True


cdef list read_head(bytes raw, uint64_t *kind, list name):
    """Return the pieces of a family that are no metrics, and its kind and name; None leaves it to others."""
    cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(raw)
    cdef const uint8_t *end = data + PyBytes_GET_SIZE(raw)
    cdef const uint8_t *at = data
    cdef const uint8_t *behind = end
    cdef const uint8_t *start = at
    cdef uint64_t tag
    cdef bint any_metric = False
    cdef list pieces = [b"#"]
    while at < end:
        start = at
        if not read_varint(&at, end, &tag):
            return None
        if tag == METRIC:
            if not delimited(&at, end, &behind):
                return None
            any_metric, at = True, behind
            continue
        if tag == 0x18:
            if not read_varint(&at, end, kind):
                return None
        elif tag == 0x0A:
            if not delimited(&at, end, &behind):
                return None
            name[0] = raw[at - data:behind - data]
            at = behind
        elif not skip(tag, &at, end):
            return None
        pieces.append(raw[start - data:at - data])
    return pieces if any_metric else []


def read_family(bytes raw, wanted, list lines, Py_ssize_t start):
    """Append the lines of the metrics from byte `start` on, at 0 that of the head first; return where to go on.

    That is behind the family when all is done, and -1 where others must read it.
    """
    cdef Lines reader = Lines()
    cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(raw)
    cdef const uint8_t *end = data + PyBytes_GET_SIZE(raw)
    cdef const uint8_t *at = data
    cdef const uint8_t *behind = end
    cdef bint native = wanted.native, classic_too = wanted.classic_too
    cdef uint64_t kind = 0, tag = 0
    cdef uint32_t name_bytes
    cdef list names = [b""]
    cdef list head = read_head(raw, &kind, names)
    cdef bytes name = names[0]
    if head is None or kind > GAUGE_HISTOGRAM_KIND or not 0 <= start <= end - data:
        return -1
    if not head:
        return end - data
    if not start:
        lines.append(b"".join(head))
    at += start
    name_bytes = <uint32_t>PyBytes_GET_SIZE(name)
    reader.named, reader.lines = PyBytes_FromStringAndSize(<char *>&name_bytes, 4) + name, lines
    family = None
    while at < end:
        if at - data > start + SLICE_BYTES or reader.size > SLICE_LINE_BYTES:
            return at - data
        read_varint(&at, end, &tag)
        if tag != METRIC:
            skip(tag, &at, end)
            continue
        delimited(&at, end, &behind)
        if not add_metric(reader, at, behind, <int>kind, native, classic_too):
            if family is None:
                family = delimited_family.Family(<int>kind, reader.named)
            reader.size += delimited_family.read_metric(raw, at - data, behind - data, family, wanted, lines)
        at = behind
    return end - data
