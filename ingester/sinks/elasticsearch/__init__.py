"""The Elasticsearch sink: logs or metrics, into Elasticsearch 8 or OpenSearch 2. `build.build` makes one."""
