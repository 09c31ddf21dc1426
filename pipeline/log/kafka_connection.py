"""How every client of Kafka connects: the arguments that aiokafka takes for it."""

import ssl
from typing import Any, Final

from pipeline.errors import PermanentError
from pipeline.log.config import KafkaConfig

REQUEST_S: Final = 15.0


def connection_arguments(config: KafkaConfig) -> dict[str, Any]:
    """Return the arguments that every client of aiokafka takes to connect; raises PermanentError."""
    sasl, tls = config.sasl, config.tls
    protocol = ("SASL_" if sasl else "") + ("SSL" if tls else "PLAINTEXT")
    arguments: dict[str, Any] = {
        "bootstrap_servers": config.brokers,
        "client_id": "pronoia",
        "request_timeout_ms": round(REQUEST_S * 1000),
        "retry_backoff_ms": 100,
        "security_protocol": protocol,
    }
    if sasl is not None:
        arguments |= {
            "sasl_mechanism": sasl.mechanism,
            "sasl_plain_username": sasl.username,
            "sasl_plain_password": sasl.secret(),
        }
    if tls is not None:
        try:
            context = ssl.create_default_context(cafile=tls.ca_file)
            if tls.cert_file is not None:
                context.load_cert_chain(tls.cert_file, tls.key_file)
        except (OSError, ssl.SSLError) as error:
            raise PermanentError(f"log.kafka.tls: a file cannot be used: {error}") from error
        if tls.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        arguments["ssl_context"] = context
    return arguments
