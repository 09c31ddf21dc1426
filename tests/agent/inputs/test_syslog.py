"""Syslog from rsyslogd over TCP, TLS and UDP, in its forms; and from senders that do not keep to any."""

import asyncio
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agent.config.syslog import ListenTlsConfig, SyslogConfig
from agent.inputs.listen_tls import listen_tls
from agent.inputs.syslog import SyslogTcp
from agent.inputs.syslog_udp import SyslogUdp
from tests.agent.inputs.parts import Desk, Memory, all_labels, running
from tests.e2e.processes import until
from tests.servers.certificates import make_certificates
from tests.servers.rsyslog import Rsyslog

MODERN = 'template="RSYSLOG_SyslogProtocol23Format"'
OLD = 'template="RSYSLOG_TraditionalForwardFormat"'


def config(**more: Any) -> SyslogConfig:
    return SyslogConfig.model_validate({"listen_address": "127.0.0.1:0", **more})


def forward(port: int, more: str) -> str:
    return f'action(type="omfwd" target="127.0.0.1" port="{port}" {more})'


@pytest.mark.syslog
@pytest.mark.parametrize("framing", ["traditional", "octet-counted"])
async def test_rsyslog_sends_rfc_5424_over_tcp(tmp_path: Path, framing: str) -> None:
    desk = Desk(Memory(), all_labels)
    source = SyslogTcp(config(labels={"site": "here"}), desk.tools())
    async with running(source):
        action = forward(source.port, f'protocol="tcp" TCP_Framing="{framing}" {MODERN}')
        async with Rsyslog(tmp_path, action) as rsyslog:
            rsyslog.log(*(b"<34>Oct 11 22:14:15 app[77]: message %d" % number for number in range(1000)))
            lines = await desk.memory.has(1000)
    assert [line.line.strip() for line in lines] == [f"message {number}" for number in range(1000)]
    labels = dict(lines[0].labels)
    assert labels.pop("syslog_message_hostname")
    assert labels.pop("syslog_connection_hostname", "localhost") == "localhost"
    assert labels == {
        "site": "here",
        "syslog_connection_ip_address": "127.0.0.1",
        "syslog_message_severity": "critical",
        "syslog_message_facility": "auth",
        "syslog_message_app_name": "app",
        "syslog_message_proc_id": "77",
    }
    assert desk.value("lines") == 1000
    assert all(line.time_ns > 1_700_000_000 * 10**9 for line in lines)


@pytest.mark.syslog
async def test_rsyslog_sends_rfc_3164_over_udp(tmp_path: Path) -> None:
    desk = Desk(Memory(), all_labels)
    source = SyslogUdp(config(listen_protocol="udp", syslog_format="rfc3164"), desk.tools())
    async with running(source), Rsyslog(tmp_path, forward(source.port, f'protocol="udp" {OLD}')) as rsyslog:
        rsyslog.log(b"<165>Aug 24 05:34:00 app: over UDP")
        [line] = await desk.memory.has(1)
    assert line.line.strip() == "over UDP"
    assert (line.labels["syslog_message_app_name"], line.labels["syslog_message_facility"]) == ("app", "local4")


@pytest.mark.syslog
async def test_rsyslog_sends_over_tls_with_a_certificate_of_its_own(tmp_path: Path) -> None:
    made = make_certificates(tmp_path / "certificates")
    files = {"cert_file": made / "server.pem", "key_file": made / "server.pem", "ca_file": made / "ca.pem"}
    desk = Desk(Memory())
    source = SyslogTcp(config(tls_config=files), desk.tools())
    settings = (
        f'global(DefaultNetstreamDriver="gtls" DefaultNetstreamDriverCAFile="{made}/ca.pem"'
        f' DefaultNetstreamDriverCertFile="{made}/client.crt" DefaultNetstreamDriverKeyFile="{made}/client.key")'
    )
    driver = 'protocol="tcp" StreamDriver="gtls" StreamDriverMode="1" StreamDriverAuthMode="x509/certvalid"'
    async with running(source):
        await _knock(source.port, made / "ca.pem")
        async with Rsyslog(tmp_path / "rsyslog", forward(source.port, f"{driver} {MODERN}"), settings) as rsyslog:
            rsyslog.log(b"<13>Oct 11 22:14:15 app: in secret")
            [line] = await desk.memory.has(1)
    assert line.line.strip() == "in secret"


async def _knock(port: int, ca_file: Path) -> None:
    """Send without a certificate: nobody listens."""
    context = ssl.create_default_context(cafile=str(ca_file))
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    with suppress(OSError):
        writer.write(b"<13>1 - - - - - - stranger\n")
        assert await reader.read() == b""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def _send(port: int, data: bytes) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def test_a_message_is_made_into_an_entry_as_promtail_does() -> None:
    desk = Desk(Memory(), all_labels)
    given = config(use_incoming_timestamp=True, label_structured_data=True, use_rfc5424_message=True)
    source = SyslogTcp(given, desk.tools())
    message = b'<165>1 2003-10-11T22:14:15.003Z host app 8 ID47 [example@99999 test="yes"] text'
    async with running(source):
        await _send(source.port, message + b"\n")
        [line] = await desk.memory.has(1)
    assert line.line == message.decode()
    assert line.time_ns == 1_065_910_455_003_000_000
    assert line.labels["syslog_message_sd_example_99999_test"] == "yes"
    assert line.labels["syslog_message_msg_id"] == "ID47"


async def test_what_has_no_text_or_is_relabelled_away_is_counted() -> None:
    desk = Desk(Memory(), lambda found: None if found.get("__syslog_message_app_name") == "noise" else {})
    source = SyslogTcp(config(), desk.tools())
    async with running(source):
        await _send(source.port, b"<1>1 - h noise - - - a\n<1>1 - h app - - - \n<1>1 - h app - - - b\n")
        await desk.memory.has(1)
    assert desk.memory.texts == ["b"]
    assert desk.value("dropped_lines", reason="empty_syslog_message") == 1
    assert desk.value("dropped_lines", reason="relabel_configs") == 1


async def test_binary_and_endless_lines_cost_nobody_else_anything() -> None:
    desk = Desk(Memory())
    source = SyslogTcp(config(max_message_length=1000), desk.tools())
    async with running(source):
        await _send(source.port, b"<1>" + b"x" * 20_000_000 + b"\n<2>next\n")
        await _send(source.port, bytes(range(256)) * 20 + b"\n")
        await _send(source.port, b"999999 <1>a count that lies")
        await _send(source.port, b"<1>still here\n")

        async def all_came() -> bool:
            return {"next", "a count that lies", "still here"} <= set(desk.memory.texts)

        await until(all_came, "all that can be read came")
    assert "x" * 997 in desk.memory.texts
    assert desk.value("cut_lines") >= 1


async def test_a_silent_connection_is_closed() -> None:
    desk = Desk(Memory())
    source = SyslogTcp(config(idle_timeout="100ms"), desk.tools())
    async with running(source):
        reader, writer = await asyncio.open_connection("127.0.0.1", source.port)
        writer.write(b"<1>unfinished")
        assert await reader.read() == b""
        writer.close()
        await desk.memory.has(1)
    assert desk.memory.texts == ["unfinished"]


async def test_nobody_is_read_from_while_the_buffer_is_full() -> None:
    desk = Desk(Memory())
    source = SyslogTcp(config(), desk.tools())
    block = b"".join(b"<1>h: %07d%s\n" % (number, b"x" * 100) for number in range(10_000))
    async with running(source):
        desk.memory.room.clear()
        _, writer = await asyncio.open_connection("127.0.0.1", source.port)
        writer.transport.set_write_buffer_limits(0)
        sent = 0

        async def is_held_back() -> bool:
            nonlocal sent
            try:
                async with asyncio.timeout(0.5):
                    writer.write(block)
                    sent += 1
                    await writer.drain()
            except TimeoutError:
                return True
            return False

        await until(is_held_back, "the sender has to wait")
        desk.memory.room.set()
        await writer.drain()
        writer.close()
        await desk.memory.has(sent * 10_000, 60)
    assert [line[:7] for line in desk.memory.texts[:10_000]] == [f"{number:07}" for number in range(10_000)]


async def test_datagrams_beyond_the_bound_are_counted() -> None:
    desk = Desk(Memory())
    source = SyslogUdp(config(listen_protocol="udp"), desk.tools())
    async with running(source):
        desk.memory.room.clear()
        for number in range(300):  # given as the event loop gives them: a socket would lose them itself, uncounted
            source.datagram_received(b"<1>%05d" % number + b"x" * 60_000, ("127.0.0.1", 5))
        dropped = desk.value("dropped_lines", reason="udp_queue_full")
        assert 0 < dropped < 100
        desk.memory.room.set()
        await desk.memory.has(300 - int(dropped))


async def test_a_port_that_is_taken_is_told_and_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        desk = Desk(Memory())
        port = holder.getsockname()[1]
        source = SyslogTcp(config(listen_address=f"127.0.0.1:{port}"), desk.tools())
        task = asyncio.create_task(source.run())

        async def is_told() -> bool:
            return "cannot listen" in (source.trouble() or "")

        await until(is_told, "it says that it cannot listen")
    try:

        async def listens() -> bool:
            return source.trouble() is None

        await until(listens, "it listens")
        assert desk.value("errors", input="syslog") >= 1
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"listen_protocol": "udp", "tls_config": {"cert_file": "a", "key_file": "b"}}, "DTLS"),
        ({"tls_config": {"ca_file": "a"}}, "cert_file"),
        ({"tls_config": {"insecure_skip_verify": True}}, "insecure_skip_verify"),
        ({"syslog_format": "rfc1"}, "rfc5424"),
        ({"listen_address": "nowhere"}, "not an address"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        config(**given)


async def test_a_certificate_that_changes_counts_for_the_connections_after(tmp_path: Path) -> None:
    first, second = make_certificates(tmp_path / "first"), make_certificates(tmp_path / "second")
    files = {"cert_file": tmp_path / "cert.pem", "key_file": tmp_path / "cert.pem"}
    (tmp_path / "cert.pem").write_bytes((first / "server.pem").read_bytes())
    tls = listen_tls(ListenTlsConfig.model_validate(files))
    assert tls is not None
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=tls.context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await _shake(port, first / "ca.pem")
        (tmp_path / "cert.pem").write_text("half a certificate")
        tls.renew()
        await _shake(port, first / "ca.pem")
        (tmp_path / "cert.pem").write_bytes((second / "server.pem").read_bytes())
        tls.renew()
        await _shake(port, second / "ca.pem")


async def _shake(port: int, ca_file: Path) -> None:
    context = ssl.create_default_context(cafile=str(ca_file))
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def test_datagrams_that_came_before_the_end_are_kept() -> None:
    desk = Desk(Memory())
    source = SyslogUdp(config(listen_protocol="udp"), desk.tools())
    async with running(source):
        for number in range(100):
            source.datagram_received(b"<1>%d" % number, ("::ffff:127.0.0.1", 5))
    assert desk.memory.texts == [str(number) for number in range(100)]
