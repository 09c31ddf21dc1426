"""The embedded store of logs, for `pronoia up`: streams of lines in one SQLite file, with an index for search."""

from pipeline.store.logs.config import LogStoreConfig
from pipeline.store.logs.engine import Taken
from pipeline.store.logs.entry import LEVELS, Entry
from pipeline.store.logs.filters import Contains, Matches, TextFilter, parse_text
from pipeline.store.logs.query import Counts, Found, Page, Query, Summary, Tail
from pipeline.store.logs.store import LogStore

__all__ = [
    "LEVELS",
    "Contains",
    "Counts",
    "Entry",
    "Found",
    "LogStore",
    "LogStoreConfig",
    "Matches",
    "Page",
    "Query",
    "Summary",
    "Tail",
    "Taken",
    "TextFilter",
    "parse_text",
]
