import math
import struct
from array import array

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.store.chunks import decode_times, decode_values, encode_times, encode_values
from pipeline.wire.errors import MalformedError

doubles = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0])
decimals = st.integers(-(10**9), 10**9).map(lambda number: number / 100)


@given(st.lists(doubles | decimals | st.floats() | st.integers(-(2**53), 2**53).map(float), min_size=1, max_size=300))
@example([-0.0, 0.0, 1.0])
@example([math.inf, -math.inf])
@example([5e-324, 1.7976931348623157e308])
@example([2.0**53, -(2.0**53)])
def test_every_bit_of_every_value_comes_back(values: list[float]) -> None:
    column = array("d", b"".join(struct.pack("<d", value) for value in values))
    assert decode_values(encode_values(column), len(column)).tobytes() == column.tobytes()


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=300))
@example([-(2**63), 2**63 - 1, -(2**63)])
def test_every_timestamp_comes_back(times: list[int]) -> None:
    column = array("q", times)
    assert decode_times(encode_times(column)) == column


def test_what_metrics_look_like_takes_few_bytes_a_sample() -> None:
    def size(values: list[float]) -> float:
        return len(encode_values(array("d", values))) / len(values)

    assert size([42.5] * 120) < 0.1
    assert size([float(n * 1500) for n in range(120)]) < 0.25
    assert size([10_870.69 + n * 14.93 for n in range(120)]) < 8.5
    assert size([round(10_870.69 + n * 14.93, 2) for n in range(120)]) < 0.3


@given(st.binary(max_size=200), st.integers(0, 300))
def test_damage_is_told_and_never_anything_else(data: bytes, count: int) -> None:
    for decode in (lambda: decode_values(data, count), lambda: decode_times(data)):
        try:
            decode()
        except MalformedError:
            continue


def test_a_column_that_is_cut_short_is_malformed() -> None:
    packed = encode_values(array("d", [1.0, 2.5, math.pi, 7.0] * 20))
    for end in range(len(packed)):
        with pytest.raises(MalformedError):
            decode_values(packed[:end], 80)
