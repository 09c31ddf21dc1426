"""What people look at: clusters, targets, lag, loss, dead letters, and any series of the embedded store."""

from console.config import ConsoleConfig
from console.service import Console
from console.sources import DeadLetterPage, DeadLetterRow, Sources

__all__ = ["Console", "ConsoleConfig", "DeadLetterPage", "DeadLetterRow", "Sources"]
