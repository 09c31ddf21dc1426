"""`file_sd_configs`: target groups in files. Source: Prometheus documentation, `<file_sd_config>`."""

import asyncio
from pathlib import Path

from agent.config.files import matching
from agent.config.lists import FileSdConfig
from agent.discovery.groups import Reading, TargetGroup, parse_json, parse_yaml
from agent.discovery.tools import Groups, Place, Tools
from pipeline.errors import PermanentError, PipelineError, TransientError
from pipeline.stamps import MISSING, Stamp, stamps

LOOK_S = 2.0
"""How often files are looked at for changes: their names and stamps only. Polling sees what inotify misses (NFS,
renamed folders, Kubernetes' symbolic links), and needs no library."""


async def file_groups(config: FileSdConfig, at: Place, tools: Tools) -> Groups:
    """Give the groups of all files each time one changes, comes or goes.

    A file that cannot be read keeps its last good groups; it is read again when it changes, and at every refresh.
    """
    known: dict[Path, tuple[Stamp, list[TargetGroup]]] = {}
    readings: dict[Path, Reading] = {}
    yielded: list[TargetGroup] | None = None
    refresh_at_s = tools.clock()
    while True:
        all_again = tools.clock() >= refresh_at_s
        if all_again:
            refresh_at_s = tools.clock() + config.refresh_interval
        stamps = await asyncio.to_thread(_stamps, config.files)
        for path in known.keys() - stamps.keys():
            del known[path], readings[path]
            tools.succeeded(at, str(path))
        for path, stamp in stamps.items():
            last = known.get(path)
            if not all_again and last is not None and last[0] == stamp:
                continue
            reading = readings.setdefault(path, _reading(path))
            try:
                known[path] = (stamp, await asyncio.to_thread(read_groups, path, reading))
                tools.succeeded(at, str(path))
            except PipelineError as error:
                known[path] = (stamp, last[1] if last else [])
                tools.failed(at, str(path), error)
        groups = [group for path in stamps for group in known[path][1]]
        if groups != yielded:
            yielded = groups
            yield groups
        await tools.sleep(min(LOOK_S, max(refresh_at_s - tools.clock(), 0.0) or LOOK_S))


def read_groups(path: Path, reading: Reading | None = None) -> list[TargetGroup]:
    """Read one file, by its name's end as JSON or YAML; raises PipelineError with what is wrong.

    `reading` remembers what the file held last, so that the same is not read again.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise TransientError(f"{path}: cannot be read: {error.strerror}") from error
    return (reading or _reading(path))(text)


def _reading(path: Path) -> Reading:
    meta = {"__meta_filepath": str(path)}
    parse = parse_json if path.suffix.lower() == ".json" else parse_yaml

    def read(text: bytes) -> list[TargetGroup]:
        try:
            return parse(text.decode(), str(path), meta)
        except UnicodeDecodeError as error:
            raise PermanentError(f"{path}: not UTF-8: {error}") from error

    return Reading(read)


def _stamps(patterns: tuple[Path, ...]) -> dict[Path, Stamp]:
    found = stamps(path for pattern in patterns for path in matching(pattern))
    # Gone since it was listed, or a link that leads nowhere yet: the next look finds what is there then.
    return {path: stamp for path, stamp in found.items() if stamp != MISSING}
