"""Reads the log as one consumer group a sink, delivers, settles, and keeps the ledger."""
