"""What the ledger says, in the shape of `pronoia status --json`: per cluster and sink, over all partitions."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ingester.ledger import Counts
from ingester.progress import Progress


@dataclass(frozen=True, slots=True)
class Standing:
    """One partition of one sink: its progress, and how far behind it is."""

    sink: str
    signal: str
    progress: Progress
    lag_s: float


def summarise(standings: Iterable[Standing], sinks: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return the `clusters` of the status; `sinks` are (name, signal) of every sink that has to be shown."""
    counts: dict[tuple[str, str, str], Counts] = {}
    rates: dict[tuple[str, str, str], float] = {}
    lags: dict[tuple[str, str, str], float] = {}
    for standing in standings:
        for cluster, partial in standing.progress.ledger.items():
            key = (cluster, standing.signal, standing.sink)
            counts.setdefault(key, Counts()).add(partial)
            rates[key] = rates.get(key, 0.0) + standing.progress.rates.get(cluster, 0.0)
            lags[key] = max(lags.get(key, 0.0), standing.lag_s)
    out = []
    for cluster in sorted({cluster for cluster, _, _ in counts}):
        signals: dict[str, Any] = {}
        for name, signal in sinks:
            key = (cluster, signal, name)
            if key not in counts:
                continue
            part = signals.setdefault(signal, {"received": 0, "sinks": {}})
            part["received"] = max(part["received"], counts[key].received)
            part["sinks"][name] = _sink(counts[key], rates[key], lags[key])
        out.append({"name": cluster, "signals": signals})
    return out


def _sink(counts: Counts, rate: float, lag_s: float) -> dict[str, Any]:
    return {
        "delivered": counts.delivered,
        "rejected": counts.rejected,
        "missing": counts.missing,
        "duplicated": counts.duplicated,
        "lag_s": round(lag_s, 3),
        "rate": round(rate, 1),
        "missing_records": counts.missing_records,
        "duplicated_records": counts.duplicated_records,
        "delivered_before": counts.already,
    }
