"""Runs in each target cluster: finds targets, scrapes them, buffers on disk, pushes."""
