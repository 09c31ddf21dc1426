"""Loki as a receiver: how it is told, what its answers mean, and how each entry gets there once."""
