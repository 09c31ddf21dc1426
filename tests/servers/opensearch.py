"""A real OpenSearch for tests; not in this distribution: the security and index management plug-ins."""

from typing import ClassVar

from tests.servers.search import Product, SearchServer

VERSION = "2.19.6"


class OpenSearch(SearchServer):
    """One node of OpenSearch."""

    product: ClassVar[Product] = Product(
        name="opensearch",
        group="org.opensearch.distribution.integ-test-zip",
        version=VERSION,
        environment="OPENSEARCH",
        settings={},
    )
