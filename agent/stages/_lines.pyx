# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False, cdivision=True
"""The accelerator of `lines`: blocks of lines as encoded entries, in one pass.

A line that is not as nearly all are is left to the stage: where it begins, the walk stops. Every step checks that it
stays within the line, whose end is found first; an entry's room is made before it is written.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII, PyUnicode_DecodeUTF8
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy

from pipeline.wire._varint cimport put_varint

DEF NS = 1_000_000_000
DEF ENTRY = 0x12
DEF TIMESTAMP = 0x0A
DEF LINE = 0x12
# Tags, lengths and the time of an entry take less than this beside its line and metadata.
DEF OVERHEAD = 64
DEF PREFIX = 19
DEF KEEP_BYTES = 1 << 21

cdef int[13] DAYS_BEFORE
DAYS_BEFORE[:] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365]


cdef struct Second:
    # The text of a time to its second, and its Unix seconds as if it were UTC; -1 before there is one.
    uint8_t[19] text
    int64_t seconds


cdef Second known
known.seconds = -1


cdef class Out:
    """The encoded entries of one stream; the room is kept from block to block."""

    cdef uint8_t *start
    cdef Py_ssize_t size
    cdef Py_ssize_t room
    cdef Py_ssize_t items
    cdef int64_t earliest_ns, latest_ns

    def __dealloc__(self):
        PyMem_Free(self.start)

    cdef int reserve(self, Py_ssize_t more) except -1:
        cdef Py_ssize_t room
        cdef uint8_t *start
        if self.room - self.size < more:
            room = max(self.size + more, 2 * self.room, 1 << 16)
            start = <uint8_t *>PyMem_Realloc(self.start, room)
            if start == NULL:
                raise MemoryError
            self.start, self.room = start, room
        return 0

    cdef inline int add(
        self, int64_t seconds, int64_t nanos, const uint8_t *line, Py_ssize_t length, bytes metadata
    ) except -1:
        cdef uint8_t[32] head
        cdef uint8_t *at = head
        cdef uint8_t *out
        cdef Py_ssize_t stamp, head_size
        cdef Py_ssize_t behind = PyBytes_GET_SIZE(metadata)
        cdef int64_t time_ns = seconds * NS + nanos
        if self.room - self.size < length + behind + OVERHEAD:
            self.reserve(length + behind + OVERHEAD)
        # The time's length is below 128, so one byte in front of it is enough.
        at += 2
        if seconds:
            at[0] = 0x08
            at = put_varint(at + 1, <uint64_t>seconds)
        if nanos:
            at[0] = 0x10
            at = put_varint(at + 1, <uint64_t>nanos)
        stamp = at - head - 2
        head[0], head[1] = TIMESTAMP, <uint8_t>stamp
        at[0] = LINE
        at = put_varint(at + 1, <uint64_t>length)
        head_size = at - head
        out = self.start + self.size
        out[0] = ENTRY
        out = put_varint(out + 1, <uint64_t>(head_size + length + behind))
        memcpy(out, head, head_size)
        memcpy(out + head_size, line, length)
        out += head_size + length
        if behind:
            memcpy(out, PyBytes_AS_STRING(metadata), behind)
            out += behind
        self.size = out - self.start
        if self.items == 0:
            self.earliest_ns = self.latest_ns = time_ns
        elif time_ns < self.earliest_ns:
            self.earliest_ns = time_ns
        elif time_ns > self.latest_ns:
            self.latest_ns = time_ns
        self.items += 1
        return 0

    cdef object part(self):
        """Return what was added, and begin anew."""
        items = self.items
        if items == 0:
            return None
        entries = PyBytes_FromStringAndSize(<char *>self.start, self.size)
        if self.room > KEEP_BYTES:
            PyMem_Free(self.start)
            self.start = NULL
            self.room = 0
        self.size = self.items = 0
        return entries, items, self.earliest_ns, self.latest_ns


cdef class Walk:
    """The entries of one walk: of two streams, or of one into which both go."""

    cdef bytes out_metadata, err_metadata
    cdef bint joined
    cdef int64_t out_ns, err_ns

    def __cinit__(self, bytes out_metadata, bytes err_metadata, bint joined):
        self.out_metadata, self.err_metadata, self.joined = out_metadata, err_metadata, joined
        self.out_ns = self.err_ns = -1
        # A walk that ran out of memory may have left some.
        OUT.size = OUT.items = ERR.size = ERR.items = 0

    cdef inline int add(
        self, bint to_err, int64_t seconds, int64_t nanos, const uint8_t *line, Py_ssize_t length
    ) except -1:
        if not to_err:
            self.out_ns = seconds * NS + nanos
            return OUT.add(seconds, nanos, line, length, self.out_metadata)
        self.err_ns = seconds * NS + nanos
        return (OUT if self.joined else ERR).add(seconds, nanos, line, length, self.err_metadata)

    cdef object ended(self, Py_ssize_t at):
        return at, OUT.part(), ERR.part(), self.out_ns, self.err_ns


cdef Out OUT = Out()
cdef Out ERR = Out()
cdef Out SCRATCH = Out()
cdef Out ONE = Out()


cdef inline bint number(const uint8_t *at, int digits, int *value) noexcept nogil:
    cdef int i
    cdef uint8_t digit
    value[0] = 0
    for i in range(digits):
        digit = at[i] - 48
        if digit > 9:
            return False
        value[0] = value[0] * 10 + digit
    return True


cdef bint read_second(const uint8_t *at) noexcept nogil:
    """Read `2006-01-02T15:04:05`, the nineteen bytes at `at`, into `known`; false where it is no time."""
    cdef int year, month, day, hour, minute, second, last
    cdef int64_t days
    cdef bint leap
    if not (number(at, 4, &year) and number(at + 5, 2, &month) and number(at + 8, 2, &day)):
        return False
    if not (number(at + 11, 2, &hour) and number(at + 14, 2, &minute) and number(at + 17, 2, &second)):
        return False
    if at[4] != 45 or at[7] != 45 or at[10] != 84 or at[13] != 58 or at[16] != 58:
        return False
    if year < 1970 or not 1 <= month <= 12 or hour > 23 or minute > 59 or second > 59:
        return False
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    last = DAYS_BEFORE[month] - DAYS_BEFORE[month - 1] + (1 if leap and month == 2 else 0)
    if not 1 <= day <= last:
        return False
    days = 365 * (year - 1970) + (year - 1969) // 4 - (year - 1901) // 100 + (year - 1601) // 400
    days += DAYS_BEFORE[month - 1] + (1 if leap and month > 2 else 0) + day - 1
    known.seconds = days * 86400 + (hour * 60 + minute) * 60 + second
    memcpy(known.text, at, PREFIX)
    return True


cdef inline const uint8_t *read_time(
    const uint8_t *at, const uint8_t *end, int64_t *seconds, int64_t *nanos
) noexcept nogil:
    """Read a time in RFC 3339 with up to nine digits behind its seconds; return where it ends, or NULL."""
    cdef int digits = 0
    cdef int hours, minutes
    cdef int64_t fraction = 0
    if end - at < PREFIX + 1:
        return NULL
    if known.seconds < 0 or memcmp(at, known.text, PREFIX) != 0:
        if not read_second(at):
            return NULL
    seconds[0] = known.seconds
    at += PREFIX
    if at[0] == 46:
        at += 1
        while at < end and <uint8_t>(at[0] - 48) <= 9:
            digits += 1
            if digits > 9:
                return NULL
            fraction = fraction * 10 + (at[0] - 48)
            at += 1
        if digits == 0:
            return NULL
        while digits < 9:
            fraction *= 10
            digits += 1
    nanos[0] = fraction
    if at == end:
        return NULL
    if at[0] == 90:
        at += 1
    elif (at[0] == 43 or at[0] == 45) and end - at >= 6 and at[3] == 58:
        if not (number(at + 1, 2, &hours) and number(at + 4, 2, &minutes)) or hours > 23 or minutes > 59:
            return NULL
        if at[0] == 43:
            seconds[0] -= (hours * 60 + minutes) * 60
        else:
            seconds[0] += (hours * 60 + minutes) * 60
        at += 6
    else:
        return NULL
    return at if 0 < seconds[0] < 9000000000LL else NULL


def walk_cri(
    bytes block not None, Py_ssize_t at, int held, bytes out_metadata not None, bytes err_metadata not None, bint joined
):
    """Encode lines of container runtimes."""
    cdef const uint8_t *start = <const uint8_t *>PyBytes_AS_STRING(block)
    cdef const uint8_t *end = start + PyBytes_GET_SIZE(block)
    cdef const uint8_t *line = start + min(max(at, 0), PyBytes_GET_SIZE(block))
    cdef const uint8_t *behind
    cdef const uint8_t *content
    cdef int64_t seconds, nanos
    cdef Walk walk = Walk(out_metadata, err_metadata, joined)
    while line < end:
        behind = <const uint8_t *>memchr(line, 10, end - line)
        if behind == NULL:
            break
        content = read_time(line, behind, &seconds, &nanos)
        if content == NULL or behind - content < 10:
            break
        if memcmp(content, b" stdout F ", 10) == 0 and not held & 1:
            walk.add(False, seconds, nanos, content + 10, behind - content - 10)
        elif memcmp(content, b" stderr F ", 10) == 0 and not held & 2:
            walk.add(True, seconds, nanos, content + 10, behind - content - 10)
        else:
            break
        line = behind + 1
    return walk.ended(line - start)


def split_cri(bytes block not None, Py_ssize_t at, int held):
    """Take lines of container runtimes apart."""
    cdef const uint8_t *start = <const uint8_t *>PyBytes_AS_STRING(block)
    cdef const uint8_t *end = start + PyBytes_GET_SIZE(block)
    cdef const uint8_t *line = start + min(max(at, 0), PyBytes_GET_SIZE(block))
    cdef const uint8_t *behind
    cdef const uint8_t *content
    cdef int64_t seconds, nanos
    cdef bint to_err
    cdef list found = []
    while line < end:
        behind = <const uint8_t *>memchr(line, 10, end - line)
        if behind == NULL:
            break
        content = read_time(line, behind, &seconds, &nanos)
        if content == NULL or behind - content < 10:
            break
        to_err = memcmp(content, b" stderr F ", 10) == 0
        if not to_err and memcmp(content, b" stdout F ", 10) != 0 or held & (2 if to_err else 1):
            break
        time = PyUnicode_DecodeASCII(<const char *>line, content - line, NULL)
        text = PyUnicode_DecodeUTF8(<const char *>content + 10, behind - content - 10, NULL)
        found.append((seconds * NS + nanos, <int>to_err, time, text))
        line = behind + 1
    return line - start, found


cdef inline bint starts(const uint8_t **at, const uint8_t *end, const char *text, Py_ssize_t size) noexcept nogil:
    """Move behind a text if it stands here."""
    if end - at[0] < size or memcmp(at[0], text, size) != 0:
        return False
    at[0] += size
    return True


cdef const uint8_t *unescape(const uint8_t *at, const uint8_t *end) except? NULL:
    """Write a JSON string's content to SCRATCH; return where its closing quote is, or NULL for one of another kind."""
    cdef uint8_t *out
    cdef uint8_t one
    cdef const uint8_t *run
    cdef int code, i, digit
    # No escape is shorter than what it stands for.
    SCRATCH.size = 0
    SCRATCH.reserve(end - at)
    out = SCRATCH.start
    while True:
        run = at
        while at < end and at[0] != 34 and at[0] != 92 and at[0] >= 32:
            at += 1
        memcpy(out, run, at - run)
        out += at - run
        if at == end or at[0] < 32:
            return NULL
        if at[0] == 34:
            SCRATCH.size = out - SCRATCH.start
            return at
        if end - at < 2:
            return NULL
        one = at[1]
        at += 2
        if one == 110:
            out[0] = 10
        elif one == 116:
            out[0] = 9
        elif one == 34 or one == 92 or one == 47:
            out[0] = one
        elif one == 114:
            out[0] = 13
        elif one == 98:
            out[0] = 8
        elif one == 102:
            out[0] = 12
        elif one == 117:
            if end - at < 4:
                return NULL
            code = 0
            for i in range(4):
                digit = hex_digit(at[i])
                if digit < 0:
                    return NULL
                code = code * 16 + digit
            at += 4
            if 0xD800 <= code < 0xE000:
                return NULL
            if code >= 0x800:
                out[0] = <uint8_t>(0xE0 | code >> 12)
                out[1] = <uint8_t>(0x80 | (code >> 6 & 63))
                out[2] = <uint8_t>(0x80 | (code & 63))
                out += 3
            elif code >= 0x80:
                out[0] = <uint8_t>(0xC0 | code >> 6)
                out[1] = <uint8_t>(0x80 | (code & 63))
                out += 2
            else:
                out[0] = <uint8_t>code
                out += 1
            continue
        else:
            return NULL
        out += 1


cdef inline int hex_digit(uint8_t of) noexcept nogil:
    if 48 <= of <= 57:
        return of - 48
    if 97 <= (of | 32) <= 102:
        return (of | 32) - 87
    return -1


def walk_docker(
    bytes block not None, Py_ssize_t at, int held, bytes out_metadata not None, bytes err_metadata not None, bint joined
):
    """Encode lines of Docker's json-file driver, as it writes them: log, stream, time."""
    cdef const uint8_t *start = <const uint8_t *>PyBytes_AS_STRING(block)
    cdef const uint8_t *end = start + PyBytes_GET_SIZE(block)
    cdef const uint8_t *line = start + min(max(at, 0), PyBytes_GET_SIZE(block))
    cdef const uint8_t *behind
    cdef const uint8_t *here
    cdef int64_t seconds, nanos
    cdef bint to_err
    cdef Walk walk = Walk(out_metadata, err_metadata, joined)
    while line < end:
        behind = <const uint8_t *>memchr(line, 10, end - line)
        here = line
        if behind == NULL or not starts(&here, behind, b'{"log":"', 8):
            break
        here = unescape(here, behind)
        if here == NULL:
            break
        to_err = False
        if not starts(&here, behind, b'","stream":"stdout","time":"', 28):
            to_err = True
            if not starts(&here, behind, b'","stream":"stderr","time":"', 28):
                break
        here = read_time(here, behind, &seconds, &nanos)
        if here == NULL or behind - here != 2 or memcmp(here, b'"}', 2) != 0 or held & (2 if to_err else 1):
            break
        walk.add(to_err, seconds, nanos, SCRATCH.start, SCRATCH.size)
        line = behind + 1
    return walk.ended(line - start)


def walk_plain(bytes block not None, int64_t time_ns, bytes metadata not None):
    """Encode lines as they are."""
    cdef const uint8_t *line = <const uint8_t *>PyBytes_AS_STRING(block)
    cdef const uint8_t *end = line + PyBytes_GET_SIZE(block)
    cdef const uint8_t *behind
    cdef int64_t seconds = time_ns // NS
    cdef int64_t nanos = time_ns - seconds * NS
    if nanos < 0:
        seconds, nanos = seconds - 1, nanos + NS
    OUT.size = OUT.items = 0
    while line < end:
        behind = <const uint8_t *>memchr(line, 10, end - line)
        if behind == NULL:
            behind = end
        OUT.add(seconds, nanos, line, behind - line, metadata)
        line = behind + 1
        nanos += 1
        if nanos == NS:
            seconds, nanos = seconds + 1, 0
    return OUT.part()


def encode_at(int64_t time_ns, bytes line not None, bytes metadata not None):
    """Encode one entry."""
    cdef int64_t seconds = time_ns // NS
    cdef int64_t nanos = time_ns - seconds * NS
    if nanos < 0:
        seconds, nanos = seconds - 1, nanos + NS
    ONE.size = ONE.items = 0
    ONE.add(seconds, nanos, <const uint8_t *>PyBytes_AS_STRING(line), PyBytes_GET_SIZE(line), metadata)
    return ONE.part()[0]
