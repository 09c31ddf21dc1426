"""What the commands that run a component share: their options, and how a start that fails is told."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from pipeline.config import ConfigError
from pipeline.errors import PipelineError
from pipeline.log.config import LogConfig
from pipeline.service import PartEndedError
from pronoia.process import run, set_up_logging

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def component_options(command: CommandT) -> CommandT:
    """Add --config, --data and --log-level."""
    for option in (
        click.option("--log-level", default="info", show_default=True, help="debug, info, warning or error."),
        click.option(
            "--data",
            type=click.Path(path_type=Path, file_okay=False),
            default=Path("data"),
            show_default=True,
            help="The folder for what it keeps on disk.",
        ),
        click.option("--config", "file", required=True, type=click.Path(path_type=Path), help="Its configuration."),
    ):
        command = option(command)
    return command


def log_within(data: Path, config: LogConfig) -> LogConfig:
    """Return the log's configuration with a relative path of an embedded log taken from the data folder."""
    if config.sqlite is None:
        return config
    sqlite = config.sqlite.model_copy(update={"path": data / config.sqlite.path})
    return config.model_copy(update={"sqlite": sqlite})


def run_component(serve: Callable[[], Coroutine[Any, Any, None]], log_level: str) -> None:
    """Run until a signal; a wrong configuration, a start or a part that fails end the process with 1 and a reason."""
    set_up_logging(log_level)
    try:
        run(serve())
    except ConfigError as error:
        # One mistake a line, as `check-config` prints them.
        click.echo(str(error), err=True)
        raise SystemExit(1) from error
    except PartEndedError as error:
        raise click.ClickException(str(error)) from error
    except PipelineError as error:
        raise click.ClickException(f"cannot start: {error}") from error
