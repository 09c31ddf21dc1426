"""`pronoia clymene-agent`: our agent, started as Clymene's is: by `clymene.yml`, its flags and its environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click
from aiohttp import web

from agent.config import Loaded, build
from agent.service import Agent
from pipeline.config import ConfigError, read
from pipeline.errors import PermanentError
from pronoia.agent import serve_agent
from pronoia.clymene_given import FlagError, Given, duration_s, read_flags
from pronoia.component import run_component
from pronoia.reload import serve_reload

_CRITICAL: Final = ("dpanic", "panic", "fatal")


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def clymene_agent(flags: tuple[str, ...]) -> None:
    """Run the agent with the flags and environment of Clymene's agent (docs/clymene.md says which)."""
    try:
        given = read_flags(flags, os.environ)
    except FlagError as error:
        click.echo(str(error), err=True)
        raise SystemExit(1) from error
    level = given.get("log-level")
    file, port = Path(given.get("config.file")), ReloadPort(int(given.get("http.port")))
    run_component(
        lambda: serve_agent(file, Path(given.get("data")), lambda: load(file, given, os.environ), beside=port),
        "critical" if level in _CRITICAL else level,
    )


def load(file: Path, given: Given, environment: Mapping[str, str]) -> Loaded:
    """Read `clymene.yml`, and beside it what the flags say; raises ConfigError."""
    document = read(file, text_scalars=True)
    value = dict(document.value) if isinstance(document.value, dict) else document.value
    if isinstance(value, dict):
        both = [name for name in ("gateway", "remote_write", "admin") if name in value]
        if both:
            reason = "is said by Clymene's flags: leave it out, or run `pronoia agent --config` with this file"
            raise ConfigError([document.mistake((name,), reason) for name in both])
        value |= sections(given)
    return build(document, environment, value)


def sections(given: Given) -> dict[str, Any]:
    """Return what the flags stand for, as the sections of an agent's file."""
    out: dict[str, Any] = {"admin": given.get("admin.http.host-ports")}
    if "gateway" in given.storages:
        out["gateway"] = _grpc_gateway(given) if given.get("gateway.service-type") == "grpc" else _http_gateway(given)
        if token_file := given.get("gateway.token-file"):
            out["gateway"]["token_file"] = str(Path(token_file).absolute())
    writes = [
        _remote_write(given, storage, prefix)
        for storage, prefix in (("prometheus", "prometheus.remote"), ("cortex", "cortex.distributor"))
        if storage in given.storages
    ]
    return out | ({"remote_write": writes} if writes else {})


def _grpc_gateway(given: Given) -> dict[str, Any]:
    prefix = "gateway.grpc-client"
    host = given.get(f"{prefix}.host-port")
    if not given.is_on(f"{prefix}.tls.enabled"):
        return {"url": f"grpc://{host}"}
    files = {f"{name}_file": given.get(f"{prefix}.tls.{name}") for name in ("ca", "cert", "key")}
    tls = {name: str(Path(path).absolute()) for name, path in files.items() if path}
    if server_name := given.get(f"{prefix}.tls.server-name"):
        tls["server_name"] = server_name
    return {"url": f"grpcs://{host}", "tls_config": tls}


def _http_gateway(given: Given) -> dict[str, Any]:
    # Clymene's path is that of its own call; a gateway of ours is pushed to as such.
    parts = urlsplit(given.get("gateway.http-client.url"))
    return {"url": f"{parts.scheme}://{parts.netloc}"}


def _remote_write(given: Given, storage: str, prefix: str) -> dict[str, Any]:
    write: dict[str, Any] = {
        "name": storage,
        "url": given.get(f"{prefix}.url"),
        "remote_timeout": duration_s(given.get(f"{prefix}.timeout")),
    }
    if "metric.split.length" in given.values:
        write["queue_config"] = {"max_samples_per_send": given.get("metric.split.length")}
    return write


@dataclass(slots=True)
class ReloadPort:
    """Clymene's second port, which answers `POST /api/reload` only. A `pipeline.service.Component`."""

    port: int
    name: str = "reload port"
    _runner: web.AppRunner | None = None
    app: web.Application = field(default_factory=web.Application)

    def attach(self, agent: Agent) -> None:
        """Say whose configuration it reloads; before `start`."""
        serve_reload(self.app, agent.reload, "/api/reload")

    async def start(self) -> None:
        """Listen on every interface, as Clymene does; raises PermanentError where the port is taken."""
        self._runner = web.AppRunner(self.app, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, "0.0.0.0", self.port).start()
        except OSError as error:
            raise PermanentError(f"--http.port: cannot listen on {self.port}: {error.strerror}") from error

    async def drain(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    def ready(self) -> str | None:
        """Return None once it listens."""
        return None if self._runner is not None else "not started"
