"""The command line: one function a command, each of which parses, builds and serves."""

import click

from pronoia.ingester import ingester
from pronoia.version import VERSION


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION)
def main() -> None:
    """Carry metrics of many clusters to the stores you run; lose nothing acknowledged; prove it."""


main.add_command(ingester)
