"""Logs: what inputs read becomes entries by stages, is kept in the buffer beside how far was read, and is sent."""
