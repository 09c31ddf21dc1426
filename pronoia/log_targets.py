"""What `pronoia targets` says of logs: which files each job reads, and why what was found is left out."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent.config import AgentConfig
from agent.config.sharing import restricted
from agent.discovery import Tools
from agent.job import JobTargets
from agent.logs.api import describe, describe_way
from agent.logs.job import LogJob, LogTarget
from agent.tail.scan import Wanted, scan
from agent.target import Dropped
from agent.targets import find_each_once
from agent.targets_api import describe_dropped
from pronoia.explained import show
from pronoia.words import counted

_SHORT: Final = 20
_SHORT_FILES: Final = 5


@dataclass(frozen=True, slots=True)
class Files:
    """Which files a job's targets name, in the targets' order, and why what is there is not read."""

    of: Sequence[Sequence[str]]
    refused: Sequence[str]


# asyncio.run has a repr made of its result (see `pronoia.targets`).
@dataclass(frozen=True, slots=True, repr=False)
class LogReport:
    """What was found for jobs of logs; `others` are those that discover nothing, by the key of their source."""

    found: Mapping[str, JobTargets[LogTarget]]
    files: Mapping[str, Files]
    jobs: Mapping[str, LogJob]
    others: Mapping[str, str]

    @property
    def names(self) -> Iterator[str]:
        """Every job's name."""
        yield from self.jobs
        yield from self.others

    def as_json(self, *, explained: bool) -> dict[str, Any]:
        """Return what docs/targets.md describes."""
        active = [each for name in sorted(self.found) for each in self._active(name)]
        dropped = [one for name in sorted(self.found) for one in self.found[name].dropped]
        if explained:
            return {
                "activeTargets": [self._way(target) for target, _ in active],
                "droppedTargets": [self._way(one) for one in dropped],
            }
        return {
            "activeTargets": [{**describe(target), "files": list(files)} for target, files in active],
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

    def _active(self, name: str) -> Iterator[tuple[LogTarget, Sequence[str]]]:
        return zip(self.found[name].active, self.files[name].of, strict=True)

    def _job(self, name: str, found: JobTargets[LogTarget]) -> Iterator[str]:
        files = self.files[name]
        targets, named = len(found.active), len({path for paths in files.of for path in paths})
        of_files = not self.jobs[name].config.docker_sd_configs
        read = f"{counted(targets, 'target')} with {counted(named, 'file')}" if of_files else f"{targets:,} read"
        yield f"{name}: {read}, {found.dropped_count:,} left out"
        for number, (target, paths) in enumerate(self._active(name)):
            if number == _SHORT:
                yield f"  … and {targets - _SHORT:,} more: --json has all"
                break
            yield f"  {target.path or 'a container'}  {show(target.labels)}"
            yield from (f"    {path}" for path in paths[:_SHORT_FILES])
            if len(paths) > _SHORT_FILES:
                yield f"    … and {len(paths) - _SHORT_FILES:,} more: --json has all"
            if target.path and not paths:
                yield "    no such file"
        yield from (f"  not read: {reason}" for reason in files.refused[:_SHORT_FILES])
        if len(files.refused) > _SHORT_FILES:
            yield f"  … and {len(files.refused) - _SHORT_FILES:,} more that are not read"
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
    found = await find_each_once(list(jobs.values()), tools)
    files = {name: await asyncio.to_thread(_files, targets.active) for name, targets in found.items()}
    return LogReport(found, files, jobs, others)


def _files(targets: Sequence[LogTarget]) -> Files:
    """Look for the files of a job's targets, as it will; a file of two targets with equal labels is the first one's."""
    of: list[list[str]] = [[] for _ in targets]
    numbers = [number for number, target in enumerate(targets) if target.path]
    sources = [targets[number].source for number in numbers]
    seen = scan([Wanted.of(one) for one in sources], {})
    for path in sorted(seen.files):
        for index in seen.files[path]:
            of[numbers[index]].append(path)
    return Files(of, [seen.refused[path] for path in sorted(seen.refused)])
