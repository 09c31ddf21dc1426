"""A real Elasticsearch for tests; not in this distribution: ILM, the `_data_stream` API, ingest processors, painless.

async with Elasticsearch(settings={"indexing_pressure.memory.limit": "50kb"}) as server:
    await server.request("GET", "/_cluster/health")
"""

from typing import ClassVar

from tests.servers.search import Product, SearchServer

VERSION = "8.19.21"


class Elasticsearch(SearchServer):
    """One node of Elasticsearch."""

    product: ClassVar[Product] = Product(
        name="elasticsearch",
        group="org.elasticsearch.distribution.integ-test-zip",
        version=VERSION,
        environment="ES",
        settings={"xpack.security.enabled": "false"},
    )
