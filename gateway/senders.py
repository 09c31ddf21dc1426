"""Who sends: credentials to clusters, and how much each cluster may send.

A token is looked up by a keyed hash of it, so that the time of a lookup tells nothing about the tokens there are.
"""

import base64
import binascii
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from gateway.codec import CODECS
from gateway.config import ClusterConfig, GatewayConfig, RateLimits
from gateway.refusal import Refusal
from pipeline.errors import PermanentError
from pipeline.wire.envelope import Signal, lane_of
from pipeline.wire.scan import Known, Memory

_MAX_UNPROVEN: Final = 64
"""Clusters remembered where they are taken from the data: a bound, not a limit."""


@dataclass(slots=True)
class Bucket:
    """A token bucket that may go into debt: what came is counted in full, what comes next waits until it is paid."""

    per_second: float
    burst_s: float
    level: float = 0.0
    filled_s: float = 0.0

    def __post_init__(self) -> None:
        self.level = self.per_second * self.burst_s

    def wait_s(self, now_s: float) -> float:
        """Return 0 when something may be taken, or the seconds until then."""
        self.level = min(self.per_second * self.burst_s, self.level + self.per_second * (now_s - self.filled_s))
        self.filled_s = now_s
        return max(0.0, -self.level / self.per_second)

    def take(self, amount: int) -> None:
        """Count what was taken."""
        self.level -= amount


@dataclass(slots=True)
class Sender:
    """One cluster as a sender: its envelopes' fields, what was read of its labels by signal, and its rates.

    `proven` is false where nobody's identity is asked for: the cluster is then what the data says.
    """

    cluster: str
    tenant: str
    lane: int
    known: Mapping[Signal, Known]
    proven: bool
    bytes_rate: Bucket | None = None
    item_rates: Mapping[Signal, Bucket] = field(default_factory=dict)
    value: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.value = self.cluster.encode()

    def throttled(self, now_s: float, signal: Signal | None) -> Refusal | None:
        """Return why and how long this sender has to wait, or None. Of no signal yet only bytes are looked at."""
        rates = [(self.bytes_rate, "bytes")]
        if signal is not None:
            rates.append((self.item_rates.get(signal), CODECS[signal].items))
        for bucket, what in rates:
            if bucket is not None and (wait_s := bucket.wait_s(now_s)) > 0:
                reason = f"cluster {self.cluster} sends more than {bucket.per_second:.0f} {what} a second"
                return Refusal(429, reason, wait_s)
        return None

    def took(self, size_bytes: int, signal: Signal, items: int) -> None:
        """Count what was received."""
        if self.bytes_rate is not None:
            self.bytes_rate.take(size_bytes)
        if signal in self.item_rates:
            self.item_rates[signal].take(items)


class Senders:
    """Every credential's cluster; made anew when the configuration or a token file changes."""

    def __init__(self, config: GatewayConfig, clock: Callable[[], float]) -> None:
        """Read the token files; raises PermanentError for one that cannot be used, or a token of two clusters."""
        self._config = config
        self._clock = clock
        self._memory = Memory(config.identity_cache)
        self._secret = secrets.token_bytes(32)
        self._by_token: dict[bytes, Sender] = {}
        self._by_certificate: dict[str, Sender] = {}
        self._unproven: OrderedDict[str, Sender] = OrderedDict()
        self.ask = config.clusters is not None
        for cluster in config.clusters or ():
            self._add(cluster)

    def authenticate(self, authorization: str | None, certificate_names: Iterable[str] = ()) -> Sender | Refusal | None:
        """Return who sends; None where nobody's identity is asked for, and `of_cluster` says who it is."""
        if not self.ask:
            return None
        if authorization:
            token = _token_of(authorization)
            sender = self._by_token.get(self._digest(token)) if token else None
            return sender or Refusal(401, "the token is not known")
        for name in certificate_names:
            if (sender := self._by_certificate.get(name)) is not None:
                return sender
        return Refusal(401, "neither a token nor a certificate that stands for a cluster")

    def of_cluster(self, cluster: str) -> Sender:
        """Return the sender for a cluster that was taken from the data."""
        sender = self._unproven.get(cluster)
        if sender is None:
            sender = self._unproven[cluster] = self._make(cluster, "", RateLimits(), proven=False)
            if len(self._unproven) > _MAX_UNPROVEN:
                self._unproven.popitem(last=False)
        self._unproven.move_to_end(cluster)
        return sender

    def _make(self, cluster: str, tenant: str, limits: RateLimits, *, proven: bool) -> Sender:
        now_s = self._clock()
        per_second = {Signal.METRICS: limits.samples_per_second, Signal.LOGS: limits.entries_per_second}
        return Sender(
            cluster,
            tenant,
            lane_of(cluster, self._config.lanes),
            {signal: Known(self._memory) for signal in CODECS},
            proven,
            Bucket(limits.bytes_per_second, limits.burst, filled_s=now_s) if limits.bytes_per_second else None,
            {signal: Bucket(rate, limits.burst, filled_s=now_s) for signal, rate in per_second.items() if rate},
        )

    def _add(self, cluster: ClusterConfig) -> None:
        sender = self._make(cluster.name, cluster.tenant, cluster.limits, proven=True)
        for token in _tokens(cluster):
            digest = self._digest(token)
            if self._by_token.setdefault(digest, sender) is not sender:
                raise PermanentError(
                    f"clusters {self._by_token[digest].cluster} and {cluster.name} have the same token"
                )
        for name in cluster.certificates:
            if self._by_certificate.setdefault(name, sender) is not sender:
                other = self._by_certificate[name].cluster
                raise PermanentError(f"clusters {other} and {cluster.name} have the same certificate name {name}")

    def _digest(self, token: str) -> bytes:
        return blake2b(token.encode(), key=self._secret, digest_size=32).digest()


def _tokens(cluster: ClusterConfig) -> list[str]:
    tokens = [token.get_secret_value().strip() for token in cluster.tokens]
    if cluster.token_file is None:
        return tokens
    try:
        lines = cluster.token_file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PermanentError(f"cluster {cluster.name}: {cluster.token_file} cannot be read: {error}") from error
    found = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not found:
        raise PermanentError(f"cluster {cluster.name}: {cluster.token_file} holds no token")
    return tokens + found


def _token_of(authorization: str) -> str | None:
    """Return the token of a Bearer credential, or the password of a Basic one, whatever its user is called."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return None
    return None
