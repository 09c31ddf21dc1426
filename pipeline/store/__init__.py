"""The embedded store: time series in one SQLite file, for `pronoia up`."""

from pipeline.store.config import StoreConfig
from pipeline.store.engine import Appended
from pipeline.store.store import Found, Latest, Points, Store

__all__ = ["Appended", "Found", "Latest", "Points", "Store", "StoreConfig"]
