from dataclasses import replace
from datetime import UTC, datetime

import pytest

from agent.sharing.lease import Lease, from_object, object_name, released, renewed_by, slot_of, to_object

NOW = datetime(2026, 11, 21, 12, 0, 0, 250, tzinfo=UTC)
WRITTEN = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {
        "name": "pronoia-agents-default-1",
        "labels": {"pronoia/sharing": "default", "app.kubernetes.io/managed-by": "pronoia"},
        "annotations": {"pronoia/workers": "2", "pronoia/wanted-by": "b/2"},
        "resourceVersion": "41",
    },
    "spec": {
        "holderIdentity": "a/1",
        "leaseDurationSeconds": 15,
        "leaseTransitions": 3,
        "renewTime": "2026-11-21T12:00:00.000250Z",
        "acquireTime": "2026-11-21T11:00:00.000000Z",
    },
}
LEASE = Lease(
    slot=1,
    holder="a/1",
    duration_s=15,
    renewed="2026-11-21T12:00:00.000250Z",
    acquired="2026-11-21T11:00:00.000000Z",
    transitions=3,
    workers=2,
    wanted_by="b/2",
    version=41,
)


def test_a_lease_is_read_and_written_as_kubernetes_has_it() -> None:
    assert to_object(LEASE, "default") == WRITTEN
    assert from_object(WRITTEN, "default") == LEASE


def test_one_that_is_made_by_hand_is_free() -> None:
    bare = {"metadata": {"name": "pronoia-agents-default-0", "resourceVersion": "7"}}
    assert from_object(bare, "default") == Lease(0, version=7)


def test_renewing_is_always_a_sign_of_life_even_if_clocks_stand_still_or_go_back() -> None:
    renewed = renewed_by(LEASE, "a/1", duration_s=15, workers=2, now=NOW)
    assert renewed.renewed == "2026-11-21T12:00:00.000251Z"
    assert renewed.life != LEASE.life
    assert (renewed.transitions, renewed.acquired, renewed.version) == (3, LEASE.acquired, 41)
    assert renewed.wanted_by == "", "who keeps a slot has heard the wish"


def test_taking_counts_a_transition() -> None:
    taken = renewed_by(LEASE, "b/2", duration_s=5, workers=3, now=NOW)
    assert (taken.holder, taken.transitions, taken.duration_s, taken.workers) == ("b/2", 4, 5, 3)
    assert taken.acquired == taken.renewed


def test_releasing_keeps_the_duration_which_may_not_be_0_and_the_wish() -> None:
    given_back = released(LEASE, NOW)
    assert (given_back.holder, given_back.duration_s, given_back.wanted_by) == ("", 15, "b/2")
    assert replace(given_back, holder="a/1").life != LEASE.life


def test_slots_are_numbered_in_names() -> None:
    assert slot_of(object_name("x-1", 12), "x-1") == 12
    for name in ("pronoia-agents-x-1", "pronoia-agents-y-1", "pronoia-agents-x-", "pronoia-agents-x-1-2"):
        with pytest.raises(ValueError, match=name):
            slot_of(name, "x-1" if name.endswith("x-1") else "x")
