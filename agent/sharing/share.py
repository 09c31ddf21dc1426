"""What of its configuration an agent does now: its node's part always, of the shared part what its slots are."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import aiohttp
from prometheus_client import CollectorRegistry

from agent.config import AgentConfig, ScrapeConfig
from agent.config.sharing import SharingConfig, restricted
from agent.scrape.turn import Always, Turn
from agent.target import Target
from pipeline.errors import PermanentError
from pipeline.telemetry import SharingMetrics

if TYPE_CHECKING:
    from agent.sharing.worker import Worker


def slot_of(target: Target, workers: int) -> int:
    """Return whose target it is. The URL does not matter: series that are the same are always one worker's.

    (Discoveries that give a target another URL each time, with a signature for example, would else be scraped by two.)
    """
    parts = (target.config.job_name, *(part for pair in target.labels for part in pair))
    return int.from_bytes(blake2b("\xff".join(parts).encode(), digest_size=8).digest()) % workers


class Share:
    """One agent's share. `start` begins taking part, `close` gives everything back; `changed` is called in between.

    Without a `sharing` section it is everything.
    """

    def __init__(self, config: AgentConfig, agent: str, registry: CollectorRegistry) -> None:
        self._sharing = config.sharing
        self._agent = agent
        self._registry = registry
        cluster = config.global_config.external_labels.get(config.cluster_label, "")
        self._seed = f"{cluster}\xffshared"
        self._own = Always(agent)
        self._per_node: frozenset[str] = frozenset()
        self._turns: Mapping[int, Turn] = {}
        self._worker: Worker | None = None
        self._task: asyncio.Task[None] | None = None
        if self._sharing is not None and self._sharing.by == "ordinal" and self._sharing.ordinal is not None:
            self._turns = {self._sharing.ordinal: Always(self._seed)}

    @property
    def does_shared(self) -> bool:
        """Whether any of the cluster-wide work is this agent's now: others open no cluster-wide watch."""
        return self._sharing is None or bool(self._turns)

    def jobs(self, of_file: Iterable[ScrapeConfig], of_resources: Iterable[ScrapeConfig]) -> tuple[ScrapeConfig, ...]:
        """Return the jobs whose targets are to be discovered here now, node-local ones restricted to this node."""
        sharing = self._sharing
        if sharing is None:
            return (*of_file, *of_resources)
        of_file = tuple(of_file)
        self._per_node = frozenset(job.job_name for job in of_file if sharing.is_per_node(job))
        local = [job for job in of_file if job.job_name in self._per_node and sharing.does_nodes]
        shared = [job for job in (*of_file, *of_resources) if job.job_name not in self._per_node and self.does_shared]
        return (*(restricted(job, sharing.node_name) for job in local), *shared)

    def turn_of(self, target: Target) -> Turn | None:
        """Return this agent's turn at a target; None where it is another's. An `agent.scrape.turn.TurnOf`."""
        if self._sharing is None or target.config.job_name in self._per_node:
            return self._own
        return self._turns.get(slot_of(target, self._sharing.workers))

    def is_ours(self, target: Target) -> bool:
        """Tell whether a target is this agent's now."""
        return self.turn_of(target) is not None

    async def start(
        self,
        config: AgentConfig,
        session: aiohttp.ClientSession,
        changed: Callable[[], None],
        give_up: Callable[[], Awaitable[None]],
    ) -> None:
        """Take part from now on, in a task of its own; raises PermanentError where the environment says too little."""
        sharing = self._sharing
        if sharing is None:
            return
        if reason := sharing.missing():
            raise PermanentError(reason)
        if sharing.by == "leases":
            shared = tuple(job for job in config.scrape_configs if not sharing.is_per_node(job))
            self._worker = self._open(sharing, sharing.lease_s(shared), session, changed, give_up)
            self._turns = self._worker.tenures
            self._task = asyncio.create_task(self._worker.run(), name="sharing")

    def _open(
        self,
        sharing: SharingConfig,
        lease_s: int,
        session: aiohttp.ClientSession,
        changed: Callable[[], None],
        give_up: Callable[[], Awaitable[None]],
    ) -> "Worker":
        # Only an agent that shares pays for what that takes.
        from agent.discovery.kubernetes import ApiServer, Kubeconfig, Timing, in_cluster
        from agent.sharing.view import Terms
        from agent.sharing.worker import Worker

        find = Kubeconfig(sharing.kubeconfig_file) if sharing.kubeconfig_file else in_cluster
        # Holders renew all the time: a watch that is silent for two leases is none.
        timing = Timing(answer_s=max(2.0, lease_s / 3), silence_s=2.0 * lease_s, backoff_s=0.3, max_backoff_s=lease_s)
        server = ApiServer(find, session, timing)
        namespace = sharing.namespace or server.cluster.namespace
        if not namespace:
            raise PermanentError("sharing needs a namespace for its Leases: set sharing.namespace")
        # A process that was killed and started again is another one: the first may still have a scrape under way.
        me = f"{self._agent}/{secrets.token_hex(4)}"
        return Worker(
            sharing.name,
            Terms(me, sharing.workers, lease_s),
            server,
            namespace,
            SharingMetrics(self._registry),
            seed=self._seed,
            changed=changed,
            give_up=give_up,
        )

    async def close(self) -> None:
        """Give every slot back, once its scrapes have ended."""
        if self._worker is not None and self._task is not None:
            await self._worker.close()
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def ready(self) -> str | None:
        """Return None while it works; an API server that is down is no reason."""
        return "sharing has ended" if self._task is not None and self._task.done() else None

    def status(self) -> dict[str, Any]:
        """Return how the work is shared, as this agent knows it."""
        if self._sharing is None:
            return {"by": None, "slots": []}
        status: dict[str, Any] = {"by": self._sharing.by, "name": self._sharing.name, "held": sorted(self._turns)}
        if self._worker is not None:
            status |= self._worker.status()
        return status
