"""What `pronoia targets` says of logs: which files each job reads, and why what was found is left out."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from agent.config import AgentConfig
from agent.config.sharing import restricted
from agent.discovery import Tools
from agent.job import JobTargets
from agent.logs.api import describe, describe_way
from agent.logs.job import LogJob, LogTarget
from agent.target import Dropped
from agent.targets import find_each_once
from agent.targets_api import describe_dropped
from pronoia.explained import show

_SHORT: Final = 20


# asyncio.run has a repr made of its result (see `pronoia.targets`).
@dataclass(frozen=True, slots=True, repr=False)
class LogReport:
    """What was found for jobs of logs; `others` are those that discover nothing, by the key of their source."""

    found: Mapping[str, JobTargets[LogTarget]]
    jobs: Mapping[str, LogJob]
    others: Mapping[str, str]

    @property
    def names(self) -> Iterator[str]:
        """Every job's name."""
        yield from self.jobs
        yield from self.others

    def as_json(self, *, explained: bool) -> dict[str, Any]:
        """Return what docs/targets.md describes."""
        active = [target for name in sorted(self.found) for target in self.found[name].active]
        dropped = [one for name in sorted(self.found) for one in self.found[name].dropped]
        if explained:
            return {
                "activeTargets": [self._way(one) for one in active],
                "droppedTargets": [self._way(one) for one in dropped],
            }
        return {
            "activeTargets": [describe(target) for target in active],
            "droppedTargets": [describe_dropped(one) for one in dropped],
        }

    def _way(self, one: LogTarget | Dropped) -> dict[str, Any]:
        return describe_way(self.jobs[one.config.pool], dict(one.discovered_labels))

    def as_text(self) -> Iterator[str]:
        """Yield a summary by job."""
        for name, kind in sorted(self.others.items()):
            yield f"{name}: {kind}"
        for name in sorted(self.found):
            yield from self._job(name, self.found[name])

    def _job(self, name: str, found: JobTargets[LogTarget]) -> Iterator[str]:
        yield f"{name}: {len(found.active):,} read, {found.dropped_count:,} left out"
        for target in found.active[:_SHORT]:
            yield f"  {target.path or 'a container'}  {show(target.labels)}"
        if len(found.active) > _SHORT:
            yield f"  … and {len(found.active) - _SHORT:,} more: --json has all"
        examples = {dropped.reason: dropped for dropped in reversed(found.dropped)}
        for reason, count in Counter(dropped.reason for dropped in found.dropped).most_common():
            yield f"  {count:,} left out: {reason}"
            yield f"    {'for example ' if count > 1 else ''}{show(examples[reason].discovered_labels)}"


async def find_logs_once(config: AgentConfig, tools: Tools, names: frozenset[str], node: str) -> LogReport:
    """Try the discoveries of log jobs once, of these jobs (of all, if none is named) as `node`'s agent does."""
    assert config.logs is not None
    chosen = [job for job in config.logs.scrape_configs if not names or job.pool in names]
    others = {job.pool: job.input for job in chosen if job.input not in ("", "docker_sd_configs")}
    jobs = {job.pool: LogJob(restricted(job, node), node) for job in chosen if job.pool not in others}
    return LogReport(await find_each_once(list(jobs.values()), tools), jobs, others)
