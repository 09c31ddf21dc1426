"""`dns_sd_configs`: targets that records of the DNS name. Source: prometheus, discovery/dns/dns.go; resolv.conf(5).

dnspython is imported by the first discovery that is configured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from agent.config.dns import DnsSdConfig
from agent.discovery.groups import ADDRESS, TargetGroup
from agent.discovery.labels import host_port
from agent.discovery.tools import Groups, Place, Tools
from pipeline.errors import PipelineError, TransientError

if TYPE_CHECKING:
    from dns.rrset import RRset

RESOLV_CONF: Final = Path("/etc/resolv.conf")
MAX_NDOTS: Final = 15
TRY_S: Final = 2.0
"""How long one server has to answer by UDP, and again by TCP."""


@dataclass(frozen=True, slots=True)
class Resolving:
    """Whom to ask, and how a name that is not rooted is completed."""

    servers: tuple[str, ...]
    search: tuple[str, ...] = ()
    ndots: int = 1
    port: int = 53


def read_resolv_conf(path: Path = RESOLV_CONF) -> Resolving:
    """Read the system's resolver configuration; raises TransientError."""
    try:
        return parse_resolv_conf(path.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise TransientError(f"{path}: cannot be read: {error.strerror}") from error


def parse_resolv_conf(text: str) -> Resolving:
    """Read what resolv.conf(5) describes; of `domain` and `search` the last one counts."""
    servers, search, ndots = list[str](), tuple[str, ...](), 1
    for words in filter(None, map(str.split, text.splitlines())):
        match words:
            case ["nameserver", server, *_]:
                servers.append(server)
            case ["domain", domain, *_]:
                search = (domain,)
            case ["search", *domains]:
                search = tuple(domains)
            case ["options", *options]:
                given = (option.removeprefix("ndots:") for option in options if option.startswith("ndots:"))
                ndots = next((min(int(count), MAX_NDOTS) for count in given if count.isdecimal()), ndots)
    return Resolving(tuple(servers), search, ndots)


def names_to_try(name: str, resolving: Resolving) -> list[str]:
    """Return the rooted names that `name` may stand for, in the order in which they are tried."""
    if name.endswith("."):
        return [name]
    rooted = name + "."
    searched = [rooted + domain.rstrip(".") + "." if domain.strip(".") else rooted for domain in resolving.search]
    # As Prometheus' library counts: labels, of which a name with one dot has two.
    return [rooted, *searched] if rooted.count(".") > resolving.ndots else [*searched, rooted]


async def dns_groups(
    config: DnsSdConfig, at: Place, tools: Tools, resolving: Callable[[], Resolving] = read_resolv_conf
) -> Groups:
    """Ask for all names every `refresh_interval`; a name that cannot be asked for keeps what it had."""
    known: dict[str, TargetGroup] = {}
    yielded: list[TargetGroup] | None = None

    async def refresh(name: str) -> None:
        try:
            records = await look_up(name, config.type, resolving())
            known[name] = group_of_records(config, name, records)
            tools.succeeded(at, name)
        except PipelineError as error:
            tools.failed(at, name, error)

    while True:
        await asyncio.gather(*(refresh(name) for name in dict.fromkeys(config.names)))
        groups = [known[name] for name in dict.fromkeys(config.names) if name in known]
        if groups != yielded:
            yielded = groups
            yield groups
        await tools.sleep(config.refresh_interval)


async def look_up(name: str, record_type: str, resolving: Resolving) -> list[RRset]:
    """Return the answer for the first of the possible names that is there; nothing if all servers know none.

    Raises TransientError where no name is there and one of them got no usable answer: then nothing is known.
    """
    failure = ""
    for rooted in names_to_try(name, resolving):
        try:
            answer = await _ask_servers(rooted, record_type, resolving)
        except TransientError as error:
            failure = failure or str(error)
            continue
        if answer is not None:
            return answer
    if failure:
        raise TransientError(failure)
    return []


async def _ask_servers(rooted: str, record_type: str, resolving: Resolving) -> list[RRset] | None:
    """Return the records of a name, None if there is no such name; raises TransientError if no server can say."""
    from dns import asyncquery, message, rcode
    from dns.exception import DNSException

    failures = []
    for server in resolving.servers:
        try:
            query = message.make_query(rooted, record_type, use_edns=0, payload=4096)
            answer, _ = await asyncquery.udp_with_fallback(query, server, TRY_S, resolving.port)
        except (DNSException, OSError, EOFError, ValueError) as error:
            failures.append(f"{server}: {error or type(error).__name__}")
            continue
        if answer.rcode() == rcode.NOERROR:
            return answer.answer
        if answer.rcode() == rcode.NXDOMAIN:
            return None
        failures.append(f"{server}: {rcode.to_text(answer.rcode())}")
    raise TransientError(f"{rooted}: no server could say: {'; '.join(failures) or 'there is no server'}")


def group_of_records(config: DnsSdConfig, name: str, records: Iterable[RRset]) -> TargetGroup:
    """Return the targets of an answer; what it has beside the asked type (a CNAME on the way) is none."""
    from dns.rdatatype import RdataType

    wanted = RdataType.from_text(config.type)
    found = (record for rrset in records if rrset.rdtype == wanted for record in rrset)
    targets = tuple({**_target(config, record), "__meta_dns_name": name} for record in found)
    return TargetGroup(name, targets, {})


def _target(config: DnsSdConfig, record: Any) -> Mapping[str, str]:
    if config.type == "SRV":
        target, port = record.target.to_text(), str(record.port)
        meta = {"__meta_dns_srv_record_target": target, "__meta_dns_srv_record_port": port}
        return {ADDRESS: host_port(target.rstrip("."), port), **meta}
    if config.type in ("MX", "NS"):
        target = (record.exchange if config.type == "MX" else record.target).to_text()
        meta = {f"__meta_dns_{config.type.lower()}_record_target": target}
        return {ADDRESS: host_port(target.rstrip("."), config.port), **meta}
    return {ADDRESS: host_port(record.address, config.port)}
