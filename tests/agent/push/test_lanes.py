"""Which batch goes next, and what an answer means for the lane."""

from agent.push.lanes import WINDOW_BATCHES, Lanes


def lanes(**acknowledged: int) -> Lanes:
    return Lanes({int(name[1:]): number for name, number in acknowledged.items()}, max_in_flight_bytes=1000)


def test_a_lane_with_nothing_new_is_not_sendable() -> None:
    assert list(lanes(l0=5, l1=2).sendable({0: 5, 1: 3}, 0.0)) == [1]


def test_each_turn_begins_with_another_lane() -> None:
    state = lanes(l0=0, l1=0)
    ends = {0: 9, 1: 9}
    assert next(state.sendable(ends, 0.0)) != next(state.sendable(ends, 0.0))


def test_no_more_than_the_window_is_unacknowledged() -> None:
    state = lanes(l0=0)
    for sequence in range(WINDOW_BATCHES):
        assert list(state.sendable({0: 100}, 0.0)) == [0]
        state.sending(0, sequence, sequence + 1, 1)
    assert list(state.sendable({0: 100}, 0.0)) == []
    state.accepted(0, 0)
    assert list(state.sendable({0: 100}, 0.0)) == [0]


def test_bytes_in_flight_are_bounded_over_all_lanes() -> None:
    state = lanes(l0=0, l1=0)
    state.sending(0, 0, 1, 1000)
    assert list(state.sendable({0: 9, 1: 9}, 0.0)) == []


def test_an_acknowledgement_holds_for_all_lower_sequences() -> None:
    state = lanes(l0=0)
    for sequence in range(4):
        state.sending(0, sequence, sequence + 1, 1)
    assert state.accepted(0, 2) == 3
    assert [batch.sequence for batch in state.lanes[0].in_flight] == [3]


def test_a_gap_record_acknowledges_all_that_it_stands_for() -> None:
    state = lanes(l0=0)
    state.sending(0, 0, 7, 1)
    assert state.accepted(0, 0) == 7


def test_a_postponed_lane_is_sent_again_from_there_and_not_before_the_delay() -> None:
    state = lanes(l0=0)
    for sequence in range(4):
        state.sending(0, sequence, sequence + 1, 1)
    state.postponed(0, 2, not_before_s=10.0)
    assert state.lanes[0].sent == 2
    assert list(state.sendable({0: 9}, 9.0)) == []
    assert state.wait_s(9.0) == 1.0
    assert list(state.sendable({0: 9}, 10.0)) == [0]
    assert state.accepted(0, 1) == 2


def test_after_a_broken_connection_everything_unanswered_is_sent_again() -> None:
    state = lanes(l0=3)
    state.sending(0, 3, 4, 1)
    state.sending(0, 4, 5, 1)
    state.accepted(0, 3)
    state.broken()
    assert (state.lanes[0].acknowledged, state.lanes[0].sent) == (4, 4)


def test_a_lane_skips_what_is_gone_but_never_what_is_unanswered_or_to_be_sent_again() -> None:
    state = lanes(l0=5)
    assert not state.skipped(0, 5, 5)
    state.sending(0, 5, 6, 1)
    assert not state.skipped(0, 6, 9)
    state.postponed(0, 5, 0.0)
    assert not state.skipped(0, 6, 9)
    assert (state.lanes[0].acknowledged, state.lanes[0].sent) == (5, 5)
    assert state.skipped(0, 5, 9)
    assert (state.lanes[0].acknowledged, state.lanes[0].sent) == (9, 9)
