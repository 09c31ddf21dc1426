"""What `pronoia up` runs: the sections of its file, and what it fills in where they say nothing."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from agent.config import AgentConfig, Loaded, build
from console.config import ConsoleConfig
from gateway.config import GatewayConfig
from ingester.config import IngesterConfig
from pipeline.config import Address, ConfigError, Document, Mistake, parse, read, validate
from pipeline.store import StoreConfig
from pipeline.store.logs import LogStoreConfig
from pronoia.component import log_within
from pronoia.this_machine import this_machine

SECTIONS: Final = ("agent", "gateway", "ingester", "store", "log_store", "console")

ModelT = TypeVar("ModelT", bound=BaseModel)
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is going to run. `looks_at_this_machine`: the agent's jobs are ours, the file names none."""

    loaded: Loaded
    gateway: GatewayConfig
    ingester: IngesterConfig
    store: StoreConfig
    log_store: LogStoreConfig
    console: ConsoleConfig
    looks_at_this_machine: bool
    document: Document

    @property
    def agent(self) -> AgentConfig:
        """What the agent is to do."""
        return self.loaded.config


def own_log(data: Path) -> Path:
    """Return where the log of `up` itself is."""
    return data / "pronoia.log"


def make_plan(file: Path | None, data: Path, node: Address, *, strict: bool = False) -> Plan:
    """Read the file's sections and fill in those that it leaves out; raises ConfigError with every mistake.

    `node` is where this machine's own page is. An agent without a `gateway` pushes to the one of this process.
    """
    return _Planning(read(file) if file else parse("{}", "up"), file, data).plan(node, strict)


class _Planning:
    def __init__(self, document: Document, file: Path | None, data: Path) -> None:
        # What a file leaves out is in this folder, wherever the file is.
        self.document, self.file, self.data = document, file, data.absolute()
        self.mistakes: list[Mistake] = []

    def plan(self, node: Address, strict: bool) -> Plan:
        self._check_sections()
        log = {"sqlite": {"path": str(self.data / "log")}}
        gateway = self._section("gateway", GatewayConfig, {"log": log})
        sinks = [{"name": "store", "store": {}}, {"name": "store-logs", "store": {"signal": "logs"}}]
        ingester = self._section(
            "ingester", IngesterConfig, {"log": self._given("gateway").get("log", log), "sinks": sinks}
        )
        store = self._section("store", StoreConfig, {"path": str(self.data / "store")})
        log_store = self._section("log_store", LogStoreConfig, {"path": str(self.data / "logs")})
        console = self._section("console", ConsoleConfig, {})
        if gateway is not None and ingester is not None and ingester.log != gateway.log:
            self._mistake(("ingester", "log"), "is not gateway.log: in one process there is one log")
        agent = self._collect(lambda: self._agent(gateway, node, strict))
        if self.mistakes:
            raise ConfigError(sorted(self.mistakes, key=lambda mistake: mistake.line))
        assert agent is not None
        assert gateway is not None
        assert ingester is not None
        assert store is not None
        assert log_store is not None
        assert console is not None
        gateway = gateway.model_copy(update={"log": log_within(self.data, gateway.log)})
        ingester = ingester.model_copy(update={"log": gateway.log})
        return Plan(agent, gateway, ingester, store, log_store, console, not self._given("agent"), self.document)

    def _check_sections(self) -> None:
        if not isinstance(self.document.value, dict):
            raise ConfigError([self.document.mistake((), f"must hold sections: {', '.join(SECTIONS)}")])
        for name, value in self.document.value.items():
            if name not in SECTIONS:
                self._mistake((name,), "unknown key")
            elif value is not None and not isinstance(value, dict):
                raise ConfigError([self.document.mistake((name,), "must hold keys and values")])

    def _given(self, name: str) -> Mapping[str, Any]:
        return self.document.value.get(name) or {}

    def _section(self, name: str, model: type[ModelT], defaults: dict[str, Any]) -> ModelT | None:
        return self._collect(lambda: validate(self.document, model, {**defaults, **self._given(name)}, (name,)))

    def _agent(self, gateway: GatewayConfig | None, node: Address, strict: bool) -> Loaded:
        # A gateway that is wrong is told already: the agent is checked beside the one that an empty section means.
        gateway = gateway or GatewayConfig.model_validate({"log": {"sqlite": {"path": str(self.data / "log")}}})
        given = self._given("agent")
        if given and self.file is not None:
            source = read(self.file, text_scalars=True)
            value = dict(source.value["agent"])
        else:
            source, value = parse("{}", "up"), this_machine(node, gateway.listen.admin, own_log(self.data))
        if "gateway" not in value:
            value["gateway"] = {"url": self._own_gateway(gateway)}
        return build(source, os.environ, value, ("agent",), strict=strict)

    def _own_gateway(self, gateway: GatewayConfig) -> str:
        if gateway.clusters is not None:
            reason = "needs `gateway` with a token, since gateway.clusters asks for one"
            raise ConfigError([self.document.mistake(("agent",), reason)])
        if gateway.listen.http is None:
            reason = "is needed by the agent of this process"
            raise ConfigError([self.document.mistake(("gateway", "listen", "http"), reason)])
        return f"http://{gateway.listen.http.host}:{gateway.listen.http.port}"

    def _mistake(self, key: tuple[str, ...], reason: str) -> None:
        self.mistakes.append(self.document.mistake(key, reason))

    def _collect(self, step: Callable[[], ResultT]) -> ResultT | None:
        try:
            return step()
        except ConfigError as error:
            self.mistakes += error.mistakes
            return None
