"""Loki's own sender pushes to the gateway, and Loki itself says what it makes of the same requests."""

import gzip
import json
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from pipeline.errors import TransientError
from pipeline.wire import snappy
from pipeline.wire.envelope import Signal
from pipeline.wire.loki import encode_entry, encode_stream
from tests.gateway.logs import kept_lines
from tests.gateway.running import running, until
from tests.servers.loki import Labels, Loki
from tests.servers.loki_canary import LokiCanary

JSON = {"Content-Type": "application/json"}
PROTOBUF = {"Content-Type": "application/x-protobuf"}
PUSH, LEGACY = "/loki/api/v1/push", "/api/prom/push"
NOW_NS = time.time_ns() // 10**9 * 10**9
DAY_NS = 86_400 * 10**9


@pytest.mark.loki
@pytest.mark.parametrize("batch", [1, 5])
async def test_what_lokis_canary_sends_is_in_the_log_once_and_in_order(tmp_path: Path, batch: int) -> None:
    async with running(tmp_path) as run:
        run.log.failures.append(TransientError("gone"))
        address = f"127.0.0.1:{run.gateway.http_port}"
        async with LokiCanary(
            tmp_path / "canary", address, password="secret-1", tenant="team", batch=batch, interval="20ms"
        ) as canary:

            async def enough() -> bool:
                return len(await kept_lines(run)) >= 50

            await until(enough, "fifty lines came", 30.0)
            assert canary.process is not None
            assert canary.process.said("failed to send entry, retrying") or batch > 1
        kept = await kept_lines(run)
        assert {labels for labels, _ in kept} == {'{cluster="c1", name="loki-canary", stream="stdout"}'}
        times = [int(line.split()[0]) for _, line in kept]
        assert times == sorted(set(times))
        assert {envelope.tenant for envelope in await run.envelopes(Signal.LOGS)} == {"team"}


class Case(NamedTuple):
    name: str
    body: bytes
    headers: dict[str, str] = JSON
    path: str = PUSH
    ours: int | None = None
    """Our status where it is not Loki's."""


def push(*values: Any, **labels: Any) -> bytes:
    return json.dumps({"streams": [{"stream": labels or {"app": "x"}, "values": values}]}).encode()


def legacy(ts: str, labels: str = '{app="x"}') -> bytes:
    return json.dumps({"streams": [{"labels": labels, "entries": [{"ts": ts, "line": "x"}]}]}).encode()


def proto(labels: bytes, *entries: bytes) -> bytes:
    return snappy.compress(encode_stream(labels, b"".join(entries) or encode_entry(NOW_NS, b"x")))


def cases() -> Iterator[Case]:
    """Yield requests, and where we differ from Loki, with the reason."""
    now = str(NOW_NS)
    good = push([now, "x"])
    yield Case("json", good)
    yield Case("metadata", push([now, "x", {"trace": "1", "b": "\t\n"}]))
    yield Case("characters", push([now, 'ü\u2028"\\\t\x00x']))
    yield Case(
        "label values of other kinds",
        b'{"streams": [{"stream": {"app": "x", "n": 1.50}, "values": [["%s", "x"]]}]}' % now.encode(),
    )
    yield Case("label values with escapes", push([now, "x"], app="x", path='C:\\a "b"\n'))
    yield Case("gzip", gzip.compress(good), {**JSON, "Content-Encoding": "gzip"})
    compressor = zlib.compressobj(wbits=-15)
    yield Case("deflate", compressor.compress(good) + compressor.flush(), {**JSON, "Content-Encoding": "deflate"})
    yield Case("parameters", good, {"Content-Type": "application/json; charset=utf-8"})
    yield Case("no values", push(["1"]), ours=400)  # an entry without a line
    yield Case("null values", b'{"streams": [{"stream": {"app": "x"}, "values": [null, ["%s", "x"]]}]}' % now.encode())
    yield Case("four values", push([now, "x", {}, "more"]))
    yield Case("a number as time", push([NOW_NS, "x"]))
    yield Case("a number as line", push([now, 1]))
    yield Case("a number in metadata", push([now, "x", {"a": 1}]))
    yield Case("a fraction", push([now + ".5", "x"]))
    yield Case("empty", b"")
    yield Case("no json", b"{")
    yield Case("a list", b"[]")
    yield Case("no streams", b'{"streams": []}', ours=204)  # nothing is asked for, and nothing is left out
    yield Case("no entries", push())
    yield Case("no labels", push([now, "x"]).replace(b'{"app": "x"}', b"{}"))
    yield Case("a bad label", push([now, "x"], **{"a-b": "x"}), ours=204)  # its name is quoted, as PromQL can
    zoned = datetime.fromtimestamp(NOW_NS // 10**9, timezone(timedelta(hours=-4))).isoformat()
    yield Case("legacy", legacy(zoned.replace("-04:00", ".123456789-04:00")), path=LEGACY)
    yield Case("legacy with a bad time", legacy("now"), path=LEGACY)
    yield Case("legacy with bad labels", legacy(zoned, "{app"), path=LEGACY)
    yield Case("legacy with a metric's name", legacy(zoned, "app"), path=LEGACY, ours=400)  # labels stand in braces
    yield Case("protobuf", proto(b'{app="x"}'), PROTOBUF)
    yield Case("protobuf by another name", proto(b'{app="x"}'), {"Content-Type": "application/octet-stream"})
    yield Case("gzip around protobuf", gzip.compress(proto(b'{app="x"}')), {**PROTOBUF, "Content-Encoding": "gzip"})
    yield Case("quoted names", proto(b'{"app"="x", }'), PROTOBUF)
    yield Case("raw strings", proto(b"{app=`x`}"), PROTOBUF)
    yield Case("a name twice", proto(b'{app="x", app="y"}'), PROTOBUF)
    yield Case("no braces", proto(b'app="x"'), PROTOBUF)
    yield Case("a bad time", proto(b'{app="x"}', b"\x12\x05\x0a\x03\x10\xff\x7f\x12\x01x"), PROTOBUF)
    yield Case("no snappy", b"none", PROTOBUF)
    yield Case("json as protobuf", good, PROTOBUF)
    yield Case("no content type", good, {"Content-Type": ""})
    yield Case("an unknown encoding", good, {**JSON, "Content-Encoding": "br"}, ours=415)  # as for remote write
    yield Case("a cut body", gzip.compress(good)[:-30], {**JSON, "Content-Encoding": "gzip"})
    # Loki does not look at what follows the JSON, and so not at the checksum.
    yield Case("a body without its checksum", gzip.compress(good)[:-9], {**JSON, "Content-Encoding": "gzip"}, ours=400)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def loki(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Loki]:
    """One Loki for all cases: each is a tenant."""
    async with Loki(tmp_path_factory.mktemp("loki"), tenants={}) as server:
        yield server


CASES = list(cases())


@pytest.mark.loki
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_requests_are_answered_and_read_as_by_loki(loki: Loki, tmp_path: Path, case: Case) -> None:
    tenant = f"case-{CASES.index(case)}"
    headers = {**case.headers, "X-Scope-OrgID": tenant}
    async with running(tmp_path) as run:
        async with run.session.post(loki.url + case.path, data=case.body, headers=headers) as response:
            theirs, why = response.status, await response.text()
        ours, reason, _ = await run.post(case.path, case.body, headers)
        assert ours == (case.ours or theirs), (why, reason)
        assert (ours == theirs) == (case.ours is None), "no longer another answer than Loki's"
        # What we carry, Loki takes, and reads as it read the request itself.
        for record in await run.records(Signal.LOGS):
            own = {**PROTOBUF, "X-Scope-OrgID": tenant}
            async with run.session.post(loki.push_url, data=record.payload, headers=own) as response:
                assert response.status == 204, await response.text()
        if theirs == ours == 204:
            start_ns, end_ns = NOW_NS - DAY_NS, NOW_NS + DAY_NS
            found = await loki.entries('{app="x"}', start_ns=start_ns, end_ns=end_ns, tenant=tenant)
            direct = [one for one in found if "cluster" not in dict(one.labels)]
            carried = [one for one in found if "cluster" in dict(one.labels)]
            assert [one._replace(labels=_without_cluster(one.labels)) for one in carried] == direct


def _without_cluster(labels: Labels) -> Labels:
    return tuple(pair for pair in labels if pair[0] != "cluster")
