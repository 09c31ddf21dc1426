"""The embedded store: time series in one SQLite file, for `pronoia up`."""

from pipeline.store.config import StoreConfig
from pipeline.store.engine import Appended
from pipeline.store.queries import Chart, Found, Latest, Points, Summary
from pipeline.store.store import Store

__all__ = ["Appended", "Chart", "Found", "Latest", "Points", "Store", "StoreConfig", "Summary"]
