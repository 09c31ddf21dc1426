"""Blocks shrink where stages are slow, and grow again."""

from agent.tail.blocks import LEAST_BYTES, MOST_BYTES, BlockSize


def test_blocks_shrink_until_their_stages_hold_the_loop_for_a_moment_only() -> None:
    size = BlockSize()
    for _ in range(20):
        size.took(size.bytes / 1e6, size.bytes)
    assert LEAST_BYTES <= size.bytes <= 8192 * 2
    for _ in range(20):
        size.took(0.0001, size.bytes)
    assert size.bytes == MOST_BYTES


def test_a_small_block_says_nothing_about_large_ones() -> None:
    size = BlockSize(LEAST_BYTES)
    size.took(0.0, 100)
    assert size.bytes == LEAST_BYTES
