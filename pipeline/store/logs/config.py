"""The configuration of the embedded store of logs."""

from pipeline.store.config import StoreConfig


class LogStoreConfig(StoreConfig):
    """Where the embedded store keeps its log entries, how long, and how much of the disk they may take."""
