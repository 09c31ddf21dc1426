"""How many streams a cluster has, so that one label with too many values does not take Loki down for all.

What counts are the streams that this process has delivered lately: after a restart it counts anew.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

_LOOK_EVERY_S: Final = 60.0


@dataclass(slots=True)
class ActiveStreams:
    """Counts streams by cluster. `told` is called with a cluster and how many streams of it are active."""

    most: int
    active_for_s: float
    told: Callable[[str, int], None] = lambda cluster, active: None
    _seen: dict[str, dict[int, float]] = field(default_factory=dict)
    """When a stream was last seen, by its labels' hash: a tenth of the memory that labels take."""
    _looked_s: float = 0.0

    def refuses(self, cluster: str, labels: bytes, now_s: float) -> str:
        """Count a stream as active; return why it is one too many, empty where it is not. Seconds of any clock."""
        if now_s - self._looked_s > _LOOK_EVERY_S:
            self._look(now_s)
        seen = self._seen.get(cluster)
        if seen is None:
            seen = self._seen[cluster] = {}
        stream = hash(labels)
        if stream not in seen:
            if len(seen) >= self.most:
                return (
                    f"cluster {cluster} has {len(seen)} active streams, and max_streams is {self.most}: a label has"
                    " too many values"
                )
            self.told(cluster, len(seen) + 1)
        seen[stream] = now_s
        return ""

    def _look(self, now_s: float) -> None:
        """Forget what is active no more."""
        self._looked_s = now_s
        for cluster, seen in list(self._seen.items()):
            kept = {stream: at_s for stream, at_s in seen.items() if now_s - at_s <= self.active_for_s}
            if len(kept) != len(seen):
                self.told(cluster, len(kept))
            if kept:
                self._seen[cluster] = kept
            else:
                del self._seen[cluster]
