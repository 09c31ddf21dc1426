"""Sharing the cluster-wide work: a few agents, elected by Leases, discover and scrape it; each target is one's."""
