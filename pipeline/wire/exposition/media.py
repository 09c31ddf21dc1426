"""Which format a page is in: what the Content-Type says, or what the scrape job falls back to."""

import re
from enum import StrEnum

from pipeline.wire.errors import MalformedError


class Format(StrEnum):
    """A format of pages; the value is its media type."""

    TEXT = "text/plain"
    OPENMETRICS = "application/openmetrics-text"
    PROTOBUF = "application/vnd.google.protobuf"


_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER = re.compile(rf'\s*;\s*({_TOKEN})\s*=\s*("(?:[^"\\]|\\.)*"|{_TOKEN})')
_MEDIA = re.compile(rf"\s*({_TOKEN}/{_TOKEN})\s*(?=;|$)")


def choose_format(content_type: str, fallback: Format | None = None) -> Format:
    """Return the format of an answer; raises MalformedError where its Content-Type names none and there is no fallback.

    As in Prometheus 3 a missing, broken or unknown Content-Type is not guessed at.
    """
    if not content_type:
        return _fall_back(fallback, "the target sends no Content-Type, and its job has no fallback_scrape_protocol")
    try:
        media, parameters = _parse(content_type)
    except ValueError:
        return _fall_back(
            fallback, f"cannot parse Content-Type {content_type!r}, and the job has no fallback_scrape_protocol"
        )
    if media == Format.OPENMETRICS and parameters.get("version") != "2.0.0":
        return Format.OPENMETRICS
    if media in (Format.TEXT, Format.PROTOBUF):
        return Format(media)
    return _fall_back(
        fallback, f"unsupported Content-Type {content_type!r}, and the job has no fallback_scrape_protocol"
    )


def _fall_back(fallback: Format | None, reason: str) -> Format:
    if fallback is None:
        raise MalformedError(reason)
    return fallback


def _parse(text: str) -> tuple[str, dict[str, str]]:
    """Split a media type and its parameters (RFC 2045, section 5.1); raises ValueError."""
    found = _MEDIA.match(text)
    if found is None:
        raise ValueError(text)
    parameters: dict[str, str] = {}
    at = found.end()
    while (parameter := _PARAMETER.match(text, at)) is not None:
        name = parameter[1].lower()
        if name in parameters:
            raise ValueError(text)
        parameters[name] = parameter[2].strip('"')
        at = parameter.end()
    if text[at:].strip() not in ("", ";"):
        raise ValueError(text)
    return found[1].lower(), parameters
