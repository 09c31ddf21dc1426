"""`limit`: no more lines than a rate allows. Source: promtail, stages/limit.go; golang.org/x/time/rate.

The sources of a job share one limit, as in promtail. Where promtail lets a line wait, the line goes on here and its
source is not read again before the rate allows it (`Run.pause_s`): nothing is held back that a restart could lose.
"""

from typing import Final

from agent.config.stage_selection import LimitStage
from agent.logs.entry import Entry
from agent.stages.step import Run, Step, Then

REASON: Final = "ratelimit_drop_stage"


class Bucket:
    """Tokens that come at a rate, up to `burst` of them; each line takes one."""

    __slots__ = ("_at_ns", "_burst", "_rate", "tokens")

    def __init__(self, rate: float, burst: int, now_ns: int) -> None:
        self._rate, self._burst, self._at_ns = rate, burst, now_ns
        self.tokens = float(burst)

    def _fill(self, now_ns: int) -> None:
        # A clock that is set back gives nothing and takes nothing.
        if now_ns > self._at_ns:
            self.tokens = min(self._burst, self.tokens + (now_ns - self._at_ns) * self._rate / 1e9)
        self._at_ns = now_ns

    def allows(self, now_ns: int) -> bool:
        """Take a token if there is one."""
        self._fill(now_ns)
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def owes_s(self, now_ns: int) -> float:
        """Take a token, whether there is one or not; return how long until it will have been there."""
        self._fill(now_ns)
        self.tokens -= 1
        return max(0.0, -self.tokens / self._rate)


def limit_step(config: LimitStage) -> Step:
    """Return the `limit` stage."""
    buckets: dict[str | None, Bucket] = {}
    rate, burst, label = config.rate, config.burst, config.by_label_name
    most = config.max_distinct_labels

    def bucket(of: str | None, now_ns: int) -> Bucket:
        found = buckets.pop(of, None)
        if found is None:
            found = Bucket(rate, burst, now_ns)
            if len(buckets) >= most:
                del buckets[next(iter(buckets))]
        # Behind all others: the one in front has not been asked for longest.
        buckets[of] = found
        return found

    def bind(then: Then, run: Run) -> Then:
        def run_limit(entry: Entry) -> None:
            value = entry.labels.get(label) if label else None
            if label and value is None:
                then(entry)
                return
            of = bucket(value, run.now_ns)
            if config.drop:
                if of.allows(run.now_ns):
                    then(entry)
                else:
                    run.drop(REASON)
                return
            run.pause_s = max(run.pause_s, of.owes_s(run.now_ns))
            then(entry)

        return run_limit

    return Step(bind)
