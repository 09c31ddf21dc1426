"""What an error of the Kafka client means to us, told by Kafka's own error codes: nothing is imported for it."""

import contextlib
import ssl
from collections.abc import Iterator
from typing import Final

from pipeline.errors import PermanentError, PipelineError, TransientError

OUT_OF_RANGE: Final = 1
TOO_LARGE: Final = frozenset({10, 18})
_REFUSED: Final = {
    29: "the brokers do not let us use this topic (topic authorization)",
    30: "the brokers do not let us use this consumer group (group authorization)",
    31: "the brokers do not let us do this (cluster authorization)",
    33: "the brokers do not offer this SASL mechanism",
    58: "the brokers refuse our user or password (SASL)",
}
_MISCONFIGURED: Final = {
    17: "this is no legal topic name",
    37: "this number of partitions is not possible",
    38: "there are fewer brokers than replicas asked for: set log.kafka.replication and min_in_sync lower",
    40: "the brokers refuse a topic setting",
    44: "a policy of the brokers forbids it",
}


def explain(error: BaseException, doing: str) -> PipelineError:
    """Return the error to raise: permanent where only another configuration can help, else transient.

    What is neither Kafka's nor the network's is a fault of ours, and raised as it is.
    """
    if isinstance(error, PipelineError):
        return error
    of_kafka = type(error).__module__.startswith("aiokafka")
    if not of_kafka and not isinstance(error, OSError | TimeoutError | EOFError):
        raise error
    code = getattr(error, "errno", None) if of_kafka else None
    known = _REFUSED.get(code or 0) or _MISCONFIGURED.get(code or 0)
    name = type(error).__name__
    if known is None and name in ("AuthenticationFailedError", "AuthenticationMethodNotSupported"):
        known = _REFUSED[58 if name == "AuthenticationFailedError" else 33]
    if known is None and (tls := _tls_fault(error)) is not None:
        known = tls
    if known is not None:
        return PermanentError(f"{doing}: {known}: {error}")
    return TransientError(f"{doing}: {name}: {error}")


def _tls_fault(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return "the broker's certificate is not trusted: look at log.kafka.tls.ca_file"
        if isinstance(error, ssl.SSLError):
            return "TLS failed: is this the brokers' TLS port, and do they want a certificate (log.kafka.tls)?"
        error = error.__cause__ or error.__context__
    return None


@contextlib.contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn what the client raises into PipelineError."""
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:
        raise explain(error, doing) from error
