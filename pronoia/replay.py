"""`pronoia replay`: deliver a window of the log again."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from pipeline.errors import PipelineError
from pronoia.desk import complain, desk_of, where_to_ask


def parse_time_ms(text: str) -> int:
    """Read an RFC 3339 time (without a zone: UTC) or Unix seconds as Unix milliseconds; raises ValueError."""
    try:
        return int(float(text) * 1000)
    except ValueError:
        at = datetime.fromisoformat(text)
        return int((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _time(_: click.Context, __: click.Parameter, text: str) -> int:
    try:
        return parse_time_ms(text)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{text!r}: write it like 2026-01-31T12:00:00Z, or as Unix seconds") from error


@click.command()
@where_to_ask
@click.option("--sink", required=True, help="The sink to deliver to.")
@click.option("--from", "from_ms", required=True, callback=_time, help="First time at which the log got it.")
@click.option("--to", "to_ms", required=True, callback=_time, help="The time behind the last one.")
@click.option("--cluster", default="", help="Only this cluster.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def replay(
    file: Path | None, url: str | None, data: Path, sink: str, from_ms: int, to_ms: int, cluster: str, as_json: bool
) -> None:
    """Deliver a window of the log again; the group's own offsets stay where they are."""

    async def work() -> dict[str, Any]:
        async with desk_of(file, url, data) as desk:
            return await desk.replay(sink, from_ms, to_ms, cluster)

    try:
        counts = asyncio.run(work())
    except PipelineError as error:
        raise complain(error) from error
    if as_json:
        click.echo(json.dumps(counts))
        return
    click.echo(
        f"{counts['records']} records: {counts['delivered']} items delivered, {counts['already']} the store has"
        f" or says come too late, {counts['rejected']} refused (see dead-letters),"
        f" {counts['duplicated']} were in the log twice, {counts['unreadable_records']} records could not be read"
    )
