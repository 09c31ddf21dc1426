# cython: language_level=3
"""Varints (Protocol Buffers, "Encoding"), for the accelerators: inlined into each, nothing to import at run time."""

from libc.stdint cimport uint8_t, uint64_t


cdef inline bint read_varint(const uint8_t **at, const uint8_t *end, uint64_t *number) noexcept nogil:
    """Read a varint of up to nine bytes, and move `at` behind it; false leaves it to others."""
    cdef int shift = 0
    cdef uint8_t byte
    number[0] = 0
    while at[0] < end and shift < 63:
        byte = at[0][0]
        at[0] += 1
        number[0] |= <uint64_t>(byte & 127) << shift
        if byte < 128:
            return True
        shift += 7
    return False


cdef inline uint8_t *put_varint(uint8_t *out, uint64_t number) noexcept nogil:
    """Write a number; return where it ends."""
    while number > 127:
        out[0] = <uint8_t>(number | 128)
        out += 1
        number >>= 7
    out[0] = <uint8_t>number
    return out + 1
