"""From configuration to the log itself: Kafka or SQLite, whichever the file names."""

from pipeline.errors import PermanentError
from pipeline.log.config import LogConfig
from pipeline.log.interface import Log
from pipeline.telemetry import LogMetrics


def open_log(config: LogConfig, metrics: LogMetrics) -> Log:
    """Return the configured log, not yet started; raises PermanentError where a part of Pronoia is not installed."""
    if config.sqlite is not None:
        from pipeline.log.sqlite import SqliteLog

        return SqliteLog(
            config.sqlite.path,
            metrics,
            max_bytes=config.sqlite.max_bytes,
            max_pending_bytes=config.sqlite.max_pending_bytes,
            discard_oldest=True,
        )
    assert config.kafka is not None
    try:
        # An agent installs without a Kafka client, so this import stands where it is needed.
        from pipeline.log.kafka import KafkaLog
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("aiokafka"):
            raise
        raise PermanentError("a Kafka log needs more than is installed: pip install 'pronoia[gateway]'") from error
    return KafkaLog(config.kafka, metrics)
