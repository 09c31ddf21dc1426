"""What `pronoia targets` prints: a summary by job, or of each target that is asked for its way through the rules."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from agent.explain import Explanation, explain, indexed
from agent.explain_api import describe_explanation
from agent.job import Job, JobTargets
from agent.target import Dropped, Target
from agent.targets_api import describe, describe_dropped
from agent.targets_page import Row, has, rows
from pipeline.wire.remote_write import Labels
from pronoia.explained import explained, show

STATES: Final = ("active", "dropped", "unusable", "duplicate")
_SHORT: Final = 20
"""As many targets of a job are listed in the summary; of more a few, and how many there are."""
_FEW: Final = 5
_DETAILS: Final = 20
"""As many targets are explained as text."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, and which of it is asked for: of these states (all, if none), with all of these words."""

    found: Mapping[str, JobTargets[Target]]
    states: frozenset[str]
    words: tuple[str, ...]
    explained: bool

    def as_json(self) -> dict[str, Any]:
        """Return what docs/targets.md describes."""
        targets: dict[str, list[dict[str, Any]]] = {state: [] for state in STATES}
        if self.explained:
            for one in self._explanations():
                targets[one.state].append(describe_explanation(one))
        else:
            for row in self._rows():
                shown = describe(row.what) if isinstance(row.what, Target) else describe_dropped(row.what)
                targets[row.state].append(shown)
        return {
            "activeTargets": targets["active"],
            "droppedTargets": targets["dropped"] + targets["unusable"],
            "droppedTargetCounts": {name: job.dropped_count for name, job in sorted(self.found.items())},
            "duplicateTargets": targets["duplicate"],
        }

    def as_text(self) -> str:
        """Return the summary, or the explanations."""
        if not self.explained:
            mixed = self._mixed()
            return "\n".join(line for name in sorted(self.found) for line in self._job(name, mixed))
        lines, count = list[str](), sum(1 for _ in self._rows())
        for number, one in enumerate(self._explanations()):
            if number == _DETAILS:
                lines.append(
                    f"{count - number} more match; narrow it down with --job, --state and --target, or take --json"
                )
                break
            lines += [*explained(one), ""]
        return "\n".join(lines).rstrip() or "no target matches"

    def _rows(self, name: str | None = None) -> Iterator[Row]:
        for job in sorted(self.found) if name is None else (name,):
            for row in rows(self.found[job], lambda _: "active"):
                if row.state in (self.states or STATES) and has(row.what, self.words):
                    yield row

    def _explanations(self) -> Iterator[Explanation]:
        alike, jobs = indexed(self.found), dict[str, Job]()
        for row in self._rows():
            config = row.what.config
            job = jobs.setdefault(config.job_name, Job(config))
            one = explain(job, dict(row.what.discovered_labels), alike)
            # One that was found twice with the same labels cannot be told from the one that is scraped.
            yield replace(one, state="duplicate") if row.state == "duplicate" else one

    def _mixed(self) -> frozenset[Labels]:
        """Return the labels that more than one target has, in one job or in several."""
        counts = Counter(target.labels for job in self.found.values() for target in job.active)
        return frozenset(labels for labels, count in counts.items() if count > 1)

    def _job(self, name: str, mixed: frozenset[Labels]) -> Iterator[str]:
        job = self.found[name]
        unusable = sum(dropped.rule is None for dropped in job.dropped)
        counts = {"scraped": len(job.active), "dropped": job.dropped_count - unusable}
        more = {"unusable": unusable, "found twice": len(job.duplicates)}
        shown = [f"{count:,} {what}" for what, count in (counts | {w: c for w, c in more.items() if c}).items()]
        yield f"{name}: {', '.join(shown)}"
        targets = [row.what for row in self._rows(name) if isinstance(row.what, Target) and row.state == "active"]
        for target in targets[: len(targets) if len(targets) <= _SHORT else _FEW]:
            yield f"  {target.url}  {show(target.labels)}"
        if len(targets) > _SHORT:
            yield f"  … and {len(targets) - _FEW:,} more: --target TEXT looks for some, --json has all"
        same = [target for target in targets if target.labels in mixed]
        if same:
            yield f"  {len(same):,} with the labels of another target, so that their samples get mixed up:"
            yield f"    for example {same[0].url}  {show(same[0].labels)}"
        yield from self._left_out(name)

    def _left_out(self, name: str) -> Iterator[str]:
        left_out, examples = Counter[str](), dict[str, Dropped]()
        for row in self._rows(name):
            if isinstance(row.what, Dropped):
                left_out[row.what.reason] += 1
                examples.setdefault(row.what.reason, row.what)
        for reason, count in left_out.most_common():
            how = "unusable: " if examples[reason].rule is None else "dropped by "
            yield f"  {count:,} {how}{reason}"
            yield f"    {'for example ' if count > 1 else ''}{show(examples[reason].discovered_labels)}"
