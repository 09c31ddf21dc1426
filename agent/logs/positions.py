"""promtail's `positions.yaml`, read once: where promtail was, so that we go on there.

Its entries become state of the buffer: a file's offset stays there until that file is known, a journal's cursor is the
position itself. Source: grafana/loki, clients/pkg/promtail/positions and targets/journal.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agent.config.promtail import PositionsConfig
from agent.logs.chunk import Keep, Take
from pipeline.config import parse
from pipeline.errors import PermanentError

logger = logging.getLogger(__name__)

LANE_KEY: Final = "promtail's positions"
_IMPORTED: Final = b"promtail/imported"
_OFFSET: Final = b"promtail/offset\0"
_CURSORS: Final = ("cursor-", "journal-")
"""How promtail's entries of journals begin; the second in older files."""


@dataclass(frozen=True, slots=True)
class Positions:
    """What a positions file holds: files' offsets by path, and journals' cursors by job."""

    offsets: Mapping[str, int] = field(default_factory=dict)
    cursors: Mapping[str, str] = field(default_factory=dict)


def parse_positions(text: str, file: str) -> Positions:
    """Read a positions file; raises PermanentError where it is none, or is damaged."""
    value: Any = parse(text, file, text_scalars=True).value
    entries = value.get("positions") if isinstance(value, dict) else None
    if value and (not isinstance(value, dict) or value.keys() - {"positions"}):
        raise PermanentError(f"{file} is no positions file of promtail's: it has other keys than `positions`")
    if not (entries is None or isinstance(entries, dict)):
        raise PermanentError(f"{file}: its positions are no map of files")
    offsets, cursors = dict[str, int](), dict[str, str]()
    for path, position in (entries or {}).items():
        job = next((path.removeprefix(begin) for begin in _CURSORS if str(path).startswith(begin)), None)
        if job is not None:
            cursors[job] = str(position)
        elif not str(position).isdigit():
            raise PermanentError(f"{file}: the position of {path} is no number: {position!r}")
        else:
            offsets[str(path)] = int(position)
    return Positions(offsets, cursors)


def read_positions(config: PositionsConfig) -> Positions:
    """Read the file that a configuration names; nothing where there is none. Raises PermanentError where it is damaged.

    Going on without it would read every file again from its beginning: `ignore_invalid_yaml` asks for that.
    """
    try:
        return parse_positions(config.filename.read_text(encoding="utf-8"), str(config.filename))
    except FileNotFoundError:
        return Positions()
    except (OSError, UnicodeDecodeError, PermanentError) as error:
        if config.ignore_invalid_yaml:
            logger.error("promtail's positions cannot be read, every file is read from its beginning: %s", error)
            return Positions()
        raise PermanentError(
            f"promtail's positions cannot be read: {error}: mend or remove the file, or set"
            " positions.ignore_invalid_yaml to read every file from its beginning"
        ) from error


async def import_once(config: PositionsConfig | None, keep: Keep, cursor_key: Mapping[str, bytes]) -> None:
    """Take over what promtail had read, unless that was done before; raises PermanentError.

    `cursor_key` has the state's key of each journal job's position.
    """
    if config is None or keep.state(_IMPORTED):
        return
    found = await asyncio.to_thread(read_positions, config)
    state: dict[bytes, bytes | None] = {_IMPORTED: str(config.filename).encode()}
    # What is gone is gone: promtail forgets it, too.
    there = await asyncio.to_thread(lambda: [path for path in found.offsets if Path(path).exists()])
    state |= {_OFFSET + path.encode(errors="surrogateescape"): b"%d" % found.offsets[path] for path in there}
    state |= {cursor_key[job]: cursor.encode() for job, cursor in found.cursors.items() if job in cursor_key}
    await keep.keep(Take(LANE_KEY, state=state))
    if found.offsets or found.cursors:
        taken = {"file": str(config.filename), "files": len(found.offsets), "journals": len(found.cursors)}
        logger.info("going on where promtail was", extra=taken)


def imported_offsets(keep: Keep) -> dict[str, int]:
    """Return the offsets of files that we have not read ourselves yet."""
    found = keep.state(_OFFSET).items()
    return {key.removeprefix(_OFFSET).decode(errors="surrogateescape"): int(offset) for key, offset in found}


async def forget_known(keep: Keep, known: Iterable[str]) -> None:
    """Forget the offsets of files that we know ourselves: another file may get such a name one day."""
    offsets = imported_offsets(keep)
    if gone := offsets.keys() & set(known):
        keys = {_OFFSET + path.encode(errors="surrogateescape"): None for path in gone}
        await keep.put(Take(LANE_KEY, state=keys))
