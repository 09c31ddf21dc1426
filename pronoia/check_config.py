"""`pronoia check-config`: whether a file can be used, and everything that is wrong with it."""

import importlib
import os
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

from agent.config import AgentConfig, build, read_agent_file, secret_files, without_destination
from pipeline.config import Address, ConfigError, Document, Key, parse, read_text, validate
from pronoia.agent_file import EXPAND_ENV, kind_of
from pronoia.words import counted

_MODELS = {"gateway": ("gateway.config", "GatewayConfig"), "ingester": ("ingester.config", "IngesterConfig")}


@click.command("check-config")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="Make errors of what is otherwise warned of.")
@EXPAND_ENV
def check_config(file: Path, strict: bool, expand_env: bool) -> None:
    """Check a configuration: an agent's, a gateway's, an ingester's, or that of `up`.

    Every error is one line: file, line, key and reason. The exit code is 0 if there is none.
    """
    try:
        said, warnings = check(file, strict=strict, expand_env=expand_env)
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(1) from error
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{file}: usable as {said}")


def check(path: Path, *, strict: bool, expand_env: bool = False) -> tuple[str, list[str]]:
    """Return what a usable file is, and warnings; raises ConfigError with every mistake."""
    document = parse(read_text(path), str(path))
    kind = kind_of(document.value)
    if kind == "agent":
        return _check_agent(read_agent_file(path, os.environ, expand_env=expand_env), (), strict)
    if kind != "up":
        return _check_section(document, kind, None, ()), []
    return _check_up(path, document, strict)


def _check_up(path: Path, document: Document, strict: bool) -> tuple[str, list[str]]:
    """Check the sections, each optional, and what spans them, just as `up` does when it starts."""
    try:
        plan = importlib.import_module("pronoia.plan")
    except ModuleNotFoundError as error:
        reason = f"cannot be checked: this installation has not all that up needs ({error.name} is missing)"
        raise ConfigError([document.mistake((), reason)]) from error
    chosen = plan.make_plan(path, Path("data"), Address(host="127.0.0.1", port=9100), strict=strict)
    for name in _MODELS:
        _check_files(document, getattr(chosen, name), (name,))
    said = f"one process: {_parts(chosen.agent)}, {counted(len(chosen.ingester.sinks), 'sink')}"
    return said, list(chosen.loaded.warnings)


def _check_agent(document: Document, at: Key, strict: bool) -> tuple[str, list[str]]:
    value = (document.value[at[0]] or {}) if at else document.value
    loaded = build(document, os.environ, value, at, strict=strict)
    warnings = list(loaded.warnings)
    config = loaded.config
    if not at:
        warnings += [f"{document.file}:1: {reason}" for reason in without_destination(config)]
    return f"an agent's configuration: {_parts(config)}", warnings


def _parts(config: AgentConfig) -> str:
    """Return what the agent works with, as far as there is any of it."""
    logs = config.logs
    numbers = {
        "scrape job": len(config.scrape_configs),
        "remote write receiver": len(config.remote_write),
        "log job": len(logs.scrape_configs) if logs is not None else 0,
        "Loki": len(logs.all_clients) if logs is not None else 0,
    }
    parts = [counted(number, name) for name, number in numbers.items() if number]
    if config.operator is not None:
        parts.append("custom resources of the Prometheus operator")
    if config.gateway is not None:
        parts.append("a gateway")
    return ", ".join(parts) or "no jobs"


def _check_section(document: Document, kind: str, value: Any, at: Key) -> str:
    module, name = _MODELS[kind]
    try:
        model: type[BaseModel] = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        reason = f"cannot be checked: this installation has no {kind} ({error.name} is missing)"
        raise ConfigError([document.mistake(at, reason)]) from error
    config = validate(document, model, value, at)
    _check_files(document, config, at)
    sinks = getattr(config, "sinks", None)
    return f"a{'n' if kind == 'ingester' else ''} {kind}'s configuration" + (
        f": {counted(len(sinks), 'sink')}" if sinks else ""
    )


def _check_files(document: Document, config: BaseModel, at: Key) -> None:
    """Raise ConfigError where a token, password or certificate that the section names is not there."""
    mistakes = []
    for key, path in secret_files(config):
        try:
            with path.open("rb"):
                pass
        except OSError as error:
            mistakes.append(document.mistake((*at, *key), f"cannot be read: {path}: {error.strerror}"))
    if mistakes:
        raise ConfigError(mistakes)
