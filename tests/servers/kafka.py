"""A real Kafka broker for tests: Java runs it, Maven fetches it once. No container, no ZooKeeper.

async with Kafka(tmp_path) as kafka:
    config = kafka.config(topic_prefix="t1.")
    await kafka.kill()
    await kafka.restart()
"""

import asyncio
import base64
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pipeline.log.config import KafkaConfig
from tests.servers.processes import MissingServerError, Process, Server, free_port, provide, run_tool

VERSION = "4.3.1"
POM = Path(__file__).with_name("kafka.pom.xml")
JAVA = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.apache.logging.log4j.level=INFO")


def kafka_jars() -> Path:
    """Return the folder with the broker's jars, fetched with Maven the first time; raises MissingServerError."""
    if shutil.which("java") is None:
        raise MissingServerError("Kafka needs Java (no `java` on the PATH)")
    return provide(f"kafka-{VERSION}", _fetch)


def _fetch(folder: Path) -> None:
    if shutil.which("mvn") is None:
        raise MissingServerError("Kafka needs Maven (no `mvn` on the PATH)")
    goal = ("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}")
    run_tool("mvn", "-B", "-q", "-f", POM, *goal)


class Kafka(Server):
    """One broker that is its own controller, with its data in `folder` and its ports free ones on loopback.

    `properties` are added to the broker's own. `users` (name to password) opens a listener that asks
    for SASL; `tls` (a folder with `server.pem`, key and certificate, and `ca.pem`) one with TLS; both together a third
    with TLS and SASL.
    """

    version = VERSION

    def __init__(
        self,
        folder: Path,
        *,
        properties: Mapping[str, str] | None = None,
        users: Mapping[str, str] | None = None,
        tls: Path | None = None,
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.sasl_port = free_port()
        self.tls_port = free_port()
        self.sasl_tls_port = free_port()
        self._controller_port = free_port()
        self._users = dict(users or {})
        self._tls = tls
        self._extra = dict(properties or {})

    @property
    def address(self) -> str:
        """The `host:port` of the listener that asks for nothing."""
        return f"127.0.0.1:{self.port}"

    @property
    def sasl_address(self) -> str:
        """The `host:port` of the listener that asks for a user (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512)."""
        return f"127.0.0.1:{self.sasl_port}"

    @property
    def tls_address(self) -> str:
        """The `host:port` of the listener with TLS."""
        return f"127.0.0.1:{self.tls_port}"

    @property
    def sasl_tls_address(self) -> str:
        """The `host:port` of the listener with TLS that asks for a user."""
        return f"127.0.0.1:{self.sasl_tls_port}"

    def config(self, **more: Any) -> KafkaConfig:
        """Return a configuration for this broker; a prefix of its own keeps a test's topics apart."""
        prefix = f"t{uuid.uuid4().hex[:12]}."
        values = {"brokers": [self.address], "topic_prefix": prefix, "replication": 1, "min_in_sync": 1}
        return KafkaConfig.model_validate({**values, **more})

    async def __aenter__(self) -> Self:
        jars = await asyncio.to_thread(kafka_jars)
        await asyncio.to_thread(self._format, jars)
        self.process = Process(
            ("java", *JAVA, "-cp", f"{jars}/*", "kafka.Kafka", self.folder / "server.properties"), self.folder
        )
        await self.restart()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _format(self, jars: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{name}={value}" for name, value in {**self._properties(), **self._extra}.items()]
        (self.folder / "server.properties").write_text("\n".join(lines) + "\n", encoding="utf-8")
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        scram = [
            f"{mechanism}=[name={user},password={password}]"
            for user, password in self._users.items()
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
        ]
        asked = [part for entry in scram for part in ("--add-scram", entry)]
        # With "=", because one in 64 begins with a dash.
        storage = ("format", f"--cluster-id={cluster}", "--standalone", "-c", self.folder / "server.properties")
        run_tool("java", *JAVA, "-cp", f"{jars}/*", "kafka.tools.StorageTool", *storage, *asked, cwd=self.folder)

    def _properties(self) -> dict[str, str]:
        ports = {"PLAINTEXT": self.port}
        protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
        if self._users:
            ports["SASL"] = self.sasl_port
            protocols["SASL"] = "SASL_PLAINTEXT"
        if self._tls is not None:
            ports["TLS"] = self.tls_port
            protocols["TLS"] = "SSL"
        if self._users and self._tls is not None:
            ports["SASLTLS"] = self.sasl_tls_port
            protocols["SASLTLS"] = "SASL_SSL"
        listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{self._controller_port}",
            "listeners": f"{listeners},CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": listeners,
            "listener.security.protocol.map": ",".join(f"{name}:{value}" for name, value in protocols.items()),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(self.folder / "data"),
            "num.partitions": "1",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # Without these a broker that was killed takes 15 s to come back, not 4.
            "broker.session.timeout.ms": "2000",
            "broker.heartbeat.interval.ms": "500",
            **self._security(),
        }

    def _security(self) -> dict[str, str]:
        out: dict[str, str] = {}
        known = "".join(f' user_{user}="{password}"' for user, password in self._users.items())
        module = "org.apache.kafka.common.security"
        for listener in ("sasl", "sasltls") if self._users else ():
            at = f"listener.name.{listener}"
            out[f"{at}.sasl.enabled.mechanisms"] = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"
            out[f"{at}.plain.sasl.jaas.config"] = f"{module}.plain.PlainLoginModule required{known};"
            for mechanism in ("scram-sha-256", "scram-sha-512"):
                out[f"{at}.{mechanism}.sasl.jaas.config"] = f"{module}.scram.ScramLoginModule required;"
        for listener in ("tls", "sasltls") if self._tls is not None else ():
            at = f"listener.name.{listener}.ssl"
            out[f"{at}.keystore.type"] = "PEM"
            out[f"{at}.keystore.location"] = f"{self._tls}/server.pem"
            out[f"{at}.truststore.type"] = "PEM"
            out[f"{at}.truststore.location"] = f"{self._tls}/ca.pem"
        return out

    async def ready(self) -> bool:
        """Return whether it answers."""
        # The port opens before the broker is unfenced: what it writes once it really serves is what counts.
        assert self.process is not None
        return self.process.said("Kafka Server started")
