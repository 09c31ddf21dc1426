import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent.config.dns import DnsSdConfig
from agent.discovery import Place, TargetGroup
from agent.discovery import dns as dns_discovery
from agent.discovery.dns import Resolving, dns_groups, look_up, names_to_try, parse_resolv_conf, read_resolv_conf
from pipeline.errors import TransientError
from tests.agent.discovery.tools import Bench, addresses, bench
from tests.servers.knot import ZONE, Knot

AT = Place("job", "dns_sd_configs", 0)
MANY = "".join(f"many SRV 0 0 {port} a-name-that-takes-some-room-{port}\n" for port in range(1, 400))
RECORDS = f"""\
@ NS ns
ns A 127.0.0.1
web A 10.0.0.1
web A 10.0.0.2
alias CNAME web
six AAAA 2001:db8::1
@ MX 10 mail.{ZONE}.
_http._tcp SRV 0 0 8080 web
_http._tcp SRV 0 0 8081 other
{MANY}"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def knot(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Knot]:
    async with Knot(tmp_path_factory.mktemp("knot"), RECORDS) as server:
        yield server


@pytest.fixture
def silence() -> Iterator[int]:
    """The port of a server that takes questions and never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        yield silent.getsockname()[1]


async def found(knot: Knot, made: Bench, names: list[str], **config: Any) -> list[TargetGroup]:
    sd = DnsSdConfig(names=tuple(names), **config)
    return await anext(dns_groups(sd, AT, made.tools, lambda: Resolving(("127.0.0.1",), port=knot.port)))


@pytest.mark.dns
@pytest.mark.asyncio(loop_scope="module")
async def test_each_type_of_record_has_its_address_and_labels(knot: Knot) -> None:
    async with bench() as made:
        (srv,) = await found(knot, made, [f"_http._tcp.{ZONE}"])
        assert {target["__address__"]: dict(target) for target in srv.targets} == {
            f"{host}.{ZONE}:{port}": {
                "__address__": f"{host}.{ZONE}:{port}",
                "__meta_dns_name": f"_http._tcp.{ZONE}",
                "__meta_dns_srv_record_target": f"{host}.{ZONE}.",
                "__meta_dns_srv_record_port": port,
            }
            for host, port in (("web", "8080"), ("other", "8081"))
        }
        (a,) = await found(knot, made, [f"alias.{ZONE}"], type="a", port=9100)
        assert sorted(addresses([a])) == ["10.0.0.1:9100", "10.0.0.2:9100"]
        assert {target["__meta_dns_name"] for target in a.targets} == {f"alias.{ZONE}"}
        assert addresses(await found(knot, made, [f"six.{ZONE}"], type="AAAA", port=1)) == ["[2001:db8::1]:1"]
        (mx,) = await found(knot, made, [f"{ZONE}."], type="MX", port=25)
        assert mx.targets[0]["__address__"] == f"mail.{ZONE}:25"
        assert mx.targets[0]["__meta_dns_mx_record_target"] == f"mail.{ZONE}."
        (ns,) = await found(knot, made, [ZONE], type="NS", port=53)
        assert ns.targets[0]["__address__"] == f"ns.{ZONE}:53"
        assert ns.targets[0]["__meta_dns_ns_record_target"] == f"ns.{ZONE}."
        assert not made.tools.failures


@pytest.mark.dns
@pytest.mark.asyncio(loop_scope="module")
async def test_an_answer_that_udp_cuts_short_is_asked_for_by_tcp(knot: Knot) -> None:
    async with bench() as made:
        (group,) = await found(knot, made, [f"many.{ZONE}"])
        assert len(group.targets) == 399


@pytest.mark.dns
@pytest.mark.asyncio(loop_scope="module")
async def test_a_name_that_is_not_there_has_no_targets_and_one_without_such_records_neither(knot: Knot) -> None:
    async with bench() as made:
        for name in (f"gone.{ZONE}", f"web.{ZONE}"):
            (group,) = await found(knot, made, [name], type="AAAA", port=1)
            assert group.targets == ()
        assert not made.tools.failures


@pytest.mark.dns
@pytest.mark.asyncio(loop_scope="module")
async def test_search_domains_complete_a_name_and_the_first_that_is_there_counts(knot: Knot) -> None:
    resolving = Resolving(("127.0.0.1",), (f"no.{ZONE}", ZONE), port=knot.port)
    (answer,) = await look_up("web", "A", resolving)
    assert sorted(record.address for record in answer) == ["10.0.0.1", "10.0.0.2"]


@pytest.mark.dns
@pytest.mark.asyncio(loop_scope="module")
async def test_a_name_that_one_server_refuses_and_no_search_domain_has_is_a_failure(knot: Knot) -> None:
    resolving = Resolving(("127.0.0.1",), (ZONE,), port=knot.port)
    with pytest.raises(TransientError, match=r"elsewhere\.: no server could say: 127\.0\.0\.1: REFUSED"):
        await look_up("elsewhere", "A", resolving)


@pytest.mark.dns
@pytest.mark.asyncio(loop_scope="module")
async def test_a_failure_leaves_the_names_targets_and_touches_no_other_name(knot: Knot) -> None:
    ports = iter([knot.port, knot.port, 1, knot.port])
    config = DnsSdConfig(names=(f"web.{ZONE}", f"six.{ZONE}"), type="A", port=1)
    async with bench() as made:
        stream = dns_groups(config, AT, made.tools, lambda: Resolving(("127.0.0.1",), port=next(ports)))
        before = await anext(stream)
        following = asyncio.ensure_future(anext(stream))
        await made.time.sleeping()
        made.time.move(30)
        await made.time.sleeping()
        assert made.failures("job", "dns_sd_configs") == 1
        assert [key[1] for key in made.tools.failures] == [f"web.{ZONE}"]
        assert len(before[0].targets) == 2 and not following.done()
        following.cancel()


async def test_a_server_that_does_not_answer_is_followed_by_the_next(
    silence: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns_discovery, "TRY_S", 0.05)
    resolving = Resolving(("127.0.0.1", "127.0.0.1"), port=silence)
    with pytest.raises(TransientError, match=r"timed out.*; 127\.0\.0\.1: .*timed out"):
        await look_up("web.", "A", resolving)


@pytest.mark.parametrize(
    ("name", "ndots", "expected"),
    [
        ("web.", 1, ["web."]),
        ("web", 1, ["web.a.", "web.b.c.", "web."]),
        ("web.x", 1, ["web.x.", "web.x.a.", "web.x.b.c."]),
        ("web.x", 2, ["web.x.a.", "web.x.b.c.", "web.x."]),
        ("_http._tcp.web.x", 5, ["_http._tcp.web.x.a.", "_http._tcp.web.x.b.c.", "_http._tcp.web.x."]),
    ],
)
def test_names_are_completed_as_resolv_conf_says(name: str, ndots: int, expected: list[str]) -> None:
    assert names_to_try(name, Resolving((), ("a.", "b.c."), ndots)) == expected


def test_the_systems_resolver_configuration_is_read(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("# comment\nnameserver 10.0.0.10\nnameserver fd00::a\nsearch default.svc.cluster.local a\n")
    assert read_resolv_conf(path) == Resolving(("10.0.0.10", "fd00::a"), ("default.svc.cluster.local", "a"), 1)
    with pytest.raises(TransientError, match="cannot be read"):
        read_resolv_conf(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nameserver 10.0.0.10\noptions rotate ndots:5\n", Resolving(("10.0.0.10",), (), 5)),
        ("search a b\ndomain c\n", Resolving((), ("c",))),
        ("domain c\nsearch a b\n", Resolving((), ("a", "b"))),
        ("options ndots:99\n; search x\nnameserver\n", Resolving((), (), 15)),
        ("options ndots:x ndots:\n\n", Resolving(())),
    ],
)
def test_a_resolver_configuration_says_whom_to_ask_and_how(text: str, expected: Resolving) -> None:
    assert parse_resolv_conf(text) == expected


async def test_without_a_server_nothing_can_be_said() -> None:
    with pytest.raises(TransientError, match="there is no server"):
        await look_up("web", "A", Resolving(()))
