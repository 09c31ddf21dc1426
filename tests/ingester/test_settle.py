import json
from dataclasses import replace

from ingester.settle import LaneKey, Place, Settled, Verdict, from_plain, to_plain
from pipeline.wire.envelope import Envelope, Origin
from tests.ingester.parts import Lane

KEY = LaneKey("c1", "a1", 0xFEED, 0)


def batches(count: int, items: int = 10) -> list[Envelope]:
    lane = Lane()
    return [lane.round(n, items)[0] for n in range(count)]


def see(settled: Settled, *envelopes: Envelope, at_ms: int = 1000) -> list[Verdict]:
    out = []
    for envelope in envelopes:
        verdict = settled.judge(envelope, at_ms)
        settled.apply(verdict)
        out.append(verdict)
    return out


def totals(verdicts: list[Verdict]) -> tuple[int, int, int]:
    """(fresh, missing items, missing records)"""
    return (
        sum(v.fresh for v in verdicts),
        sum(v.missing_items for v in verdicts),
        sum(v.missing_records for v in verdicts),
    )


def test_batches_in_sequence_are_fresh() -> None:
    assert totals(see(Settled(True), *batches(5))) == (5, 0, 0)


def test_a_batch_appended_twice_is_fresh_once() -> None:
    b = batches(3)
    assert [v.fresh for v in see(Settled(True), b[0], b[1], b[0], b[1], b[2], b[2])] == [
        True,
        True,
        False,
        False,
        True,
        False,
    ]


def test_what_is_missing_is_counted_in_items_and_records() -> None:
    lane = Lane()
    b = [lane.round(n, items)[0] for n, items in enumerate((3, 5, 7, 11, 13))]
    assert totals(see(Settled(True), b[0], b[3], b[4])) == (3, 12, 2)


def test_a_lane_that_was_read_from_the_first_record_misses_its_beginning() -> None:
    assert totals(see(Settled(True), *batches(5)[3:])) == (2, 30, 3)


def test_a_lane_first_seen_in_a_log_without_its_beginning_misses_nothing() -> None:
    assert totals(see(Settled(False), *batches(5)[3:])) == (2, 0, 0)


def test_a_batch_that_comes_after_it_was_missed_is_delivered_and_no_longer_missing() -> None:
    b = batches(6)
    settled = Settled(True)
    assert totals(see(settled, b[0], b[4])) == (2, 30, 3)
    assert totals(see(settled, b[2])) == (1, -10, -1)
    assert [v.fresh for v in see(settled, b[2], b[1], b[3], b[3])] == [False, True, True, False]
    assert settled.lanes[KEY].holes == ()


def test_parts_of_a_batch_are_told_apart() -> None:
    [whole] = batches(1)
    parts = [replace(whole, part=n, parts=3, first_item=4 * n, items=(4, 4, 2)[n]) for n in range(3)]
    after = replace(whole, sequence=1, lane_items=10)
    settled = Settled(True)
    assert totals(see(settled, parts[0], parts[0], parts[2], after)) == (3, 4, 1)
    assert totals(see(settled, parts[1])) == (1, -4, -1)


def test_a_missing_end_of_a_split_batch_is_counted_as_its_parts() -> None:
    [whole] = batches(1)
    first = replace(whole, part=0, parts=3, items=4)
    after = replace(whole, sequence=1, lane_items=10)
    assert totals(see(Settled(True), first, after)) == (2, 6, 2)


def test_a_gap_record_counts_what_was_evicted_as_missing_and_the_lane_goes_on() -> None:
    lane = Lane()
    first, _ = lane.round(0)
    gap, _ = lane.gap(batches=3, items=30)
    after, _ = lane.round(4)
    settled = Settled(True)
    assert totals(see(settled, first, gap, after)) == (2, 30, 3)
    assert totals(see(settled, gap)) == (0, 0, 0)


def test_a_gap_record_counts_only_what_had_not_arrived_before_the_eviction() -> None:
    b = batches(5)
    lane = Lane(sequence=1, items=10)
    gap, _ = lane.gap(batches=4, items=40)
    assert totals(see(Settled(True), b[0], b[1], b[2], gap)) == (3, 20, 2)


def test_epochs_agents_lanes_and_clusters_are_sequences_of_their_own() -> None:
    settled = Settled(True)
    lanes = [Lane(), Lane(epoch=1), Lane(agent="a2"), Lane(lane=1), Lane(cluster="c2")]
    assert totals(see(settled, *(lane.round(0)[0] for lane in lanes))) == (5, 0, 0)
    assert len(settled.lanes) == 5


def test_a_foreign_senders_retry_by_another_gateway_is_a_duplicate() -> None:
    first = Lane(agent="g1", epoch=1, origin=Origin.FOREIGN, digest="d1")
    second = Lane(agent="g2", epoch=2, origin=Origin.FOREIGN, digest="d1")
    settled = Settled(True)
    assert [v.fresh for v in see(settled, first.round(0)[0], second.round(0)[0])] == [True, False]
    assert settled.lanes[LaneKey("c1", "g2", 2, 0)].next == Place(1, 0)


def test_the_same_bytes_again_through_the_same_gateway_are_what_the_sender_wants() -> None:
    lane = Lane(agent="g1", epoch=1, origin=Origin.FOREIGN, digest="d1")
    assert [v.fresh for v in see(Settled(True), lane.round(0)[0], lane.round(0)[0])] == [True, True]


def test_old_digests_are_forgotten() -> None:
    settled = Settled(True)
    lane = Lane(agent="g1", epoch=1, origin=Origin.FOREIGN)
    for n in range(600):
        lane.digest = f"d{n}"
        see(settled, lane.round(n)[0])
    assert len(settled.digests) == 512


def test_gateways_epochs_are_forgotten_and_the_beginning_of_new_lanes_still_counts() -> None:
    settled = Settled(True)
    see(settled, Lane(agent="g1", origin=Origin.FOREIGN).round(0)[0], at_ms=1000)
    see(settled, Lane(agent="g2", origin=Origin.FOREIGN).round(0)[0], at_ms=5000)
    settled.forget(before_ms=2000)
    assert [key.agent for key in settled.lanes] == ["g2"]
    assert settled.from_zero


def test_an_agent_that_was_forgotten_may_come_back_in_its_epoch_and_misses_nothing() -> None:
    b = batches(3)
    settled = Settled(True)
    see(settled, b[0], at_ms=1000)
    settled.forget(before_ms=2000)
    assert totals(see(settled, b[2], at_ms=9000)) == (1, 0, 0)


def test_settled_state_survives_json() -> None:
    b = batches(6)
    settled = Settled(True)
    see(settled, b[0], b[2], b[5])
    see(settled, Lane(agent="g", epoch=2**63 + 1, origin=Origin.FOREIGN, digest="x").round(0)[0])
    assert from_plain(json.loads(json.dumps(to_plain(settled)))) == settled
