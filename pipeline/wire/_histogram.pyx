# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False, cdivision=True
"""The accelerator of `histogram_read.convert_exposed`: histograms in integers that need not be reduced.

Whatever is otherwise (floats, a resolution to be reduced, very many buckets, a mistake) is left to the Python beside
it. What comes out is the same to the byte.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport isnan
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from pipeline.wire._varint cimport put_varint, read_varint
from pipeline.wire.histogram_read import convert_exposed as convert_plain

DEF VALUE = 8
DEF MAX_BUCKETS = 1024
DEF MIN_SCHEMA = -4
DEF MAX_SCHEMA = 8
DEF GAUGE_HINT = 3


cdef struct Side:
    int spans
    int buckets
    int32_t[MAX_BUCKETS] offsets
    uint32_t[MAX_BUCKETS] lengths
    int64_t[MAX_BUCKETS] deltas


cdef struct Kept:
    int buckets
    int64_t total
    int64_t[MAX_BUCKETS] index
    int64_t[MAX_BUCKETS] count


cdef inline int64_t signed(uint64_t number) noexcept nogil:
    return <int64_t>(number >> 1) ^ -<int64_t>(number & 1)


cdef bint read_span(const uint8_t *at, const uint8_t *end, Side *side) noexcept nogil:
    cdef uint64_t tag, number
    if side.spans == MAX_BUCKETS:
        return False
    side.offsets[side.spans] = 0
    side.lengths[side.spans] = 0
    while at < end:
        if not read_varint(&at, end, &tag) or not read_varint(&at, end, &number) or number > <uint64_t>0xFFFFFFFF:
            return False
        if tag == 0x08:
            side.offsets[side.spans] = <int32_t>signed(number)
        elif tag == 0x10 and number <= MAX_BUCKETS:
            side.lengths[side.spans] = <uint32_t>number
        else:
            return False
    side.spans += 1
    return True


cdef bint read_deltas(const uint8_t **at, const uint8_t *end, Side *side) noexcept nogil:
    cdef uint64_t number
    while at[0] < end:
        if side.buckets == MAX_BUCKETS or not read_varint(at, end, &number):
            return False
        side.deltas[side.buckets] = signed(number)
        side.buckets += 1
    return True


cdef bint keep(Side *side, Kept *kept) noexcept nogil:
    """Give each bucket that holds something its index."""
    cdef int64_t index = 0, count = 0
    cdef int bucket = 0, span
    cdef uint32_t i
    kept.buckets, kept.total = 0, 0
    for span in range(side.spans):
        if span and side.offsets[span] < 0:
            return False
        index += side.offsets[span]
        for i in range(side.lengths[span]):
            if bucket == side.buckets:
                return False
            count += side.deltas[bucket]
            bucket += 1
            if count < 0 or count >> 50:
                return False
            if count:
                kept.index[kept.buckets], kept.count[kept.buckets] = index, count
                kept.buckets += 1
                kept.total += count
            index += 1
    return bucket == side.buckets


cdef inline uint64_t zigzag(int64_t number) noexcept nogil:
    return (<uint64_t>number << 1) ^ <uint64_t>(number >> 63)


cdef uint8_t *put_side(uint8_t *out, Kept *kept, uint8_t span_tag, uint8_t delta_tag) noexcept nogil:
    cdef int first = 0, last
    cdef int64_t behind = 0, before = 0
    cdef uint8_t[24] text
    cdef uint8_t *end
    cdef Py_ssize_t size = 0
    while first < kept.buckets:
        last = first + 1
        while last < kept.buckets and kept.index[last] == kept.index[last - 1] + 1:
            last += 1
        text[0] = 0x08
        end = put_varint(text + 1, zigzag(kept.index[first] - behind))
        end[0] = 0x10
        end = put_varint(end + 1, last - first)
        out[0] = span_tag
        out = put_varint(out + 1, end - text)
        memcpy(out, text, end - text)
        out += end - text
        behind, first = kept.index[last - 1] + 1, last
    if not kept.buckets:
        return out
    for first in range(kept.buckets):
        size += put_varint(text, zigzag(kept.count[first] - before)) - text
        before = kept.count[first]
    out[0] = delta_tag
    out = put_varint(out + 1, size)
    before = 0
    for first in range(kept.buckets):
        out = put_varint(out, zigzag(kept.count[first] - before))
        before = kept.count[first]
    return out


cdef class Buffers:
    """Room for one histogram, which is used again for the next."""

    cdef Side[2] sides
    cdef Kept[2] kept
    # Of each bucket a span of at most 24 bytes and a delta of ten, and what is there once.
    cdef uint8_t[2 * MAX_BUCKETS * 34 + 128] out


cdef Buffers BUFFERS = Buffers()


def convert_exposed(bytes data, Py_ssize_t start, Py_ssize_t end, bint gauge, shape):
    """See `pipeline.wire.histogram_read.convert_exposed`."""
    cdef bytes converted = None
    if not 0 <= start <= end <= PyBytes_GET_SIZE(data):
        raise IndexError(end)
    converted = convert(<const uint8_t *>PyBytes_AS_STRING(data), start, end, gauge, shape.bucket_limit, shape.max_schema)
    return convert_plain(data, start, end, gauge, shape) if converted is None else converted


cdef bytes convert(const uint8_t *data, Py_ssize_t start, Py_ssize_t stop, bint gauge, Py_ssize_t limit, int max_schema):
    cdef const uint8_t *at = data + start
    cdef const uint8_t *end = data + stop
    cdef const uint8_t *behind
    cdef uint64_t tag, number, count = 0, zero_count = 0
    cdef int64_t schema = 0, total
    cdef double total_sum = 0, zero_threshold = 0, other = 0
    cdef int which
    cdef Side *sides = BUFFERS.sides
    cdef Kept *kept = BUFFERS.kept
    cdef uint8_t *out = BUFFERS.out
    for which in range(2):
        sides[which].spans = sides[which].buckets = 0
    while at < end:
        if not read_varint(&at, end, &tag) or tag < 8:
            return None
        which = tag >= 0x60
        if tag & 7 == 0:
            if tag == 0x50 or tag == 0x68:
                if not read_varint(&at, end, &number) or sides[which].buckets == MAX_BUCKETS:
                    return None
                sides[which].deltas[sides[which].buckets] = signed(number)
                sides[which].buckets += 1
                continue
            if not read_varint(&at, end, &number):
                return None
            if tag == 0x08:
                count = number
            elif tag == 0x28 and number <= <uint64_t>0xFFFFFFFF:
                schema = signed(number)
            elif tag == 0x38:
                zero_count = number
            else:
                return None
        elif tag & 7 == 1:
            if end - at < VALUE:
                return None
            memcpy(&total_sum if tag == 0x11 else &zero_threshold if tag == 0x31 else &other, at, VALUE)
            if tag != 0x11 and tag != 0x31 and not (other == 0 and (tag == 0x21 or tag == 0x41)):
                return None
            at += VALUE
        elif tag & 7 == 2:
            if not read_varint(&at, end, &number) or number > <uint64_t>(end - at):
                return None
            behind = at + number
            if tag == 0x4A or tag == 0x62:
                if not read_span(at, behind, &sides[which]):
                    return None
            elif tag == 0x52 or tag == 0x6A:
                if not read_deltas(&at, behind, &sides[which]):
                    return None
            elif tag != 0x1A and tag < 0x7A:  # neither classic buckets, nor what is behind all numbers
                return None
            at = behind
        else:
            return None
    if not keep(&sides[0], &kept[0]) or not keep(&sides[1], &kept[1]):
        return None
    if not MIN_SCHEMA <= schema <= MAX_SCHEMA or schema > max_schema:
        return None
    if (limit and kept[0].buckets + kept[1].buckets > limit) or count >= <uint64_t>1 << 62 or zero_count >= <uint64_t>1 << 61:
        return None
    total = kept[0].total + kept[1].total + <int64_t>zero_count
    if total > <int64_t>count if isnan(total_sum) else total != <int64_t>count:
        return None
    out[0] = 0x08
    out = put_varint(out + 1, count)
    out[0] = 0x19
    memcpy(out + 1, &total_sum, VALUE)
    out += 1 + VALUE
    if schema:
        out[0] = 0x20
        out = put_varint(out + 1, zigzag(schema))
    if zero_threshold != 0:
        out[0] = 0x29
        memcpy(out + 1, &zero_threshold, VALUE)
        out += 1 + VALUE
    out[0] = 0x30
    out = put_varint(out + 1, zero_count)
    out = put_side(out, &kept[0], 0x42, 0x4A)
    out = put_side(out, &kept[1], 0x5A, 0x62)
    if gauge:
        out[0], out[1] = 0x70, GAUGE_HINT
        out += 2
    return PyBytes_FromStringAndSize(<char *>BUFFERS.out, out - BUFFERS.out)
