"""What the agent's file holds every resource to: scrape classes, enforced limits, overrides, access to files."""

from pathlib import Path
from typing import Any, Final

from agent.config.operator import OperatorConfig, ScrapeClass
from agent.config.scrape import GlobalConfig, parse_size_limit

_IDENTITIES: Final = ("authorization", "basic_auth", "oauth2", "bearer_token", "bearer_token_file")
_LIMITS: Final = (
    *("sample_limit", "target_limit", "label_limit", "label_name_length_limit", "label_value_length_limit"),
    *("keep_dropped_targets", "body_size_limit"),
)


def held(
    job: dict[str, Any], given_class: ScrapeClass | None, settings: OperatorConfig, given: GlobalConfig
) -> dict[str, Any]:
    """Return the job as the section allows it; raises ValueError."""
    if settings.arbitrary_fs_access_through_sms.deny and (file := _file_in(job)) is not None:
        raise ValueError(f"names the file {file}, which arbitrary_fs_access_through_sms denies")
    out = {**job, **{name: _limit(name, job, settings, given) for name in _LIMITS}}
    if given_class is not None:
        _add_class(out, given_class)
    if settings.override_honor_labels:
        out["honor_labels"] = False
    if settings.override_honor_timestamps:
        out["honor_timestamps"] = False
    return {name: value for name, value in out.items() if value is not None}


def _limit(name: str, job: dict[str, Any], settings: OperatorConfig, given: GlobalConfig) -> Any:
    """Return the resource's limit, or that of `global`, but never more than what is enforced (0: no limit)."""
    enforced, own = getattr(settings, f"enforced_{name}"), job.get(name)
    if not enforced:
        return own
    wanted = parse_size_limit(own) if name == "body_size_limit" and own else own
    wanted = wanted or getattr(given, name)
    return min(wanted, enforced) if wanted else enforced


def _add_class(job: dict[str, Any], given_class: ScrapeClass) -> None:
    """Add what the resource leaves open."""
    if given_class.fallback_scrape_protocol:
        job.setdefault("fallback_scrape_protocol", given_class.fallback_scrape_protocol)
    if given_class.tls_config is not None:
        tls = dict(job.get("tls_config") or {})
        for name in ("ca", "cert", "key"):
            file = getattr(given_class.tls_config, f"{name}_file")
            if file is not None and name not in tls:
                tls.setdefault(f"{name}_file", file)
        job["tls_config"] = tls
    # Beside another way to prove itself a job cannot have this one.
    if given_class.authorization is not None and not any(name in job for name in _IDENTITIES):
        job["authorization"] = given_class.authorization.model_dump()


def _file_in(value: Any, name: str = "") -> object:
    """Return a file of the agent's own file system that a job names, or None."""
    if isinstance(value, Path) or (name == "files" and isinstance(value, str)):
        return value
    if isinstance(value, dict):
        entries = list(value.items())
    else:
        entries = [(name, entry) for entry in value] if isinstance(value, list) else []
    return next((found for key, entry in entries if (found := _file_in(entry, key)) is not None), None)
