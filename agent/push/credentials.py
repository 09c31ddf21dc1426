"""How the agent proves itself to the gateway: the token and the certificates, read again at every connection."""

import ssl
from pathlib import Path

from agent.config.agent import GatewayClientConfig
from pipeline.errors import PermanentError, TransientError
from pipeline.http_config import TlsConfig
from pipeline.http_tls import make_tls_context


def authorization(config: GatewayClientConfig) -> dict[str, str]:
    """Return the header that carries the token, or none; raises TransientError where its file cannot be read."""
    token = config.token.get_secret_value()
    if config.token_file is not None:
        token = _read(config.token_file).decode().strip()
    return {"authorization": f"Bearer {token}"} if token else {}


def pem(inline: str, file: Path | None) -> bytes | None:
    """Return what is given inline or in a file, or None; raises TransientError where the file cannot be read."""
    if file is not None:
        return _read(file)
    return inline.encode() or None


def tls_context(config: TlsConfig | None) -> ssl.SSLContext:
    """Return a fresh context with the certificates as they are now; raises TransientError where they are unusable."""
    try:
        return make_tls_context(config or TlsConfig())
    except PermanentError as error:
        # Somebody may be about to write the files: the next connection reads them again.
        raise TransientError(f"gateway.{error}") from error


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise TransientError(f"{file} cannot be read: {error}") from error
