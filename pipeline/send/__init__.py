"""Sending to stores: remote write and Loki, and what their senders share."""
