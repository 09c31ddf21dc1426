"""The rules one by one; what they add up to among several agents is in test_simulation."""

from dataclasses import replace

from agent.sharing.decide import Action, Decision, decide
from agent.sharing.lease import Lease
from agent.sharing.view import (
    Terms,
    View,
    begin,
    failed,
    let_go,
    lose_sight,
    observe,
    sight,
    vanish,
    wrote,
)

D = 10
TERMS = Terms(me="me", workers=2, duration_s=D)
SPREAD = TERMS.spread_s


def lease(slot: int, holder: str, version: int, **more: object) -> Lease:
    renewed = f"2026-01-01T01:00:00.{version:06}Z"
    given = Lease(slot, holder, D, renewed, acquired="2026-01-01T00:00:00.000000Z", workers=2, version=version)
    return replace(given, **more)  # type: ignore[arg-type]


def view_of(*leases: Lease, at_s: float = 0.0) -> View:
    view = View(TERMS)
    for each in leases:
        view = observe(view, each, at_s)
    return view


def holding(*slots: int, sent_s: float = 0.0) -> View:
    view = View(TERMS)
    for slot in slots:
        view = wrote(view, lease(slot, "me", 10 + slot), sent_s, sent_s)
    return view


def first(view: View, at_s: float) -> list[Action]:
    return list(decide(view, at_s).actions)


def test_nothing_is_done_about_what_was_not_looked_at() -> None:
    assert decide(View(TERMS), 100.0).actions == ()
    assert decide(View(TERMS), 100.0).wake_s is None


def test_a_slot_without_a_lease_is_taken_within_the_spread() -> None:
    view = vanish(vanish(View(TERMS), 0, 5.0), 1, 5.0)
    decision = decide(view, 5.0 + SPREAD)
    (action,) = decision.actions
    assert action.kind == "take", "and only one, though both are free"


def test_the_second_free_slot_is_left_to_others_for_a_while() -> None:
    view = vanish(vanish(View(TERMS), 0, 0.0), 1, 0.0)
    (taken,) = first(view, SPREAD)
    view = wrote(begin(view, taken.slot), lease(taken.slot, "me", 7), 0.0, 0.0)
    assert first(view, 1.9 * SPREAD) == []
    assert first(view, 3 * SPREAD) == [Action("take", 1 - taken.slot)], "nobody else came"


def test_an_expired_slot_is_taken_after_its_holders_duration_as_we_saw_it_whatever_its_clock_says() -> None:
    theirs = lease(0, "other", 3, duration_s=30, renewed="1999-01-01T00:00:00.000000Z")
    view = view_of(theirs, lease(1, "third", 4), at_s=100.0)
    view = observe(view, replace(view.seen[1].lease or theirs, version=99, renewed="now"), 129.0)
    assert first(view, 129.9) == []
    assert first(view, 130.0 + SPREAD) == [Action("take", 0)]


def test_a_change_that_is_no_sign_of_life_does_not_prolong_a_lease() -> None:
    view = view_of(lease(0, "other", 3), lease(1, "third", 4))
    view = observe(view, lease(0, "other", 5, renewed="2026-01-01T01:00:00.000003Z", wanted_by="x"), 9.0)
    assert Action("take", 0) in first(view, D + SPREAD)


def test_a_sign_of_life_does() -> None:
    view = view_of(lease(0, "other", 3), lease(1, "third", 4))
    view = observe(observe(view, lease(0, "other", 5), 9.0), lease(1, "third", 6), 9.0)
    assert first(view, 9.0 + 0.9 * D) == []


def test_what_is_older_than_what_is_known_changes_nothing() -> None:
    view = wrote(View(TERMS), lease(0, "me", 8), 0.0, 0.0)
    assert observe(view, lease(0, "other", 7), 1.0) == view


def test_a_lease_that_an_old_list_lacked_is_seen_again() -> None:
    theirs = lease(0, "other", 8)
    gone = vanish(view_of(theirs), 0, 1.0)
    assert observe(gone, lease(0, "third", 7), 2.0) == gone
    assert observe(gone, theirs, 2.0).seen[0].lease == theirs


def test_a_holder_renews_every_third_of_its_lease_and_lets_go_before_it_ends() -> None:
    view = holding(0)
    assert decide(view, D / 3 - 0.1).actions == ()
    assert first(view, D / 3) == [Action("renew", 0)]
    assert first(begin(view, 0), 0.8 * D) == [Action("lose", 0)], "while the renewal still hangs"
    assert decide(begin(view, 0), 1.0).wake_s == 0.8 * D


def test_the_lease_runs_from_the_moment_before_the_request_was_sent() -> None:
    view = wrote(begin(View(TERMS), 0), lease(0, "me", 9), sent_s=20.0, now_s=24.0)
    assert view.held[0].until_s == 28.0


def test_a_failed_renewal_is_tried_again_soon() -> None:
    view = failed(begin(holding(0), 0), 0, 4.0)
    assert first(view, 4.0 + TERMS.retry_s - 0.1) == []
    assert first(view, 4.0 + TERMS.retry_s) == [Action("renew", 0)]


def test_a_slot_that_could_not_be_taken_is_tried_again_without_hurry() -> None:
    view = failed(begin(vanish(view_of(lease(1, "third", 4)), 0, 0.0), 0), 0, 1.0)
    assert first(view, 1.0 + D / 3) == []
    assert first(view, 1.0 + D / 3 + SPREAD) == [Action("take", 0)]
    forbidden = failed(begin(vanish(view_of(lease(1, "third", 4)), 0, 0.0), 0), 0, 1.0, for_good=True)
    assert Action("take", 0) not in first(forbidden, 2 * D)


def test_a_slot_that_another_has_taken_is_let_go_at_once() -> None:
    assert first(observe(holding(0), lease(0, "other", 99), 1.0), 1.0) == [Action("lose", 0)]


def test_a_slot_whose_lease_was_deleted_is_let_go_and_taken_anew() -> None:
    view = vanish(holding(0, 1), 0, 1.0)
    assert first(view, 1.0) == [Action("lose", 0)]
    assert Action("take", 0) in first(let_go(view, 0, 1.0), 1.0 + 3 * SPREAD)


def test_a_lease_that_names_us_though_we_let_go_is_taken_back_at_once() -> None:
    view = let_go(holding(0), 0, 8.0)
    assert first(view, 8.0) == [Action("take", 0)]


def test_who_cannot_watch_takes_nothing_but_its_own() -> None:
    blind = lose_sight(view_of(lease(0, "other", 3), lease(1, "other", 4)))
    assert decide(blind, 100 * D) == Decision()
    own = lose_sight(let_go(holding(0), 0, 8.0))
    assert first(own, 8.0) == [Action("take", 0)]


def test_who_can_watch_again_looks_first_what_others_have_done() -> None:
    view = sight(lose_sight(view_of(lease(0, "other", 3), lease(1, "third", 4))), 50.0)
    assert first(view, 50.0) == []
    assert [action.kind for action in first(view, 50.0 + SPREAD)] == ["take"]
    assert sight(view, 60.0) == view, "it was watching all the time"


def test_who_has_none_asks_an_agent_that_has_two() -> None:
    view = view_of(lease(0, "other", 3), lease(1, "other", 4))
    assert first(view, 1.9 * SPREAD) == []
    assert first(view, 3 * SPREAD) == [Action("ask", 1)]
    assert Action("ask", 1) not in first(view_of(lease(0, "a", 3), lease(1, "b", 4)), 3 * SPREAD)


def test_nobody_asks_where_somebody_has_asked() -> None:
    assert first(view_of(lease(0, "other", 3, wanted_by="x"), lease(1, "other", 4)), 3 * SPREAD) == []


def test_who_has_two_gives_back_the_one_that_is_asked_for() -> None:
    asked = lease(1, "me", 99, wanted_by="x", renewed="2026-01-01T01:00:00.000011Z")
    assert first(observe(holding(0, 1), asked, 1.0), 1.0) == [Action("release", 1)]
    assert first(observe(holding(1), asked, 1.0), 1.0) == [], "the only one is kept"


def test_who_asked_goes_first() -> None:
    given_back = lease(1, "", 99, wanted_by="x")
    other = lease(0, "third", 3)
    assert first(view_of(given_back, other), SPREAD) == []
    asker = View(replace(TERMS, me="x"))
    assert first(observe(observe(asker, other, 0.0), given_back, 0.0), 0.0) == [Action("take", 1)]
    assert Action("take", 1) in first(view_of(given_back, other), 2 * SPREAD), "but it may have died"


def test_agents_that_divide_by_different_numbers_never_work_beside_each_other() -> None:
    old = lease(0, "old", 3, workers=3)
    view = vanish(view_of(old), 1, 0.0)
    assert first(view, 9.9) == []
    assert [action.kind for action in first(view, D + SPREAD)] == ["take"], "it is gone"
    both = observe(holding(1), old, 0.0)
    assert first(both, 1.0) == [Action("release", 1)], "who holds the lower slot stays"
    upper = observe(holding(0), lease(2, "old", 3, workers=3), 0.0)
    assert first(upper, 1.0) == []


def test_what_was_covered_is_remembered_for_who_takes_over() -> None:
    view = view_of(lease(0, "other", 3), at_s=50.0)
    view = wrote(begin(view, 0), lease(0, "me", 9), 61.0, 61.5)
    assert view.held[0].covered_s == 50.0 - D / 3
    released = observe(view_of(lease(0, "other", 3)), lease(0, "", 5), 70.0)
    assert wrote(begin(released, 0), lease(0, "me", 9), 70.0, 70.5).held[0].covered_s == 70.0 - D / 3
    ours = wrote(let_go(holding(0), 0, 18.0), lease(0, "me", 99), 19.0, 19.0)
    assert ours.held[0].covered_s == 18.0
    assert holding(0).held[0].covered_s is None, "nobody was there before"


def test_who_had_a_slot_for_a_moment_only_may_have_covered_nothing() -> None:
    view = view_of(lease(0, "other", 3), at_s=50.0)
    shortly = {"acquired": "2026-01-01T01:00:00.000000Z", "renewed": "2026-01-01T01:00:04.000000Z"}
    view = observe(observe(view, lease(0, "brief", 5, **shortly), 61.0), lease(0, "", 6, **shortly), 62.0)
    view = wrote(view, lease(0, "me", 9), 62.0, 62.0)
    assert view.held[0].covered_s == 50.0 - D / 3, "what the first did counts, until it was last seen"
    assert wrote(let_go(view, 0, 65.0), lease(0, "me", 12), 66.0, 66.0).held[0].covered_s == 50.0 - D / 3, (
        "ours neither"
    )
    unknown = wrote(view_of(lease(0, "brief", 5, **shortly), at_s=61.0), lease(0, "me", 9), 75.0, 75.0)
    assert unknown.held[0].covered_s == 61.0 - 2 * D


def test_a_renewal_keeps_what_was_covered() -> None:
    view = view_of(lease(0, "other", 3), at_s=50.0)
    view = wrote(view, lease(0, "me", 9), 61.0, 61.0)
    assert wrote(view, lease(0, "me", 10), 64.0, 64.0).held[0].covered_s == view.held[0].covered_s
