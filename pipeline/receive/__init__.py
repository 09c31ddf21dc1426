"""Requests that the agent and the gateway both take: what a body means, without a listener."""
