"""From the configuration to the sink: what needs the libraries, imported when such a sink is configured."""

from ingester.config import SinkConfig
from ingester.sinks.elasticsearch.client import Client
from ingester.sinks.elasticsearch.documents import Documents
from ingester.sinks.elasticsearch.logs import LogDocuments
from ingester.sinks.elasticsearch.metrics import MetricDocuments
from ingester.sinks.elasticsearch.setup import Setup
from ingester.sinks.elasticsearch.sink import ElasticsearchSink
from ingester.sinks.kinds import SinkTools


def build(config: SinkConfig, tools: SinkTools) -> ElasticsearchSink:
    """Build the sink that the configuration describes."""
    section = config.elasticsearch
    assert section is not None
    client = Client(section, clock=tools.clock)
    documents: Documents = LogDocuments(section) if section.signal == "logs" else MetricDocuments(section)
    return ElasticsearchSink(config.name, section, client, documents, Setup(config.name, section, client), tools.clock)
