import asyncio
import shutil
import ssl
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from prometheus_client import CollectorRegistry

from gateway.config import GatewayConfig
from gateway.service import Gateway
from pipeline.errors import PermanentError, TransientError
from pipeline.log.interface import TopicSpec
from pipeline.telemetry import LogMetrics
from pipeline.wire import snappy
from pipeline.wire.push_pb2 import Ack, Batch
from tests import certificates
from tests.gateway.running import ONE_CLUSTER, WRITE, FaultyLog, Running, batch, own, running, until

LISTEN = {"http": "127.0.0.1:0", "grpc": "127.0.0.1:0"}


async def test_tokens_change_with_their_file_and_without_a_restart(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("secret-1\n")
    async with running(tmp_path, clusters=[{"name": "c1", "token_file": str(tokens)}]) as run:
        assert (await run.write(own(1), {"Authorization": "Bearer new"}))[0] == 401
        tokens.write_text("secret-1\nnew\n")
        await until(lambda: _answers(run, "new", 204), "the new token is known")
        assert (await run.write(own(1)))[0] == 204
        tokens.write_text("new\n")
        await until(lambda: _answers(run, "secret-1", 401), "the old token is forgotten")
        assert (await run.write(own(1), {"Authorization": "Bearer new"}))[0] == 204


async def _answers(run: Running, token: str, status: int) -> bool:
    return (await run.write(own(1), {"Authorization": f"Bearer {token}"}))[0] == status


async def test_a_token_file_that_cannot_be_used_changes_nothing_and_says_so(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("secret-1\n")
    async with running(tmp_path, clusters=[{"name": "c1", "token_file": str(tokens)}]) as run:
        tokens.write_text("# none\n")
        await until(lambda: _reloads(run, "failed"), "the failure is counted")
        assert (await run.write(own(1)))[0] == 204
        with pytest.raises(PermanentError, match="holds no token"):
            await run.gateway.reload()
        tokens.unlink()
        with pytest.raises(PermanentError, match="cannot be read"):
            await run.gateway.reload()
        assert (await run.write(own(1)))[0] == 204


async def _reloads(run: Running, outcome: str) -> bool:
    return run.metric("pronoia_gateway_reloads_total", outcome=outcome) > 0


async def test_clusters_change_with_the_configuration_and_without_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yml"
    file.write_text("one")
    values: dict[str, Any] = {"log": {"sqlite": {"path": str(tmp_path / "log")}}, "listen": LISTEN, "name": "gw"}
    two = [*ONE_CLUSTER, {"name": "c2", "tokens": ["secret-2"]}]

    def load() -> GatewayConfig:
        if file.read_text() == "wrong":
            raise PermanentError("gateway.yml:1: wrong")
        return GatewayConfig.model_validate({**values, "clusters": ONE_CLUSTER if file.read_text() == "one" else two})

    async with running(tmp_path, gateway={"load": load, "watch": [file]}) as run:
        assert not await _answers(run, "secret-2", 400)
        file.write_text("two!")
        await until(lambda: _answers(run, "secret-2", 400), "the second cluster is known")
        file.write_text("wrong")
        await until(lambda: _reloads(run, "failed"), "the failure is counted")
        assert (await run.write(own(1)))[0] == 204
        values["lanes"] = 9
        file.write_text("two")
        with pytest.raises(PermanentError, match="lanes: a change needs a restart"):
            await run.gateway.reload()


def test_two_clusters_may_not_share_a_token(tmp_path: Path) -> None:
    clusters = [*ONE_CLUSTER, {"name": "c2", "tokens": ["secret-1"]}]
    config = GatewayConfig.model_validate({"log": {"sqlite": {"path": str(tmp_path)}}, "clusters": clusters})
    log = FaultyLog(tmp_path, LogMetrics(CollectorRegistry()))
    with pytest.raises(PermanentError, match="clusters c1 and c2 have the same token"):
        Gateway(config, log, CollectorRegistry())


async def test_a_port_in_use_is_said_at_the_start(tmp_path: Path) -> None:
    async with running(tmp_path / "one") as run:
        taken = {"http": f"127.0.0.1:{run.gateway.http_port}", "grpc": None}
        with pytest.raises(PermanentError, match="cannot listen on"):
            async with running(tmp_path / "two", listen=taken):
                pass
        taken = {"grpc": f"127.0.0.1:{run.gateway.grpc_port}", "http": None}
        with pytest.raises(PermanentError, match="cannot listen on"):
            async with running(tmp_path / "three", listen=taken):
                pass


async def test_a_log_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    class Late(FaultyLog):
        missing = True

        async def ensure_topic(self, spec: TopicSpec) -> int:
            if self.missing:
                raise TransientError("no broker answers")
            return await super().ensure_topic(spec)

    values = {"log": {"sqlite": {"path": str(tmp_path)}}, "listen": LISTEN, "clusters": ONE_CLUSTER}
    log = Late(tmp_path, LogMetrics(CollectorRegistry()))
    await log.start()
    part = Gateway(GatewayConfig.model_validate(values), log, CollectorRegistry())
    await part.start()
    try:
        assert part.ready() == "the log cannot be reached: no broker answers"
        log.missing = False

        async def ready() -> bool:
            return part.ready() is None

        await until(ready, "the gateway is ready")
    finally:
        await part.drain()
        await log.close()


TLS = {
    "cert_file": str(certificates.SERVER),
    "key_file": str(certificates.SERVER_KEY),
    "client_ca_file": str(certificates.CA),
}


def client_context(*, certificate: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificates.CA)
    if certificate:
        context.load_cert_chain(certificates.CLIENT, certificates.CLIENT_KEY)
    return context


async def test_a_client_certificate_stands_for_its_cluster_over_http(tmp_path: Path) -> None:
    clusters = [{"name": "c1", "certificates": ["client.test"]}, {"name": "c2", "tokens": ["secret-2"]}]
    async with running(tmp_path, clusters=clusters, tls=TLS, listen={"http": "127.0.0.1:0", "grpc": None}) as run:
        run.headers.clear()
        body = snappy.compress(own(1))
        with_one, without = client_context(certificate=True), client_context(certificate=False)
        assert (await run.post("/api/v1/write", body, WRITE, ssl=with_one))[0] == 204
        status, text, _ = await run.post("/api/v1/write", body, WRITE, ssl=without)
        assert (status, "neither a token nor a certificate" in text) == (401, True)
        token = {**WRITE, "Authorization": "Bearer secret-2"}
        assert (await run.post("/api/v1/write", snappy.compress(own(1, "c2")), token, ssl=without))[0] == 204
        assert {envelope.cluster for envelope in await run.envelopes()} == {"c1", "c2"}


async def test_a_client_certificate_stands_for_its_cluster_over_grpc(tmp_path: Path) -> None:
    clusters = [{"name": "c1", "certificates": ["client.test"]}]
    async with running(tmp_path, clusters=clusters, tls={**TLS, "require_client_certificate": True}) as run:
        credentials = grpc.ssl_channel_credentials(
            certificates.CA.read_bytes(), certificates.CLIENT_KEY.read_bytes(), certificates.CLIENT.read_bytes()
        )
        async with grpc.aio.secure_channel(f"localhost:{run.gateway.grpc_port}", credentials) as channel:
            method: Any = channel.stream_stream(
                "/pronoia.push.v1.Push/Push",
                request_serializer=Batch.SerializeToString,
                response_deserializer=Ack.FromString,
            )
            call = method()
            await call.write(batch(own(0), 0))
            assert (await call.read()).status == Ack.ACCEPTED
            await call.done_writing()
        assert [envelope.cluster for envelope in await run.envelopes()] == ["c1"]


async def test_new_certificates_are_used_without_closing_the_port(tmp_path: Path) -> None:
    files = {name: tmp_path / Path(path).name for name, path in TLS.items()}
    for name, path in TLS.items():
        shutil.copy(path, files[name])
    tls = {name: str(path) for name, path in files.items()}
    async with running(tmp_path, tls=tls, listen={"http": "127.0.0.1:0", "grpc": None}) as run:
        port = run.gateway.http_port
        assert await _presented(port) == certificates.SERVER
        shutil.copy(certificates.CLIENT_KEY, files["key_file"])
        await until(lambda: _reloads(run, "failed"), "a key that does not fit is noticed")
        assert await _presented(port) == certificates.SERVER
        shutil.copy(certificates.CLIENT, files["cert_file"])

        async def changed() -> bool:
            return await _presented(port) == certificates.CLIENT

        await until(changed, "the new certificate is presented")
        context = client_context(certificate=False)
        assert (await run.post("/api/v1/write", snappy.compress(own(1)), WRITE, ssl=context))[0] == 204


async def _presented(port: int) -> Path:
    """Return which of the test's certificates the server presents."""
    pem = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
    der = ssl.PEM_cert_to_DER_cert(pem)
    for path in (certificates.SERVER, certificates.CLIENT):
        text = path.read_text()
        if ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN CERT") :].split("-----END CERTIFICATE-----")[0]
                                    + "-----END CERTIFICATE-----\n") == der:  # fmt: skip
            return path
    raise AssertionError("another certificate")
