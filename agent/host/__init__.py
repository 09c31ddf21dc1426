"""This machine's own metrics, named and labelled the way node_exporter does, so that its dashboards and alerts fit.

For `pronoia up` where no node_exporter answers: `page` reads the machine, `HostPage` serves that on loopback.
"""

from agent.host.page import page
from agent.host.server import NODE_EXPORTER, HostPage, node_exporter_answers

__all__ = ["NODE_EXPORTER", "HostPage", "node_exporter_answers", "page"]
