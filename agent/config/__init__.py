"""The agent's configuration: Prometheus' own file, and what Pronoia adds to it."""
