"""The Loki sink: how it is configured, and what it is made of."""
