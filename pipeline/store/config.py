"""The configuration of the embedded store."""

from pydantic import model_validator

from pipeline.config import Bytes, FilePath, Seconds, Section

LEAST_BYTES = 64 * 1024 * 1024


class StoreConfig(Section):
    """Where the embedded store keeps its samples, how long, and how much of the disk they may take."""

    path: FilePath
    max_age: Seconds = 7 * 86_400.0
    max_bytes: Bytes = 1 << 30

    @model_validator(mode="after")
    def _check(self) -> "StoreConfig":
        if self.max_bytes < LEAST_BYTES:
            raise ValueError("max_bytes must be 64MiB or more")
        if self.max_age <= 0:
            raise ValueError("max_age must be more than 0")
        return self
