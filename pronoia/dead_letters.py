"""`pronoia dead-letters`: look at what stores refused, and send it again."""

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from console.sources import DeadLetterPage, DeadLetterRow
from ingester.config import IngesterConfig
from ingester.redrive import Redrive
from pipeline.errors import PermanentError, PipelineError
from pipeline.log.interface import Log
from pronoia.desk import complain, desk_of, where_to_ask
from pronoia.words import counted

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_sink = click.option("--sink", default="", help="Only what this sink's store refused.")


@click.group("dead-letters")
def dead_letters() -> None:
    """Look at what stores refused, and send it again."""


@dead_letters.command("list")
@where_to_ask
@_sink
@_json
def listing(file: Path | None, url: str | None, data: Path, sink: str, as_json: bool) -> None:
    """List what was refused and not redriven, newest first."""

    async def work() -> dict[str, Any]:
        async with desk_of(file, url, data) as desk:
            return await desk.listing(sink)

    try:
        found = asyncio.run(work())
    except PipelineError as error:
        raise complain(error) from error
    if as_json:
        click.echo(json.dumps(found))
        return
    for letter in found["dead_letters"]:
        click.echo(
            f"{letter['id']:>8}  {_time(letter['at_ms'])}  {letter['sink']}  {letter['cluster'] or '-'}"
            f"  {counted(letter['items'], 'item')}  {letter['reason']}"
        )
    click.echo(counted(found["total"], "dead letter"))


@dead_letters.command()
@click.argument("number", metavar="ID", type=int)
@where_to_ask
@_json
def show(number: int, file: Path | None, url: str | None, data: Path, as_json: bool) -> None:
    """Show one dead letter with its samples or log entries."""

    async def work() -> dict[str, Any]:
        async with desk_of(file, url, data) as desk:
            return await desk.show(number)

    try:
        letter = asyncio.run(work())
    except PipelineError as error:
        raise complain(error) from error
    if as_json:
        click.echo(json.dumps(letter))
        return
    source = letter["source"]
    click.echo(
        f"{letter['sink']} refused {counted(letter['items'], 'item')} of {letter['cluster'] or 'an unknown cluster'}"
    )
    click.echo(f"  at      {_time(letter['at_ms'])}{'  (redriven)' if letter['redriven'] else ''}")
    click.echo(f"  because {letter['reason']}")
    click.echo(f"  from    {source['topic']}/{source['partition']} offset {source['offset']}")
    for line in _content(letter):
        click.echo("  " + line)


def _content(letter: dict[str, Any]) -> Iterator[str]:
    """Return a letter's samples or entries, a line each."""
    for part in letter.get("series", letter.get("streams", [])):
        if "unreadable" in part:
            yield f"unreadable: {part['unreadable']}"
        elif "entries" in part:
            yield part["labels"]
            for entry in part["entries"]:
                metadata = "".join(f" {name}={json.dumps(value)}" for name, value in entry["metadata"].items())
                yield f"  {_time(entry['time_ns'] // 10**6)}{metadata} {json.dumps(entry['line'], ensure_ascii=False)}"
        else:
            labels = ", ".join(f"{name}={json.dumps(value)}" for name, value in part["labels"].items())
            yield from (f"{{{labels}}} {value} {at_ms}" for at_ms, value in part["samples"])
            if part["histograms"]:
                yield f"{{{labels}}} {part['histograms']} histograms"


@dead_letters.command()
@click.argument("numbers", metavar="[ID]...", nargs=-1, type=int)
@where_to_ask
@_sink
@click.option("--all", "everything", is_flag=True, help="All that were not redriven yet.")
@_json
def redrive(
    numbers: tuple[int, ...], file: Path | None, url: str | None, data: Path, sink: str, everything: bool, as_json: bool
) -> None:
    """Send dead letters again; what the store takes is listed no more. Exits 1 when something was refused again."""
    if bool(numbers) == everything:
        raise click.UsageError("give either ids or --all")

    async def work() -> list[dict[str, Any]]:
        async with desk_of(file, url, data) as desk:
            chosen = list(numbers)
            if everything:
                chosen = sorted(letter["id"] for letter in (await desk.listing(sink))["dead_letters"])
            out = []
            for number in chosen:
                try:
                    out.append(await desk.redrive(number))
                except PermanentError as error:
                    out.append({"id": number, "redriven": False, "delivered": 0, "rejected": 0, "reason": str(error)})
            return out

    try:
        results = asyncio.run(work())
    except PipelineError as error:
        raise complain(error) from error
    if as_json:
        click.echo(json.dumps(results))
    else:
        for result in results:
            word = "redriven" if result["redriven"] else "refused"
            said = f"{result['id']:>8}  {word}  {counted(result['delivered'], 'item')} delivered  {result['reason']}"
            click.echo(said.rstrip())
    if not all(result["redriven"] for result in results):
        raise SystemExit(1)


async def newest_refusals(log: Log, config: IngesterConfig, most: int) -> DeadLetterPage:
    """Return what the console shows of the dead letters; raises TransientError."""
    found = await Redrive(log, config, lambda _: None, time.time).listing(limit=most)
    rows = [
        DeadLetterRow(
            id=str(letter["id"]),
            at_ms=letter["at_ms"],
            cluster=letter["cluster"],
            sink=letter["sink"],
            signal=letter["signal"],
            status=letter["status"],
            reason=letter["reason"],
            items=letter["items"],
        )
        for letter in found["dead_letters"]
    ]
    return DeadLetterPage(found["total"], rows)


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")
