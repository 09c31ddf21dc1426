"""Reading the agent's file: each part by its model, then what spans them, and every mistake of all of it at once."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel

from agent.config.agent import AgentConfig
from agent.config.files import matching
from agent.config.promtail_file import expand_variables, is_promtails, take_promtails
from agent.config.scrape import GlobalConfig, ScrapeConfig
from agent.config.sharing import SharingConfig
from agent.config.store import StoreGlobals, StoreSections
from agent.config.unsupported import reason_for
from pipeline.config import ConfigError, Document, Key, Mistake, parse, read, read_text, validate
from pipeline.send.config import RemoteWriteConfig

if TYPE_CHECKING:
    from agent.config.promtail import LogsConfig


@dataclass(frozen=True, slots=True)
class Loaded:
    """A usable configuration, and what to tell the user of it: one sentence each, with file and line."""

    config: AgentConfig
    warnings: tuple[str, ...]
    document: Document
    at: Key = ()

    def mistake(self, key: Key, reason: str) -> Mistake:
        """Name what is wrong with a key after all: whoever runs the configuration may know more than who reads it."""
        return self.document.mistake((*self.at, *key), reason)


def load(
    path: Path,
    environment: Mapping[str, str],
    *,
    strict: bool = False,
    check_files: bool = True,
    expand_env: bool = False,
) -> Loaded:
    """Read an agent's file; raises ConfigError with every mistake in it and in the files it includes.

    `environment` is what `${NAME}` in external labels stands for, and with `expand_env` everywhere. `strict` makes
    mistakes of what is otherwise warned of. `check_files` refuses a file whose certificates, tokens or passwords are
    not there.
    """
    document = read_agent_file(path, environment, expand_env=expand_env)
    return build(document, environment, strict=strict, check_files=check_files)


def read_agent_file(path: Path, environment: Mapping[str, str], *, expand_env: bool) -> Document:
    """Parse an agent's file; raises ConfigError."""
    text = read_text(path)
    return parse(expand_variables(text, environment, str(path)) if expand_env else text, str(path), text_scalars=True)


def build(
    document: Document,
    environment: Mapping[str, str],
    value: Any = None,
    at: Key = (),
    *,
    strict: bool = False,
    check_files: bool = True,
) -> Loaded:
    """Do what `load` does for a document that was read with `text_scalars`, or its section `value` at the key `at`."""
    value = document.value if value is None else value
    if not isinstance(value, dict):
        raise ConfigError([document.mistake(at, "must hold keys and values")])
    reading = _Reading(document, at, environment, check_files)
    config = reading.config(dict(value))
    mistakes = reading.mistakes + (reading.warnings if strict else [])
    if mistakes or config is None:
        raise ConfigError(sorted(set(mistakes), key=partial(_order, document.file)))
    return Loaded(config, tuple(map(str, reading.warnings)), document, at)


ModelT = TypeVar("ModelT", bound=BaseModel)


def require_destination(config: AgentConfig, file: str) -> None:
    """Refuse a configuration that sends nowhere, where an agent is to run by itself; raises ConfigError."""
    if reasons := without_destination(config):
        raise ConfigError([Mistake(file, 1, "", reason) for reason in reasons])


def without_destination(config: AgentConfig) -> list[str]:
    """Return which signals go nowhere, each in a sentence."""
    if config.gateway is not None:
        return []
    reads = config.logs is not None and config.logs.reads
    scrapes = bool(config.scrape_configs or config.scrape_config_files) or config.operator is not None
    reasons = []
    if not config.remote_write and (scrapes or not reads):
        reasons.append("names no destination: an agent needs gateway or remote_write")
    if config.logs is not None and reads and not config.logs.all_clients:
        reasons.append("names no destination for logs: they need gateway or clients (a Loki)")
    return reasons


def included(file: Path, patterns: Iterable[str]) -> Iterator[Path]:
    """Yield the files that a file's `scrape_config_files` match now."""
    for pattern in patterns:
        yield from matching(file.parent / pattern)  # The pattern alone, if it is absolute.


class _Reading:
    """One file being read: mistakes gather while it goes on."""

    def __init__(self, document: Document, at: Key, environment: Mapping[str, str], check_files: bool) -> None:
        self.document = document
        self.at = at
        self.environment = environment
        self.check_files = check_files
        self.mistakes: list[Mistake] = []
        self.warnings: list[Mistake] = []
        self._job_places: dict[str, str] = {}

    def config(self, value: dict[str, Any]) -> AgentConfig | None:
        logs = self._logs(value)
        store = self._leave_out_store(value)
        jobs = value.pop("scrape_configs", None)
        writes = value.pop("remote_write", None)
        rest = self._section(AgentConfig, value)
        given = rest.global_config if rest is not None else GlobalConfig()
        scrape_configs = list(self._jobs(self.document, jobs, self.at, given))
        for path in included(Path(self.document.file), rest.scrape_config_files if rest is not None else ()):
            scrape_configs += self._included_jobs(path, given)
        remote_write = list(self._remote_writes(writes, given))
        if rest is None or not store:
            return None
        update = {
            "global_config": self._with_external_labels(rest),
            "sharing": self._sharing(rest.sharing, tuple(scrape_configs)),
            "scrape_configs": tuple(scrape_configs),
            "remote_write": tuple(remote_write),
            "logs": logs,
        }
        return rest.model_copy(update=update)

    def _logs(self, value: dict[str, Any]) -> "LogsConfig | None":
        """Take what concerns logs out of `value`: its section, or all that a promtail's file says."""
        at, is_promtail = self.at, is_promtails(value)
        section: Any = take_promtails(value) if is_promtail else value.pop("logs", None)
        if section is None:
            return None
        if not is_promtail:
            at = (*at, "logs")
        # Only an agent that reads logs pays for what their stages take.
        from agent.config.promtail import LogsConfig, of_no_effect

        logs = self._section(LogsConfig, section, at)
        if logs is None:
            return None
        self._check_files(self.document, logs, at)
        if found := of_no_effect(logs):
            named = ", ".join(f"{'.'.join(key)} (line {self.document.line_of((*at, *key))})" for key in found)
            reason = f"read and of no effect (docs/promtail.md says why): {named}"
            self.warnings.append(Mistake(self.document.file, self.document.line_of((*at, *found[0])), "", reason))
        if is_promtail and logs.server.http_listen_port and value.get("admin") is None:
            value["admin"] = f"{logs.server.http_listen_address}:{logs.server.http_listen_port}"
        return logs

    def _sharing(self, sharing: SharingConfig | None, jobs: tuple[ScrapeConfig, ...]) -> SharingConfig | None:
        """Return the section with what the environment says of the pod; check what it says of jobs."""
        if sharing is None:
            return None
        names = {job.job_name for job in jobs}
        for key in ("per_node", "shared"):
            for index, name in enumerate(getattr(sharing, key)):
                if name not in names:
                    self.mistakes.append(
                        self.document.mistake((*self.at, "sharing", key, index), f'no job is named "{name}"')
                    )
        shared = tuple(job for job in jobs if not sharing.is_per_node(job))
        lease_s = sharing.lease_s(shared)
        for job in shared:
            if sharing.is_too_fast(job, lease_s):
                reason = (
                    f"job {job.job_name}: when an agent dies, its targets may be left for longer than two intervals"
                )
                self.warnings.append(
                    self.document.mistake((*self.at, "sharing"), f"{reason}: a lease lasts {lease_s} s")
                )
        update = {
            "node_name": sharing.node_name or self.environment.get("NODE_NAME", ""),
            "pod_name": sharing.pod_name or self.environment.get("POD_NAME", ""),
        }
        filled = sharing.model_copy(update=update)
        if missing := filled.missing():
            self.warnings.append(self.document.mistake((*self.at, "sharing"), missing))
        return filled

    def _leave_out_store(self, value: dict[str, Any]) -> bool:
        """Take the store's keys out of `value`; return whether what they say is right."""
        names = [name for name in StoreSections.model_fields if value.get(name) is not None]
        right = self._section(StoreSections, {name: value.pop(name) for name in names}) is not None
        found: list[Key] = [(*self.at, name) for name in names]
        if isinstance(value.get("global"), dict):
            value["global"] = dict(value["global"])
            names = [name for name in StoreGlobals.model_fields if value["global"].get(name) is not None]
            part = {name: value["global"].pop(name) for name in names}
            right = self._section(StoreGlobals, part, (*self.at, "global")) is not None and right
            found += [(*self.at, "global", name) for name in names]
        if found:
            named = ", ".join(f"{'.'.join(map(str, key))} (line {self.document.line_of(key)})" for key in found)
            reason = f"an agent evaluates no rules and keeps no series; of no effect here: {named}"
            self.warnings.append(Mistake(self.document.file, self.document.line_of(found[0]), "", reason))
        return right

    def _section(self, model: type[ModelT], value: Any, at: Key | None = None) -> ModelT | None:
        return self._validated(self.document, model, value, self.at if at is None else at)

    def _validated(self, document: Document, model: type[ModelT], value: Any, at: Key) -> ModelT | None:
        try:
            return validate(document, model, value, at)
        except ConfigError as error:
            self.mistakes += [reason_for(mistake) for mistake in error.mistakes]
            return None

    def _list(self, document: Document, name: str, value: Any, at: Key) -> Iterator[tuple[Key, Any]]:
        """Yield the entries of a list of sections, and where each stands."""
        if value is None:
            return
        if not isinstance(value, list):
            self.mistakes.append(document.mistake((*at, name), "must be a list"))
            return
        for index, entry in enumerate(value):
            yield (*at, name, index), entry

    def _jobs(self, document: Document, value: Any, at: Key, given: GlobalConfig) -> Iterator[ScrapeConfig]:
        for key, entry in self._list(document, "scrape_configs", value, at):
            if entry is None:
                self.mistakes.append(document.mistake(key, "empty or null scrape config section"))
                continue
            job = self._validated(document, ScrapeConfig, entry, key)
            if job is None:
                continue
            place = f"{document.file}:{document.line_of(key)}"
            if (first := self._job_places.setdefault(job.job_name, place)) is not place:
                reason = f'found multiple scrape configs with job name "{job.job_name}", first found in {first}'
                self.mistakes.append(document.mistake((*key, "job_name"), reason))
            try:
                yield job.inherit(given)
            except ValueError as error:
                self.mistakes.append(document.mistake(key, str(error)))
            self._check_files(document, job, key)

    def _included_jobs(self, path: Path, given: GlobalConfig) -> list[ScrapeConfig]:
        try:
            document = read(path, text_scalars=True)
        except ConfigError as error:
            self.mistakes += error.mistakes
            return []
        value = dict(document.value) if isinstance(document.value, dict) else {"": document.value}
        jobs = value.pop("scrape_configs", None)
        self.mistakes += [
            document.mistake((name,), "unknown key: an included file holds scrape_configs only") for name in value
        ]
        return list(self._jobs(document, jobs, (), given))

    def _remote_writes(self, value: Any, given: GlobalConfig) -> Iterator[RemoteWriteConfig]:
        names: set[str] = set()
        for key, entry in self._list(self.document, "remote_write", value, self.at):
            if entry is None:
                self.mistakes.append(self.document.mistake(key, "empty or null remote write config section"))
                continue
            write = self._section(RemoteWriteConfig, entry, key)
            if write is None:
                continue
            if write.name in names:
                reason = f'found multiple remote write configs with job name "{write.name}"'
                self.mistakes.append(self.document.mistake((*key, "name"), reason))
            names |= {write.name} - {""}
            legacy = given.metric_name_validation_scheme == "legacy"
            for number, rule in enumerate(write.write_relabel_configs):
                if (wrong := rule.mistake(legacy)) is not None:
                    self.mistakes.append(self.document.mistake((*key, "write_relabel_configs", number), wrong))
            if not write.is_sendable:
                # Prometheus loads such a file too, and then cannot send.
                reason = "begins with neither http:// nor https://: nothing can be sent there"
                self.warnings.append(self.document.mistake((*key, "url"), reason))
            self._check_files(self.document, write, key)
            yield write

    def _with_external_labels(self, config: AgentConfig) -> GlobalConfig:
        """Return `global` with the environment put into external labels, and the cluster among them."""
        labels = {}
        key = (*self.at, "global", "external_labels")
        for name, value in config.global_config.external_labels.items():
            missing: list[str] = []
            labels[name] = expand(value, partial(_look_up, self.environment, missing))
            for variable in missing:
                reason = f"the environment has no variable {variable}, or an empty one"
                self.warnings.append(self.document.mistake((*key, name), reason))
        if config.cluster:
            labels[config.cluster_label] = config.cluster
        self._check_files(self.document, config, self.at)
        return config.global_config.model_copy(update={"external_labels": {k: v for k, v in labels.items() if v}})

    def _check_files(self, document: Document, section: BaseModel, at: Key) -> None:
        if self.check_files:
            for key, path in secret_files(section):
                try:
                    with path.open("rb"):
                        pass
                except OSError as error:
                    reason = f"cannot be read: {path}: {error.strerror}"
                    self.mistakes.append(document.mistake((*at, *key), reason))


def secret_files(section: BaseModel) -> Iterator[tuple[Key, Path]]:
    """Yield the files of certificates, tokens and passwords that a section names, with their keys."""
    for name, field in type(section).model_fields.items():
        yield from _files_in(getattr(section, name), (field.alias or name,))


_OWN_FILES: Final = ("path", "filename", "scrape_failure_log_file")
"""Keys of files and folders that need not be there."""


def _files_in(value: Any, key: Key) -> Iterator[tuple[Key, Path]]:
    if isinstance(value, BaseModel):
        for inner, path in secret_files(value):
            yield (*key, *inner), path
    elif isinstance(value, dict):
        for name, entry in value.items():
            yield from _files_in(entry, (*key, name))
    elif isinstance(value, tuple):
        # Patterns of file_sd_configs may match nothing yet.
        if key[-1] != "file_sd_configs":
            for index, entry in enumerate(value):
                yield from _files_in(entry, (*key, index))
    elif isinstance(value, Path) and key[-1] not in _OWN_FILES:
        yield key, value


_VARIABLE = re.compile(r"\$(?:\{([^}]*)\}|(\{)|([*#$@!?\-0-9]|[A-Za-z_][A-Za-z0-9_]*))", re.ASCII)


def expand(text: str, look_up: Callable[[str], str]) -> str:
    """Replace `$NAME` and `${NAME}`, and `$$` by a dollar, by the rules of Go's `os.Expand`."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[3]
        return "" if not name else "$" if name == "$" else look_up(name)

    return _VARIABLE.sub(value, text)


def _order(first: str, mistake: Mistake) -> tuple[bool, str, int, str, str]:
    return mistake.file != first, mistake.file, mistake.line, mistake.key, mistake.reason


def _look_up(environment: Mapping[str, str], missing: list[str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        missing.append(name)
    return value
