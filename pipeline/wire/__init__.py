"""Encodings as pure functions on bytes: no I/O, no clock, no logging."""
