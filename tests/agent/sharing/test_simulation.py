"""Several agents, one API server, and whatever goes wrong: invariants that hold for every history.

A model of the API server's leases (optimistic concurrency, watches that lag) drives the real decisions on virtual time.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.sharing.decide import Action, decide
from agent.sharing.lease import Lease, released, renewed_by
from agent.sharing.view import Terms, View, begin, failed, let_go, observe, refused, vanish, wrote

D = 10
STALE = object()


@dataclass
class Leases:
    """The API server: one object a slot, each write a new version, refused where it is not of the newest."""

    version: int = 0
    now: dict[int, Lease] = field(default_factory=dict)
    writes: int = 0

    def write(self, lease: Lease) -> Lease | None:
        self.writes += 1
        current = self.now.get(lease.slot)
        if (current.version if current else 0) != lease.version:
            return None
        self.version += 1
        self.now[lease.slot] = replace(lease, version=self.version)
        return self.now[lease.slot]


@dataclass
class Agent:
    """One agent: its view, its clock (`rate` seconds a second from `offset_s`), whether it lives and is connected."""

    name: str
    view: View
    rate: float
    offset_s: float
    alive: bool = True
    connected: bool = True
    wakes_s: float = 0.0

    def clock(self, now_s: float) -> float:
        return self.offset_s + now_s * self.rate

    def works_on(self, now_s: float) -> set[int]:
        """What `Tenure` lets it do: a slot is worked on until its time is over, decided on or not."""
        return {n for n, held in self.view.held.items() if self.alive and self.clock(now_s) < held.until_s}


class World:
    """All of it, on virtual time."""

    def __init__(self, agents: int, workers: int, random: Random, *, latency_s: float) -> None:
        self.random, self.latency_s, self.now_s, self.workers = random, latency_s, 0.0, workers
        self.server = Leases()
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.count = 0
        self.agents = [self.new_agent(f"a{n}", workers) for n in range(agents)]

    def new_agent(self, name: str, workers: int) -> Agent:
        rate, offset_s = 1 + self.random.uniform(-0.05, 0.05), self.random.uniform(0, 1e6)
        agent = Agent(name, View(Terms(name, workers, D)), rate, offset_s)
        self.look(agent)
        return agent

    def at(self, delay_s: float, what: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.events, (self.now_s + delay_s, self.count, what))

    def lag(self) -> float:
        return self.random.uniform(0.0, self.latency_s)

    def look(self, agent: Agent) -> None:
        """A whole list, as at start and after every reconnect."""
        leases = dict(self.server.now)

        def arrive() -> None:
            if agent.connected:
                at_s = agent.clock(self.now_s)
                for slot in range(agent.view.terms.workers):
                    if slot not in leases and slot not in agent.view.held and slot not in agent.view.busy:
                        agent.view = vanish(agent.view, slot, at_s)
                for lease in leases.values():
                    agent.view = observe(agent.view, lease, at_s)
                self.decide(agent)

        self.at(self.lag(), arrive)

    def tell(self, lease: Lease) -> None:
        for agent in self.agents:

            def arrive(agent: Agent = agent) -> None:
                if agent.alive and agent.connected:
                    agent.view = observe(agent.view, lease, agent.clock(self.now_s))
                    self.decide(agent)

            self.at(self.lag(), arrive)

    def decide(self, agent: Agent) -> None:
        if not agent.alive:
            return
        decision = decide(agent.view, agent.clock(self.now_s))
        for action in decision.actions:
            self.act(agent, action)
        if decision.actions:
            decision = decide(agent.view, agent.clock(self.now_s))
        if decision.wake_s is not None:
            wait_s = max(0.0, (decision.wake_s - agent.clock(self.now_s)) / agent.rate) + 1e-6
            if not self.now_s < agent.wakes_s <= self.now_s + wait_s:
                agent.wakes_s = self.now_s + wait_s
                self.at(wait_s, lambda: self.decide(agent))

    def act(self, agent: Agent, action: Action) -> None:
        sent_s, slot = agent.clock(self.now_s), action.slot
        if action.kind == "lose":
            agent.view = let_go(agent.view, slot, sent_s)
            return
        base = agent.view.seen[slot].lease or Lease(slot)
        if action.kind == "release":
            agent.view = let_go(agent.view, slot, sent_s)
        agent.view = begin(agent.view, slot)
        # Wall clocks are wrong by anything.
        wall = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.random.uniform(-1e6, 1e6))
        wanted = {
            "release": lambda: released(base, wall),
            "ask": lambda: replace(base, wanted_by=agent.name),
        }.get(
            action.kind, lambda: renewed_by(base, agent.name, duration_s=D, workers=self.workers_of(agent), now=wall)
        )()

        def reach() -> None:
            done = self.server.write(wanted) if agent.connected else STALE
            if isinstance(done, Lease):
                self.tell(done)
            self.at(self.lag(), lambda: answer(done if agent.connected else STALE))

        def answer(done: object) -> None:
            if not agent.alive:
                return
            at_s = agent.clock(self.now_s)
            if isinstance(done, Lease):
                agent.view = wrote(agent.view, done, sent_s, at_s)
            elif done is None:
                agent.view = refused(agent.view, slot)
                agent.view = observe(agent.view, self.server.now[slot], at_s)
            else:
                agent.view = failed(agent.view, slot, at_s)
            self.decide(agent)

        self.at(self.lag(), reach)

    def workers_of(self, agent: Agent) -> int:
        return agent.view.terms.workers

    def run(self, until_s: float) -> None:
        """Let time pass; at every step nobody works beside another."""
        while self.events and self.events[0][0] <= until_s:
            self.now_s, _, what = heapq.heappop(self.events)
            what()
            self.check()
        self.now_s = until_s

    def check(self) -> None:
        working = [(slot, agent) for agent in self.agents for slot in agent.works_on(self.now_s)]
        slots = [slot for slot, _ in working]
        assert len(slots) == len(set(slots)), f"two work on one slot: {working}"

    def cut(self, agent: Agent) -> None:
        agent.connected = False

    def mend(self, agent: Agent) -> None:
        agent.connected = True
        self.look(agent)

    def held(self) -> dict[str, set[int]]:
        return {agent.name: agent.works_on(self.now_s) for agent in self.agents}


@given(
    seed=st.integers(0, 2**32),
    agents=st.integers(1, 6),
    workers=st.integers(1, 4),
    latency_s=st.sampled_from([0.01, 0.2, 1.0]),
    faults=st.lists(st.tuples(st.sampled_from(["kill", "cut", "mend", "join"]), st.floats(0.1, 25.0)), max_size=8),
)
def test_no_two_agents_work_on_a_slot_and_every_slot_finds_one_again(
    seed: int, agents: int, workers: int, latency_s: float, faults: list[tuple[str, float]]
) -> None:
    world = World(agents, workers, Random(seed), latency_s=latency_s)
    for kind, wait_s in faults:
        world.run(world.now_s + wait_s)
        agent = world.random.choice(world.agents)
        if kind == "join":
            world.agents.append(world.new_agent(f"a{len(world.agents)}", workers))
        elif kind == "kill" and sum(each.alive for each in world.agents) > 1:
            agent.alive = False
        elif kind == "cut":
            world.cut(agent)
        elif kind == "mend":
            world.mend(agent)
    for agent in world.agents:
        world.mend(agent)
    world.run(world.now_s + 2.5 * D + 6 * workers * latency_s)
    held = world.held()
    assert set().union(*held.values()) == set(range(workers)), f"a slot is left: {held}"
    world.run(world.now_s + 4 * workers * D)
    held = world.held()
    assert set().union(*held.values()) == set(range(workers)), f"a slot is left: {held}"
    counts = [len(held[agent.name]) for agent in world.agents if agent.alive]
    assert max(counts) - min(counts) <= 1, f"not spread evenly: {held}"


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), before=st.integers(1, 3), after=st.integers(1, 3))
def test_a_rollout_of_another_number_of_workers_never_has_two_divisions_at_work(
    seed: int, before: int, after: int
) -> None:
    world = World(3, before, Random(seed), latency_s=0.05)
    world.run(30.0)
    old = list(world.agents)
    for agent in old:
        world.agents.append(world.new_agent(f"new-{agent.name}", after))
        world.run(world.now_s + world.random.uniform(0.0, 15.0))
        divisions = {each.view.terms.workers for each in world.agents if each.works_on(world.now_s)}
        assert len(divisions) <= 1, divisions
        agent.alive = False
    world.run(world.now_s + 5 * D)
    assert set().union(*world.held().values()) == set(range(after))


@pytest.mark.parametrize("seed", range(3))
def test_a_hundred_agents_do_not_crowd_around_a_slot_that_becomes_free(seed: int) -> None:
    world = World(100, 2, Random(seed), latency_s=0.01)
    world.run(20.0)
    before = world.server.writes
    next(agent for agent in world.agents if agent.works_on(world.now_s)).alive = False
    world.run(world.now_s + 2 * D)
    renewals = 2 * 2 * 3 + 4
    assert world.server.writes - before < renewals + 12, "a few collide, not a hundred"
