"""Bytes that were valid once."""

from hypothesis import strategies as st


def damaged(valid: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Give bytes of a strategy with up to three of them changed."""

    @st.composite
    def draw_damaged(draw: st.DrawFn) -> bytes:
        data = bytearray(draw(valid))
        for _ in range(draw(st.integers(0, 3))):
            if data:
                data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
        return bytes(data)

    return draw_damaged()
