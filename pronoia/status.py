"""`pronoia status`: what the ledger says, per cluster and sink."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import click

from pipeline.config import ConfigError
from pipeline.http_client import why_no_answer

USUAL_URLS = ("http://127.0.0.1:15694", "http://127.0.0.1:15690")
_COLUMNS = (
    "cluster",
    "signal",
    "sink",
    "received",
    "delivered",
    "rejected",
    "missing",
    "duplicated",
    "rate/s",
    "lag s",
)


@click.command()
@click.option("--url", help="An ingester's admin address; left out: 127.0.0.1:15694, or `pronoia up` at 15690.")
@click.option(
    "--config", "file", type=click.Path(path_type=Path), help="The ingester's configuration, whose address is asked."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(url: str | None, file: Path | None, as_json: bool) -> None:
    """Show per cluster and sink what came, what was delivered, and what was not."""
    try:
        found = asyncio.run(_ask(_urls(url, file)))
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    except aiohttp.ClientConnectorError as error:
        if url or file:
            raise click.ClickException(f"no status: {why_no_answer(error)}") from error
        raise click.ClickException(
            f"no ingester answers at {' or '.join(USUAL_URLS)}: give --url, or --config"
        ) from error
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise click.ClickException(f"no status: {error or type(error).__name__}") from error
    if as_json:
        click.echo(json.dumps(found))
        return
    for line in table(found):
        click.echo(line)


def _urls(url: str | None, file: Path | None) -> list[str]:
    if url:
        return [url]
    if file is None:
        return list(USUAL_URLS)
    from pronoia.desk import where_served  # which imports the ingester

    return where_served(file)


async def _ask(urls: list[str]) -> dict[str, Any]:
    """Return the status of the first that can be reached."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session:
        for number, url in enumerate(urls):
            try:
                async with session.get(url.rstrip("/") + "/api/v1/status") as response:
                    if response.content_type != "application/json":
                        raise ValueError(f"{url} is no ingester's admin address (HTTP {response.status})")
                    content: dict[str, Any] = await response.json()
            except aiohttp.ClientConnectorError:
                if number + 1 == len(urls):
                    raise
                continue
            if response.status != 200:
                raise ValueError(content.get("error", f"HTTP {response.status}"))
            return content
    raise ValueError("no address")


def table(found: dict[str, Any]) -> list[str]:
    """Return the lines of a table, and behind it what keeps a sink from its work."""
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for cluster in found["clusters"]:
        for signal, part in cluster["signals"].items():
            for sink, counts in part["sinks"].items():
                numbers = (part["received"], *(counts[n] for n in ("delivered", "rejected", "missing", "duplicated")))
                rates = (f"{counts.get('rate', 0):.0f}", f"{counts['lag_s']:.1f}")
                rows.append((cluster["name"], signal, sink, *map(str, numbers), *rates))
    widths = [max(len(row[n]) for row in rows) for n in range(len(_COLUMNS))]
    lines = ["  ".join(_cell(row[n], widths[n], n) for n in range(len(_COLUMNS))).rstrip() for row in rows]
    for sink in found.get("sinks", []):
        reasons = [sink["trouble"], *sink["stuck"], *(item["reason"] for item in sink["retrying"])]
        lines += [f"{sink['name']}: {reason}" for reason in dict.fromkeys(filter(None, reasons))]
    return lines


def _cell(text: str, width: int, column: int) -> str:
    return text.ljust(width) if column < 3 else text.rjust(width)
