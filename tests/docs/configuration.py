"""The tables of docs/configuration.md, made from the code: `python -m tests.docs.configuration` writes them anew."""

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined

from agent.config.agent import AgentConfig, BufferConfig, GatewayClientConfig
from agent.config.kubernetes import AttachMetadata, KubernetesSdConfig, NamespaceDiscovery, SelectorConfig
from agent.config.lists import FileSdConfig, HttpSdConfig, StaticConfig
from agent.config.scrape import GlobalConfig, ScrapeConfig
from agent.config.sharing import SharingConfig
from agent.config.store import StoreGlobals, StoreSections
from agent.config.unsupported import REASONS
from pipeline.config import Address, format_duration
from pipeline.http_config import Authorization, BasicAuth, Header, HttpClientConfig, OAuth2, TlsConfig
from pipeline.relabel import RelabelConfig
from pipeline.send.config import MetadataConfig, QueueConfig, RemoteWriteConfig
from pipeline.tracing import TracingConfig

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
SECTIONS: dict[str, tuple[type[BaseModel], type[BaseModel] | None]] = {
    "Top level": (AgentConfig, None),
    "`gateway`": (GatewayClientConfig, None),
    "`buffer`": (BufferConfig, None),
    "`global`": (GlobalConfig, None),
    "`scrape_configs`, each": (ScrapeConfig, HttpClientConfig),
    "`static_configs`, each": (StaticConfig, None),
    "`file_sd_configs`, each": (FileSdConfig, None),
    "`http_sd_configs`, each": (HttpSdConfig, HttpClientConfig),
    "`kubernetes_sd_configs`, each": (KubernetesSdConfig, HttpClientConfig),
    "`namespaces`": (NamespaceDiscovery, None),
    "`selectors`, each": (SelectorConfig, None),
    "`attach_metadata`": (AttachMetadata, None),
    "`relabel_configs`, `metric_relabel_configs`, `write_relabel_configs`, each": (RelabelConfig, None),
    "`sharing`": (SharingConfig, None),
    "`remote_write`, each": (RemoteWriteConfig, HttpClientConfig),
    "`queue_config`": (QueueConfig, None),
    "`metadata_config`": (MetadataConfig, None),
    "`tracing`": (TracingConfig, None),
    "Every HTTP client (scrape jobs, `http_sd_configs`, `remote_write`)": (HttpClientConfig, None),
    "`basic_auth`": (BasicAuth, None),
    "`authorization`": (Authorization, None),
    "`oauth2`": (OAuth2, None),
    "`tls_config`": (TlsConfig, None),
    "`http_headers`, by name": (Header, None),
}


def tables() -> str:
    """Return all tables, as they stand between the page's two marks."""
    out = []
    for title, (model, without) in SECTIONS.items():
        fields = dict(model.model_fields)
        if without is not None:
            fields = {
                name: field
                for name, field in fields.items()
                if name not in without.model_fields or field.default != without.model_fields[name].default
            }
        keys = ", ".join(f"`{field.alias or name}`{_default(field)}" for name, field in fields.items())
        more = " and the keys of every HTTP client" if without is not None else ""
        out.append(f"| {title} | {keys}{more} |")
    left = [*StoreSections.model_fields, *(f"global.{name}" for name in StoreGlobals.model_fields)]
    refused = dict.fromkeys(REASONS)
    return "\n".join(
        [
            "| section | keys (and what they are where left out) |",
            "|---|---|",
            *out,
            "",
            "Read and left alone, with one warning: " + ", ".join(f"`{name}`" for name in left) + ".",
            "",
            "Refused by name: " + ", ".join(f"`{name}`" for name in refused) + ".",
            "",
        ]
    )


def _default(field: Any) -> str:
    value = field.default
    if value is PydanticUndefined or value is None or isinstance(value, BaseModel | SecretStr):
        return f" ({value.host}:{value.port})" if isinstance(value, Address) else ""
    if value in ("", (), 0) and value is not False:
        return ""
    if isinstance(value, bool):
        return f" ({str(value).lower()})"
    if isinstance(value, float):
        return f" ({format_duration(value)})"
    if isinstance(value, tuple):
        return f" ({', '.join(map(str, value))})"
    return f" ({value})"


def page(text: str) -> str:
    """Return the page with its tables as the code has them."""
    return re.sub(r"(<!-- tables -->\n).*(<!-- end -->)", lambda m: m[1] + tables() + m[2], text, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
