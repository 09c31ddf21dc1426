"""The command line: one module a command, each of which parses, builds and serves."""

import importlib
from typing import Final

import click

from pronoia.version import VERSION

COMMANDS: Final = {
    "agent": "pronoia.agent:agent",
    "clymene-agent": "pronoia.clymene:clymene_agent",
    "check-config": "pronoia.check_config:check_config",
    "dead-letters": "pronoia.dead_letters:dead_letters",
    "gateway": "pronoia.gateway:gateway",
    "ingester": "pronoia.ingester:ingester",
    "replay": "pronoia.replay:replay",
    "status": "pronoia.status:status",
    "scrape": "pronoia.scrape:scrape",
    "targets": "pronoia.targets:targets",
    "up": "pronoia.up:up",
}
"""Where each command is. It is imported when it is asked for, so that an agent's process holds no ingester."""


class Commands(click.Group):
    """The commands of `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names."""
        return sorted({*super().list_commands(ctx), *COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one of them, or None."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION)
def main() -> None:
    """Carry metrics and logs of many clusters to the stores you run; lose nothing acknowledged; prove it."""
