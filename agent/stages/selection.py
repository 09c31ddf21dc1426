"""Stages that decide which lines go on: `match`, `drop`, `sampling`.

Source: promtail, stages/match.go, drop.go, sampling.go.
"""

from collections.abc import Callable

from agent.config.stage_selection import DropStage, SamplingStage
from agent.logs.entry import Entry
from agent.stages.lang.regex import compile_regex
from agent.stages.lang.selector import Selector
from agent.stages.step import UNKNOWN, NeedsLine, Run, Step, Then, chain
from agent.stages.values import as_text


def match_step(selector: Selector, steps: tuple[Step, ...], *, drops: bool, reason: str) -> Step:
    """Return the `match` stage: what the selector takes is dropped, or goes through `steps`."""

    settled = not selector.line and all(step.by_labels for step in steps)

    def bind(then: Then, run: Run) -> Then:
        inner = None if drops else chain(steps, then, run)

        def run_match(entry: Entry) -> None:
            labels = entry.labels
            for condition in selector.labels:
                if not condition.on_label(labels.get(condition.name, "")):
                    then(entry)
                    return
            if not settled and entry.line is UNKNOWN:
                raise NeedsLine
            for condition in selector.line:
                if not condition.on_line(entry.line):
                    then(entry)
                    return
            if inner is not None:
                # The nested stages see all labels as extracted values, too, as they are now.
                entry.extracted.update(labels)
                inner(entry)
            else:
                run.drop(reason)

        return run_match

    return Step(bind, by_labels=True)


def drop_step(config: DropStage) -> Step:
    """Return the `drop` stage."""
    reason = config.drop_counter_reason or "drop_stage"
    conditions = list(_conditions(config))

    def bind(then: Then, run: Run) -> Then:
        def run_drop(entry: Entry) -> None:
            for condition in conditions:
                if not condition(entry, run):
                    then(entry)
                    return
            run.drop(reason)

        return run_drop

    return Step(bind)


Condition = Callable[[Entry, Run], bool]


def _conditions(config: DropStage) -> list[Condition]:
    conditions: list[Condition] = []
    if (longer := config.longer_than) is not None:
        conditions.append(lambda entry, run: longer < len(entry.line) * 4 and longer < len(entry.line.encode()))
    if (older_ns := config.older_than) is not None:
        conditions.append(lambda entry, run: entry.time_ns < run.now_ns - older_ns)
    matches: Callable[[str], bool] | None = None
    if config.expression is not None:
        matches = compile_regex(config.expression).matches
    elif (value := config.value) is not None:
        matches = lambda text: text == value  # noqa: E731 # one of two functions
    if config.source is None:
        if matches is not None:
            in_line = matches
            conditions.append(lambda entry, run: in_line(entry.line))
    elif matches is None:
        sources = config.source
        conditions.append(lambda entry, run: all(source in entry.extracted for source in sources))
    else:
        conditions.append(_joined(config.source, ";" if config.separator is None else config.separator, matches))
    return conditions


def _joined(sources: tuple[str, ...], separator: str, matches: Callable[[str], bool]) -> Condition:
    def condition(entry: Entry, run: Run) -> bool:
        texts = []
        for source in sources:
            if source in entry.extracted:
                text = as_text(entry.extracted[source])
                if text is None:
                    return False
                texts.append(text)
        return matches(separator.join(texts))

    return condition


def sampling_step(config: SamplingStage, random: Callable[[], float]) -> Step:
    """Return the `sampling` stage; `random` gives numbers from 0 to below 1."""
    reason, rate = config.drop_counter_reason or "sampling_stage", config.rate

    def bind(then: Then, run: Run) -> Then:
        def run_sampling(entry: Entry) -> None:
            if random() < rate:
                then(entry)
            else:
                run.drop(reason)

        return run_sampling

    return Step(bind)
