# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False, cdivision=True
"""The page cache's accelerator: comparing pages, reading numbers, and samples that are kept compressed.

`PackedStems` keeps what `agent.scrape.stems.Stems` keeps, in blocks of some hundred series. A block is a piece of a
snappy block, compressed once, in which every sample's value stands as literal bytes at a known place, and every
timestamp but the first is a copy of the one before it. Copies never reach into a value. A scrape of known series
therefore compresses nothing: values are written where they stand, one timestamp a block, and the blocks are joined
(google/snappy, format_description.txt; any decoder reads it).
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.math cimport isinf
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

from pipeline.wire import snappy
from pipeline.wire._varint cimport put_varint
from pipeline.wire.protobuf import encode_varint

from agent.scrape.stems import head_of, stem_of, suffix_of

cdef extern from "Python.h":
    double PyOS_string_to_double(const char *text, char **end, void *overflow) except? -1.0

DEF HASH_BITS = 14
DEF SUFFIX = 7
DEF VALUE = 8
DEF COMMENT = -1
DEF DROPPED = -2
DEF FIRST_TIMED = -16
DEF PLAIN_TAIL = 20

cdef double[23] TENS
cdef int _i
TENS[0] = 1.0
for _i in range(1, 23):
    TENS[_i] = TENS[_i - 1] * 10.0

cdef uint64_t QUIET_NAN = 0x7FF8000000000001
cdef const char *PLAIN_END = b"\0\0\0\0\0\0\0\0\x14\0\0\0"
"""What follows the value of most lines of a protobuf page: no timestamp, no exemplar."""


cdef bint read_number(const char *at, const char *end, bint openmetrics, char *value) except -1:
    """Read what follows a series where that is one plain number; false leaves it to the full reader.

    `at` to `end` is the rest of a line. Writes the double's eight bytes to `value`.
    """
    cdef const char *start
    cdef uint64_t mantissa = 0
    cdef int digits = 0, fraction = 0, exponent = 0, power, sign = 1
    cdef bint negative = False, any_digit = False
    cdef double number
    cdef char *stopped
    cdef char[64] text
    if at >= end or not (at[0] == c' ' or (at[0] == c'\t' and not openmetrics)):
        return False
    at += 1
    if not openmetrics:
        while at < end and (at[0] == c' ' or at[0] == c'\t'):
            at += 1
        while end > at and ((end - 1)[0] == c' ' or (end - 1)[0] == c'\t'):
            end -= 1
    if end - at == 3 and memcmp(at, b"NaN", 3) == 0:
        memcpy(value, &QUIET_NAN, VALUE)
        return True
    start = at
    if at < end and (at[0] == c'-' or at[0] == c'+'):
        negative = at[0] == c'-'
        at += 1
    while at < end and c'0' <= at[0] <= c'9':
        any_digit = True
        if digits or at[0] != c'0':
            digits += 1
            if digits <= 18:
                mantissa = mantissa * 10 + <uint64_t>(at[0] - c'0')
        at += 1
    if at < end and at[0] == c'.':
        at += 1
        while at < end and c'0' <= at[0] <= c'9':
            any_digit = True
            fraction += 1
            if digits or at[0] != c'0':
                digits += 1
                if digits <= 18:
                    mantissa = mantissa * 10 + <uint64_t>(at[0] - c'0')
            at += 1
    if not any_digit:
        return False
    if at < end and (at[0] == c'e' or at[0] == c'E'):
        at += 1
        if at < end and (at[0] == c'-' or at[0] == c'+'):
            sign = -1 if at[0] == c'-' else 1
            at += 1
        if at >= end or not c'0' <= at[0] <= c'9':
            return False
        while at < end and c'0' <= at[0] <= c'9':
            if exponent < 100000:
                exponent = exponent * 10 + (at[0] - c'0')
            at += 1
        exponent *= sign
    if at != end:
        return False
    power = exponent - fraction
    if digits <= 18 and mantissa < (<uint64_t>1 << 53) and -22 <= power <= 22:
        # Both are exact as doubles, so one multiplication or division rounds correctly.
        number = <double>mantissa
        number = number * TENS[power] if power >= 0 else number / TENS[-power]
        if negative:
            number = -number
    else:
        if end - start >= 64:
            return False
        memcpy(text, start, end - start)
        text[end - start] = 0
        number = PyOS_string_to_double(text, &stopped, NULL)
        if isinf(number):
            return False
    memcpy(value, &number, VALUE)
    return True


cdef bint read_timed(const char *at, const char *end, bint openmetrics, char *value, int64_t *time_ms) except -1:
    """Read what follows a series where that is one plain number and a timestamp; false leaves it to the full reader.

    Writes the double's eight bytes to `value`, Unix milliseconds to `time_ms`.
    """
    cdef const char *start
    cdef double seconds
    cdef Py_ssize_t i
    if not openmetrics:
        while end > at and ((end - 1)[0] == c' ' or (end - 1)[0] == c'\t'):
            end -= 1
    start = end
    while start > at and (c'0' <= (start - 1)[0] <= c'9' or (openmetrics and (start - 1)[0] == c'.')):
        start -= 1
    if start == at or start == end:
        return False
    if openmetrics:
        if not c'0' <= start[0] <= c'9' or not read_number(start - 1, end, True, <char *>&seconds) or seconds > 9e15:
            return False
        time_ms[0] = <int64_t>(seconds * 1000)
        return read_number(at, start - 1, True, value)
    if end - start > 18 or not ((start - 1)[0] == c' ' or (start - 1)[0] == c'\t'):
        return False
    time_ms[0] = 0
    for i in range(end - start):
        time_ms[0] = time_ms[0] * 10 + (start[i] - c'0')
    return read_number(at, start, False, value)


cdef class Block:
    """Some hundred series: packed (`packed` is part of a snappy block) or open (`stems` is a list)."""

    cdef bytearray packed
    cdef list stems
    cdef uint32_t *value_at
    cdef list times_at
    cdef Py_ssize_t count
    cdef Py_ssize_t raw_bytes

    def __cinit__(self, int most):
        self.value_at = <uint32_t *>PyMem_Malloc(most * sizeof(uint32_t))
        if self.value_at == NULL:
            raise MemoryError
        self.stems = []

    def __dealloc__(self):
        PyMem_Free(self.value_at)


cdef class PackedStems:
    """See `agent.scrape.stems.StemStore`; `most` is how many series a block holds."""

    cdef list blocks
    cdef Py_ssize_t count
    cdef Py_ssize_t most
    cdef Py_ssize_t shown
    cdef list shown_stems

    def __init__(self, Py_ssize_t most=512):
        if not 0 < most <= 4096:
            raise ValueError("a block holds 1 to 4096 series")
        self.blocks = []
        self.most = most
        self.shown = -1

    def __len__(self):
        return self.count

    def append(self, bytes head, bytes value):
        """Add a series."""
        cdef Block block
        if self.count == len(self.blocks) * self.most:
            self.blocks.append(Block(self.most))
        block = <Block>self.blocks[self.count // self.most]
        self._open(block)
        block.stems.append(stem_of(head, value))
        self.count += 1
        if len(block.stems) == self.most:
            _pack(block)

    def drop(self, Py_ssize_t number):
        """Take a series out."""
        cdef Block block, last
        self._check(number)
        block, last = <Block>self.blocks[number // self.most], <Block>self.blocks[len(self.blocks) - 1]
        self._open(block)
        self._open(last)
        block.stems[number % self.most] = last.stems[len(last.stems) - 1]
        last.stems.pop()
        self.count -= 1
        if not last.stems:
            self.blocks.pop()

    def set_value(self, Py_ssize_t number, bytes value):
        """Give a series its new value."""
        if PyBytes_GET_SIZE(value) != VALUE:
            raise ValueError("a value has eight bytes")
        self._put(number, PyBytes_AS_STRING(value))

    def head(self, Py_ssize_t number):
        """Return a series' encoded labels."""
        cdef Block block
        self._check(number)
        cdef Py_ssize_t index = number // self.most
        block = <Block>self.blocks[index]
        if block.stems is not None:
            return head_of(block.stems[number % self.most])
        if self.shown != index:
            self.shown, self.shown_stems = index, _unpack(block)
        return head_of(self.shown_stems[number % self.most])

    def requests(self, at_ms, Py_ssize_t max_samples, Py_ssize_t max_bytes):
        """Encode all samples."""
        cdef Block block
        cdef bytes suffix = suffix_of(at_ms) if self.count else b""
        cdef Py_ssize_t samples = 0, raw_bytes = 0
        self.shown, self.shown_stems = -1, None
        pieces = [b""]
        for one in self.blocks:
            block = <Block>one
            if block.packed is None:
                _pack(block)
            if block.count > max_samples or block.raw_bytes > max_bytes:
                yield from _requests_one_by_one(_unpack(block), suffix, max_samples, max_bytes)
                continue
            if samples and (samples + block.count > max_samples or raw_bytes + block.raw_bytes > max_bytes):
                pieces[0] = encode_varint(raw_bytes)
                yield b"".join(pieces), samples, raw_bytes
                pieces, samples, raw_bytes = [b""], 0, 0
            _set_time(block, suffix)
            pieces.append(block.packed)
            samples += block.count
            raw_bytes += block.raw_bytes
        if samples:
            pieces[0] = encode_varint(raw_bytes)
            yield b"".join(pieces), samples, raw_bytes

    def scan(
        self,
        const unsigned char[::1] old_page,
        const unsigned char[::1] page,
        const uint32_t[::1] old_starts,
        uint32_t[::1] starts,
        const uint32_t[::1] key_bytes,
        const int32_t[::1] slots,
        Py_ssize_t line,
        Py_ssize_t length,
        Py_ssize_t most_lines,
        bint openmetrics,
        bint unsure,
        list pending,
        int64_t latest_ms,
        bint honor_timestamps,
    ):
        """Compare lines of a page, from number `line` on, with those of the last page, and take in new values.

        `starts` are the lines' first bytes, with one more entry for the end of the page; `starts[line]` must be set,
        what follows is written. Returns the number of the line that was not compared: `most_lines` are done, the page
        ends early (`starts` is then at `length + 1`), or the line must be read in full. Samples of timed series are
        added to `pending`, but for those later than `latest_ms`.
        """
        cdef const char *old = b""
        cdef const char *new = b""
        cdef const char *end
        cdef Py_ssize_t lines = key_bytes.shape[0], at, size, old_at, key, stop
        cdef char[VALUE] value
        cdef int64_t time_ms = 0
        cdef int32_t slot
        if old_starts.shape[0] != lines + 1 or starts.shape[0] != lines + 1 or slots.shape[0] != lines:
            raise ValueError("the arrays of a page have different lengths")
        if not 0 <= line <= lines or length > page.shape[0] or (lines and old_starts[lines] > old_page.shape[0] + 1):
            raise ValueError("beyond the page")
        if old_page.shape[0]:
            old = <const char *>&old_page[0]
        if page.shape[0]:
            new = <const char *>&page[0]
        at = starts[line]
        stop = min(lines, line + most_lines)
        while line < stop and at <= length:
            old_at, size = old_starts[line], old_starts[line + 1] - 1 - old_starts[line]
            if size < 0 or old_at + size > old_page.shape[0]:
                raise ValueError("a line beyond the page")
            if not (
                not unsure
                and at + size <= length
                and memcmp(new + at, old + old_at, size) == 0
                and (at + size == length or new[at + size] == c'\n')
            ):
                end = <const char *>memchr(new + at, c'\n', length - at)
                if end == NULL:
                    end = new + length
                key = key_bytes[line]
                slot = slots[line]
                if (
                    slot == COMMENT
                    or end - new - at <= key
                    or size < key
                    or memcmp(new + at, old + old_at, key) != 0
                ):
                    return line
                if slot <= FIRST_TIMED:
                    if not read_timed(new + at + key, end, openmetrics, value, &time_ms) or time_ms > latest_ms:
                        return line
                    pending.append((slot, PyBytes_FromStringAndSize(value, VALUE), time_ms))
                elif not read_number(new + at + key, end, openmetrics, value) and (
                    (honor_timestamps and slot != DROPPED)
                    or not read_timed(new + at + key, end, openmetrics, value, &time_ms)
                ):
                    return line
                if slot >= 0:
                    self._put(slot, value)
                size = end - new - at
            at += size + 1
            line += 1
            starts[line] = <uint32_t>at
        return line

    def take_lines(
        self,
        list old,
        list lines,
        const uint32_t[::1] key_bytes,
        const int32_t[::1] slots,
        const int32_t[::1] places,
        Py_ssize_t line,
        Py_ssize_t most_lines,
        bint unsure,
    ):
        """Compare lines of a protobuf page, from number `line` on, with those of the last page; take in new values.

        `places` says where in this store a slot's value is. Returns the number of the line that was not compared:
        `most_lines` are done, or the line must be read in full.
        """
        cdef Py_ssize_t count = len(lines), stop = min(count, line + most_lines), size, key
        cdef const char *before
        cdef const char *new
        cdef int32_t slot
        if len(old) != count or key_bytes.shape[0] != count or slots.shape[0] != count or line < 0:
            raise ValueError("the lines of a page have different lengths")
        while line < stop:
            if unsure or old[line] is not lines[line]:
                before, new = PyBytes_AS_STRING(<bytes?>old[line]), PyBytes_AS_STRING(<bytes?>lines[line])
                size, key, slot = PyBytes_GET_SIZE(lines[line]), key_bytes[line], slots[line]
                if unsure or size != PyBytes_GET_SIZE(old[line]) or memcmp(before, new, size) != 0:
                    if (
                        not 0 <= slot < places.shape[0]
                        or places[slot] < 0
                        or size < key + PLAIN_TAIL
                        or PyBytes_GET_SIZE(old[line]) < key
                        or memcmp(before, new, key) != 0
                    ):
                        return line
                    if size != key + PLAIN_TAIL or memcmp(new + key + VALUE, PLAIN_END, PLAIN_TAIL - VALUE) != 0:
                        # An exemplar that was there before says nothing new.
                        if (
                            unsure
                            or size != PyBytes_GET_SIZE(old[line])
                            or memcmp(new + key + VALUE, PLAIN_END, VALUE) != 0
                            or memcmp(new + key + VALUE, before + key + VALUE, size - key - VALUE) != 0
                        ):
                            return line
                    self._put(places[slot], new + key)
            line += 1
        return line

    cdef int _check(self, Py_ssize_t number) except -1:
        if not 0 <= number < self.count:
            raise IndexError(number)
        return 0

    cdef int _open(self, Block block) except -1:
        """Make the series of a block changeable, one by one."""
        self.shown, self.shown_stems = -1, None
        if block.stems is None:
            block.stems = _unpack(block)
        block.packed = None
        return 0

    cdef int _put(self, Py_ssize_t number, const char *value) except -1:
        cdef Block block
        cdef Py_ssize_t index, at
        self._check(number)
        block = <Block>self.blocks[number // self.most]
        index = number % self.most
        if block.packed is None:
            stem = block.stems[index]
            block.stems[index] = stem[: len(stem) - VALUE] + PyBytes_FromStringAndSize(value, VALUE)
            return 0
        at = block.value_at[index]
        if at + VALUE > len(block.packed):
            raise IndexError(number)
        memcpy(PyByteArray_AS_STRING(block.packed) + at, value, VALUE)
        return 0


def settle(list pending, dict known, list loose, bint track):
    """See `agent.scrape.timed.settle`."""
    cdef Py_ssize_t out_of_order = 0, duplicates = 0
    cdef int64_t time_ms, last_ms
    for number, value, timestamp_ms in pending:
        timed = known[number]
        timed.live = track
        time_ms, last_ms = timestamp_ms, timed.last_ms
        if time_ms > last_ms:
            timed.last_ms, timed.value = timestamp_ms, value
            loose.append((timed.head, value, timestamp_ms))
        elif time_ms < last_ms:
            out_of_order += 1
        elif value != timed.value:
            duplicates += 1
    return out_of_order, duplicates


cdef inline Py_ssize_t _varint_bytes(uint64_t number) noexcept nogil:
    cdef Py_ssize_t size = 1
    while number > 127:
        size += 1
        number >>= 7
    return size


def encode_singles(list samples, Py_ssize_t start, Py_ssize_t max_samples, Py_ssize_t max_bytes):
    """See `agent.scrape.loose.encode_singles`."""
    cdef Py_ssize_t behind = min(len(samples), start + max_samples), number = start, total = 0, inner, size
    cdef int64_t time_ms, earliest_ms = 0, latest_ms = 0
    cdef tuple sample
    cdef bytes raw
    cdef uint8_t *out
    if not 0 <= start < behind:
        raise ValueError("no sample to encode")
    while number < behind:
        sample = <tuple?>samples[number]
        if len(sample) != 3 or len(<bytes?>sample[1]) != VALUE:
            raise ValueError("a sample is labels, a value of eight bytes, a time")
        time_ms = sample[2]
        inner = len(<bytes?>sample[0]) + 2 + 1 + VALUE + 1 + _varint_bytes(<uint64_t>time_ms)
        size = 1 + _varint_bytes(inner) + inner
        if total and total + size > max_bytes:
            break
        if number == start:
            earliest_ms = latest_ms = time_ms
        earliest_ms, latest_ms = min(earliest_ms, time_ms), max(latest_ms, time_ms)
        total += size
        number += 1
    raw = PyBytes_FromStringAndSize(NULL, total)
    out = <uint8_t *>PyBytes_AS_STRING(raw)
    for i in range(start, number):
        sample = <tuple>samples[i]
        time_ms, size = sample[2], PyBytes_GET_SIZE(sample[0])
        inner = 1 + VALUE + 1 + _varint_bytes(<uint64_t>time_ms)
        out[0] = 0x0A
        out = put_varint(out + 1, size + 2 + inner)
        memcpy(out, PyBytes_AS_STRING(sample[0]), size)
        out += size
        out[0], out[1], out[2] = 0x12, <uint8_t>inner, 0x09
        memcpy(out + 3, PyBytes_AS_STRING(sample[1]), VALUE)
        out += 3 + VALUE
        out[0] = 0x10
        out = put_varint(out + 1, <uint64_t>time_ms)
    return raw, number, earliest_ms, latest_ms


def _requests_one_by_one(list stems, bytes suffix, Py_ssize_t max_samples, Py_ssize_t max_bytes):
    """Encode series whose labels are so long that a block of them is more than a request."""
    held, held_bytes = [], 0
    for stem in stems:
        if held and (len(held) >= max_samples or held_bytes + len(stem) + SUFFIX > max_bytes):
            yield snappy.compress(suffix.join([*held, b""])), len(held), held_bytes
            held, held_bytes = [], 0
        held.append(stem)
        held_bytes += len(stem) + SUFFIX
    if held:
        yield snappy.compress(suffix.join([*held, b""])), len(held), held_bytes


cdef _set_time(Block block, bytes suffix):
    cdef Py_ssize_t at
    cdef char *packed = PyByteArray_AS_STRING(block.packed)
    for position in block.times_at:
        at = position
        if at + SUFFIX > len(block.packed):
            raise IndexError(at)
        memcpy(packed + at, PyBytes_AS_STRING(suffix), SUFFIX)


cdef list _unpack(Block block):
    """Return the stems of a packed block."""
    cdef bytes raw = snappy.decompress(encode_varint(block.raw_bytes) + block.packed)
    cdef Py_ssize_t at = 0, size, shift, behind, total = len(raw)
    cdef const unsigned char[::1] view = raw
    stems = []
    while at < total:
        behind, size, shift = at + 1, 0, 0
        while True:
            size |= (<Py_ssize_t>view[behind] & 127) << shift
            behind += 1
            if view[behind - 1] < 128:
                break
            shift += 7
        stems.append(raw[at:behind + size - SUFFIX])
        at = behind + size
    return stems


cdef inline uint32_t _load(const uint8_t *at) noexcept nogil:
    cdef uint32_t word
    memcpy(&word, at, 4)
    return word


cdef inline uint8_t *_literal(uint8_t *out, const uint8_t *data, Py_ssize_t size) noexcept nogil:
    """Write a literal element."""
    cdef Py_ssize_t count = size - 1
    if size == 0:
        return out
    if count < 60:
        out[0] = <uint8_t>(count << 2)
        out += 1
    elif count < 256:
        out[0], out[1] = 60 << 2, <uint8_t>count
        out += 2
    elif count < 65536:
        out[0], out[1], out[2] = 61 << 2, <uint8_t>count, <uint8_t>(count >> 8)
        out += 3
    else:
        out[0], out[1], out[2], out[3], out[4] = (
            63 << 2, <uint8_t>count, <uint8_t>(count >> 8), <uint8_t>(count >> 16), <uint8_t>(count >> 24)
        )
        out += 5
    memcpy(out, data, size)
    return out + size


cdef inline uint8_t *_copy(uint8_t *out, Py_ssize_t offset, Py_ssize_t size) noexcept nogil:
    """Write copy elements; `offset` is at most 65535, `size` at least 4."""
    cdef Py_ssize_t some
    while size:
        if 4 <= size <= 11 and offset < 2048:
            out[0] = <uint8_t>(1 | (size - 4) << 2 | (offset >> 8) << 5)
            out[1] = <uint8_t>offset
            return out + 2
        # Never leave less than four bytes, which the short form could not take.
        some = size if size <= 64 else (64 if size >= 68 else 60)
        out[0] = <uint8_t>(2 | (some - 1) << 2)
        out[1], out[2] = <uint8_t>offset, <uint8_t>(offset >> 8)
        out += 3
        size -= some
    return out


cdef _pack(Block block):
    """Compress an open block: values as literals, timestamps as copies of the first, labels against labels."""
    cdef list stems = block.stems
    cdef Py_ssize_t count = len(stems), total = 0, i, start, end, last_suffix = -1, distance
    cdef Py_ssize_t at, match, size, literal
    cdef uint32_t slot
    cdef bytes stem
    for stem in stems:
        total += PyBytes_GET_SIZE(stem) + SUFFIX
    # A literal costs at most five bytes more than it holds, a copy less than what it stands for.
    cdef Py_ssize_t room = total + total // 4 + 32 * count + 64
    cdef uint8_t *raw = <uint8_t *>PyMem_Malloc(total + 8)
    cdef uint8_t *packed = <uint8_t *>PyMem_Malloc(room)
    cdef uint32_t *table = <uint32_t *>PyMem_Malloc((1 << HASH_BITS) * sizeof(uint32_t))
    cdef uint16_t *owner = <uint16_t *>PyMem_Malloc((1 << HASH_BITS) * sizeof(uint16_t))
    cdef uint32_t *ends = <uint32_t *>PyMem_Malloc((count + 1) * sizeof(uint32_t))
    cdef uint8_t *out = packed
    times_at = []
    try:
        if raw == NULL or packed == NULL or table == NULL or owner == NULL or ends == NULL:
            raise MemoryError
        memset(table, 0xFF, (1 << HASH_BITS) * sizeof(uint32_t))
        start = 0
        for i in range(count):
            stem = stems[i]
            size = PyBytes_GET_SIZE(stem)
            memcpy(raw + start, PyBytes_AS_STRING(stem), size)
            memset(raw + start + size, 0, SUFFIX)
            end = start + size - VALUE
            ends[i] = <uint32_t>end
            at = literal = start
            while at + 4 <= end:
                slot = (_load(raw + at) * <uint32_t>0x1E35A7BD) >> (32 - HASH_BITS)
                match = <Py_ssize_t>table[slot] if table[slot] != <uint32_t>0xFFFFFFFF else -1
                distance = at - match
                if match >= 0 and distance <= 65535 and match + 4 <= ends[owner[slot]] and _load(raw + match) == _load(raw + at):
                    size = 4
                    while at + size < end and match + size < ends[owner[slot]] and raw[match + size] == raw[at + size]:
                        size += 1
                    table[slot], owner[slot] = <uint32_t>at, <uint16_t>i
                    if size > 4 or distance < 2048:
                        out = _copy(_literal(out, raw + literal, at - literal), distance, size)
                        at += size
                        literal = at
                        continue
                table[slot], owner[slot] = <uint32_t>at, <uint16_t>i
                at += 1
            size = PyBytes_GET_SIZE(stem)
            out = _literal(out, raw + literal, start + size - literal)
            block.value_at[i] = <uint32_t>(out - packed - VALUE)
            start += size
            distance = start - last_suffix
            if last_suffix >= 0 and distance <= 65535:
                out = _copy(out, distance, SUFFIX)
            else:
                out = _literal(out, raw + start, SUFFIX)
                times_at.append(out - packed - SUFFIX)
            last_suffix = start
            start += SUFFIX
            if out - packed > room:
                raise RuntimeError("a block grew beyond its bound")
        block.packed = PyByteArray_FromStringAndSize(<char *>packed, out - packed)
        block.times_at, block.count, block.raw_bytes, block.stems = times_at, count, total, None
    finally:
        PyMem_Free(raw)
        PyMem_Free(packed)
        PyMem_Free(table)
        PyMem_Free(owner)
        PyMem_Free(ends)
