"""The index template: how the documents' fields are indexed. Pure: configuration in, a request's body out.

Only declared fields are indexed (`dynamic: false`), and labels are one field each way (`flattened`, in OpenSearch
`flat_object`), so that no label can make the mapping grow. Metrics alone have a field for every name, up to a bound.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ingester.sinks.elasticsearch.config import ElasticsearchConfig

VERSION: Final = 1
"""Of the template; a higher one replaces a lower."""
PRIORITY: Final = 250
"""Above the templates that come with the products (100 to 200)."""

# Lucene takes no term beyond 32,766 bytes, and a character may have four.
_KEYWORD: Final = {"type": "keyword", "ignore_above": 8191}
_LABELS: Final = {"type": "flattened", "ignore_above": 8000}
_LABELS_OPENSEARCH: Final = {"type": "flat_object"}

Template = dict[str, Any]


def template_name(config: ElasticsearchConfig) -> str:
    """Return what the template is called."""
    return f"{config.index_prefix}-{config.signal}"


def make_template(config: ElasticsearchConfig, *, opensearch: bool, lifecycle: bool = True) -> Template:
    """Return the body of `PUT /_index_template/…`; `lifecycle`: the server knows ILM."""
    settings: dict[str, Any] = {
        "index.number_of_shards": config.shards,
        "index.number_of_replicas": config.replicas,
        "index.refresh_interval": config.refresh_interval,
    }
    if config.lifecycle_policy:
        settings["index.lifecycle.name"] = config.lifecycle_policy
    labels = _LABELS_OPENSEARCH if opensearch else _LABELS
    mappings = _MAPPINGS[config.signal](config, labels, opensearch)
    if config.signal == "metrics":
        settings["index.mapping.total_fields.limit"] = config.max_fields
        if not opensearch:
            # A name too many is kept and not indexed; OpenSearch refuses the document instead.
            settings["index.mapping.total_fields.ignore_dynamic_beyond_limit"] = True
    body: Template = {
        "index_patterns": [f"{template_name(config)}-*"],
        "priority": PRIORITY,
        "version": VERSION,
        "template": {"settings": settings, "mappings": mappings},
    }
    if config.data_stream:
        body["data_stream"] = {}
    body["_meta"] = {"managed_by": "pronoia", "digest": _digest(body)}
    if not lifecycle:
        settings.pop("index.lifecycle.name", None)
    return body


def is_current(found: Mapping[str, Any], wanted: Template) -> bool:
    """Tell whether a template that is there need not be put: it is newer, or made of the same configuration."""
    version = found.get("version")
    if not isinstance(version, int) or version < VERSION:
        return False
    return version > VERSION or (found.get("_meta") or {}).get("digest") == wanted["_meta"]["digest"]


def _logs(config: ElasticsearchConfig, labels: Mapping[str, Any], opensearch: bool) -> dict[str, Any]:
    properties = {
        "@timestamp": {"type": "date_nanos"},
        # Lines are looked for by words; how often a word stands in one says nothing.
        "message": {"type": "text", "norms": False},
        **_common(labels),
        "metadata": labels,
        **dict.fromkeys(config.fields.values(), _KEYWORD),
    }
    return {"dynamic": False, "properties": properties}


def _metrics(config: ElasticsearchConfig, labels: Mapping[str, Any], opensearch: bool) -> dict[str, Any]:
    metrics: dict[str, Any] = {"type": "object", "dynamic": True}
    if not opensearch:
        # Names with dots in them are names, not paths: `a` and `a.b` may both be metrics.
        metrics["subobjects"] = False
    properties = {
        "@timestamp": {"type": "date"},
        **_common(labels),
        "metrics": metrics,
        "special": labels,
        "histograms": {"type": "object", "enabled": False},
    }
    # Values are averaged and added up, which takes no index.
    value = {"path_match": "metrics.*", "mapping": {"type": "double", "index": False}}
    return {"dynamic": False, "dynamic_templates": [{"values": value}], "properties": properties}


def _common(labels: Mapping[str, Any]) -> dict[str, Any]:
    names = ("orchestrator.cluster.name", "organization.id", "event.dataset")
    return {**dict.fromkeys(names, _KEYWORD), "labels": labels}


_MAPPINGS: Final = {"logs": _logs, "metrics": _metrics}


def _digest(body: Template) -> str:
    return hashlib.sha256(msgspec.json.encode(body, order="sorted")).hexdigest()[:16]
