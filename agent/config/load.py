"""Reading the agent's file: each part by its model, then what spans them, and every mistake of all of it at once."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.config.agent import AgentConfig
from agent.config.expand import expand
from agent.config.files import matching
from agent.config.promtail_file import expand_variables, is_promtails, take_promtails
from agent.config.scrape import GlobalConfig, ScrapeConfig
from agent.config.sections import Sections
from agent.config.sharing import SharingConfig
from agent.config.store import StoreGlobals, StoreSections
from pipeline.config import ConfigError, Document, Key, Mistake, parse, read, read_text
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


def included(file: Path, patterns: Iterable[str]) -> Iterator[Path]:
    """Yield the files that a file's `scrape_config_files` match now."""
    for pattern in patterns:
        yield from matching(file.parent / pattern)  # The pattern alone, if it is absolute.


class _Reading(Sections):
    """One file being read, with those that it includes."""

    def __init__(self, document: Document, at: Key, environment: Mapping[str, str], check_files: bool) -> None:
        super().__init__(document, at, check_files)
        self.environment = environment
        self._job_places: dict[str, str] = {}

    def config(self, value: dict[str, Any]) -> AgentConfig | None:
        logs = self._logs(value)
        store = self._leave_out_store(value)
        jobs = value.pop("scrape_configs", None)
        writes = value.pop("remote_write", None)
        rest = self.section(AgentConfig, value)
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

        logs = self.section(LogsConfig, section, at)
        if logs is None:
            return None
        self.check_secrets(self.document, logs, at)
        if found := of_no_effect(logs):
            self.warn_of(found, "read and of no effect (docs/promtail.md says why)", at)
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
        right = self.section(StoreSections, {name: value.pop(name) for name in names}) is not None
        found: list[Key] = [(*self.at, name) for name in names]
        if isinstance(value.get("global"), dict):
            value["global"] = dict(value["global"])
            names = [name for name in StoreGlobals.model_fields if value["global"].get(name) is not None]
            part = {name: value["global"].pop(name) for name in names}
            right = self.section(StoreGlobals, part, (*self.at, "global")) is not None and right
            found += [(*self.at, "global", name) for name in names]
        if found:
            self.warn_of(found, "an agent evaluates no rules and keeps no series; of no effect here")
        return right

    def _jobs(self, document: Document, value: Any, at: Key, given: GlobalConfig) -> Iterator[ScrapeConfig]:
        for key, entry in self.entries(document, "scrape_configs", value, at):
            if entry is None:
                self.mistakes.append(document.mistake(key, "empty or null scrape config section"))
                continue
            job = self.validated(document, ScrapeConfig, entry, key)
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
            self.check_secrets(document, job, key)

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
        for key, entry in self.entries(self.document, "remote_write", value, self.at):
            if entry is None:
                self.mistakes.append(self.document.mistake(key, "empty or null remote write config section"))
                continue
            write = self.section(RemoteWriteConfig, entry, key)
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
            self.check_secrets(self.document, write, key)
            yield write

    def _with_external_labels(self, config: AgentConfig) -> GlobalConfig:
        """Return `global` with the environment put into external labels, and the cluster among them."""
        labels = {}
        key = (*self.at, "global", "external_labels")
        for name, value in config.global_config.external_labels.items():
            labels[name], missing = expand(value, self.environment)
            for variable in missing:
                reason = f"the environment has no variable {variable}, or an empty one"
                self.warnings.append(self.document.mistake((*key, name), reason))
        if config.cluster:
            labels[config.cluster_label] = config.cluster
        self.check_secrets(self.document, config, self.at)
        return config.global_config.model_copy(update={"external_labels": {k: v for k, v in labels.items() if v}})


def _order(first: str, mistake: Mistake) -> tuple[bool, str, int, str, str]:
    return mistake.file != first, mistake.file, mistake.line, mistake.key, mistake.reason
