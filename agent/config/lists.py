"""Targets that are listed: in the configuration itself, in files, or at a URL."""

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from agent.config.sd import Interval
from pipeline.config import FilePath, Seconds
from pipeline.http_config import HttpClientConfig, NullableSection
from pipeline.relabel import is_label_name


def _text_labels(labels: object) -> object:
    # YAML's !!binary may hold what is not UTF-8: such a key or value arrives as bytes.
    if isinstance(labels, dict):
        for name, value in labels.items():
            if not isinstance(name, str) or not is_label_name(name):
                raise ValueError(f"{_show(name)} is not a valid label name")
            if not (value is None or isinstance(value, str)):
                reason = "is not a valid label value" if isinstance(value, bytes) else "is no text"
                raise ValueError(f"{_show(value)} {reason}")
        return {name: value or "" for name, value in labels.items()}
    return labels


def _show(text: object) -> str:
    return f'"{text.decode(errors="backslashreplace") if isinstance(text, bytes) else text}"'


LabelMap = Annotated[dict[str, str], BeforeValidator(_text_labels)]


def parse_http_url(text: str) -> str:
    """Return the URL if HTTP can ask for it; raises ValueError."""
    parts = urlsplit(text)
    if not text:
        raise ValueError("URL is missing")
    if parts.scheme not in ("http", "https"):
        raise ValueError("URL scheme must be 'http' or 'https'")
    if not parts.hostname:
        raise ValueError("host is missing in URL")
    return text


HttpUrl = Annotated[str, AfterValidator(parse_http_url), Field(default="", validate_default=True)]


class StaticConfig(NullableSection):
    """One of `static_configs`: addresses that are known beforehand."""

    targets: tuple[str, ...] = ()
    """Addresses, `host:port`."""
    labels: LabelMap = Field(default_factory=dict)
    """Labels that all of them get."""


def _file_pattern(path: Any) -> Any:
    if not re.fullmatch(r"[^*]*(\*[^/]*)?\.(json|yml|yaml|JSON|YML|YAML)", str(path)):
        raise ValueError(f'path name "{path}" is not valid for file discovery: a * in its last part, and .json or .yml')
    return path


class FileSdConfig(NullableSection):
    """One of `file_sd_configs`: target groups in files (YAML or JSON), read again when they change."""

    files: Annotated[tuple[Annotated[FilePath, BeforeValidator(_file_pattern)], ...], Field(min_length=1)]
    """Names of JSON or YAML files; a `*` may stand in the last part."""
    refresh_interval: Seconds = 300.0
    """How often all are read again, whether or not they have changed."""


class HttpSdConfig(HttpClientConfig):
    """One of `http_sd_configs`: target groups that a URL answers with, as JSON."""

    url: HttpUrl
    """What is asked."""
    refresh_interval: Interval = 60.0
    """How often it is asked, and how long it may take to answer."""
