"""What labels that begin with `__` say of how a target is scraped. Rules may change each of them.

Source: Prometheus documentation, `<relabel_config>`; prometheus/scrape/target.go.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import quote, urlencode

from agent.config.scrape import ScrapeConfig
from pipeline.config import format_duration, parse_duration_s

INTERVAL: Final = "__scrape_interval__"
TIMEOUT: Final = "__scrape_timeout__"
_PARAM: Final = "__param_"
_CONVERT: Final = "convert_classic_histograms_to_nhcb"
_CLASSIC: Final = "always_scrape_classic_histograms"
_NATIVE: Final = "scrape_native_histograms"
_SWITCHES: Final = (_CONVERT, _CLASSIC, _NATIVE)
"""Options of a job that a rule can change for a target, by the label of the same name between underscores."""
_TRUTHS: Final = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}
"""What Go's strconv.ParseBool reads."""


def defaults(config: ScrapeConfig) -> dict[str, str]:
    """Return the labels that a job gives to all its targets, where discovery gives none of these names."""
    return {
        "job": config.job_name,
        INTERVAL: format_duration(config.scrape_interval),
        TIMEOUT: format_duration(config.scrape_timeout),
        "__metrics_path__": config.metrics_path,
        "__scheme__": config.scheme,
        **{f"__{name}__": "true" if getattr(config, name) else "false" for name in _SWITCHES},
        **{_PARAM + name: values[0] for name, values in config.params.items() if values},
    }


def timing_s(labels: Mapping[str, str]) -> tuple[float, float]:
    """Return a target's interval and timeout; raises ValueError."""
    interval_s = _positive_s(labels.get(INTERVAL, ""), "scrape interval")
    timeout_s = _positive_s(labels.get(TIMEOUT, ""), "scrape timeout")
    if timeout_s > interval_s:
        both = f'"{labels[TIMEOUT]}" > "{labels[INTERVAL]}"'
        raise ValueError(f"scrape timeout cannot be greater than scrape interval ({both})")
    return interval_s, timeout_s


@lru_cache(32)
def _positive_s(text: str, what: str) -> float:
    try:
        seconds = parse_duration_s(text)
    except ValueError as error:
        raise ValueError(f"error parsing {what}: {error}") from error
    if seconds <= 0:
        raise ValueError(f"{what} cannot be 0")
    return seconds


def histograms(config: ScrapeConfig, labels: Mapping[str, str]) -> tuple[bool | None, bool | None]:
    """Return whether a target is always scraped for classic histograms, and whether for native ones.

    None: as the job says. Raises ValueError.
    """
    if _switch(config, labels, _CONVERT):
        raise ValueError(f"__{_CONVERT}__ is not supported: classic histograms stay classic")
    return _switch(config, labels, _CLASSIC), _switch(config, labels, _NATIVE)


def _switch(config: ScrapeConfig, labels: Mapping[str, str], name: str) -> bool | None:
    """Return what a rule made of a switch, or None where it is as the job says; raises ValueError."""
    text = labels.get(f"__{name}__", "")
    if text and text not in _TRUTHS:
        raise ValueError(f'error parsing {name.replace("_", " ")}: "{text}" is neither true nor false')
    value = _TRUTHS.get(text)
    return None if value is getattr(config, name) else value


def url_of(config: ScrapeConfig, address: str, labels: Mapping[str, str]) -> str:
    """Return where a target's page is."""
    return (
        f"{labels.get('__scheme__', '')}://{address}{_path(labels.get('__metrics_path__', ''))}{_query(config, labels)}"
    )


def _path(text: str) -> str:
    path = quote(text, safe="/$&+,:;=@")
    return path if path.startswith("/") or not path else "/" + path


def _query(config: ScrapeConfig, labels: Mapping[str, str]) -> str:
    of_labels = [name for name in labels if name.startswith(_PARAM)]
    if not of_labels and not config.params:
        return ""
    params = {name: list(values) for name, values in config.params.items()}
    for name in of_labels:
        params.setdefault(name.removeprefix(_PARAM), [""])[:1] = [labels[name]]
    query = urlencode(sorted(params.items()), doseq=True)
    return "?" + query if query else ""
