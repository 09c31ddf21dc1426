"""Sends what the buffer holds: to a gateway (gRPC or HTTP), or straight to remote write."""
