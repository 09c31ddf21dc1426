"""Which code reads each kind of source: one line a kind, imported when a job asks for it."""

from importlib import import_module
from typing import Any, Final

from agent.logs.input import FileOptions, Following, Input, InputTools, MakeInput


def _later(module: str, name: str) -> MakeInput:
    def make(section: Any, tools: InputTools) -> Input:
        made: Input = getattr(import_module(module), name)(section, tools)
        return made

    return make


INPUTS: Final[dict[str, MakeInput]] = {
    "journal": _later("agent.inputs.journal", "journal_input"),
    "syslog": _later("agent.inputs.syslog", "syslog_input"),
    "loki_push_api": _later("agent.inputs.loki_push", "loki_push_input"),
    "kafka": _later("agent.inputs.kafka", "kafka_input"),
    "kubernetes_events": _later("agent.inputs.kubernetes_events", "kubernetes_events_input"),
    "stdin": _later("agent.inputs.stdin", "stdin_input"),
}
"""Inputs by the key of a job's section: called with the section and the job's tools."""


def files(options: FileOptions, tools: InputTools) -> Following:
    """Return what follows a job's files."""
    made: Following = import_module("agent.tail.files").Files(options, tools)
    return made


def containers(section: Any, tools: InputTools) -> Following:
    """Return what reads the containers of a Docker daemon that a `docker_sd_configs` section names."""
    made: Following = import_module("agent.inputs.docker").docker_input(section, tools)
    return made
