"""A listener's side of TLS: its certificate, and whose it asks for."""

import logging
import ssl

from agent.config.syslog import ListenTlsConfig
from pipeline.errors import PermanentError, TransientError

logger = logging.getLogger(__name__)


class ListenTls:
    """A listener's context; what changes in its files counts for the connections after. Raises TransientError."""

    def __init__(self, config: ListenTlsConfig) -> None:
        self._config = config
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion[config.min_version.replace("TLS1", "TLSv1_")]
        self._stamps: list[int] = []
        try:
            self._load()
        except PermanentError as error:
            raise TransientError(str(error)) from error

    def renew(self) -> None:
        """Read the files again where they changed; what was goes on where that cannot be."""
        try:
            self._load()
        except PermanentError as error:
            logger.error("the listener's certificate stays as it was: %s", error)

    def _load(self) -> None:
        config = self._config
        assert config.cert_file is not None
        try:
            files = [path for path in (config.cert_file, config.key_file, config.ca_file) if path is not None]
            stamps = [path.stat().st_mtime_ns for path in files]
            if stamps == self._stamps:
                return
            self.context.load_cert_chain(config.cert_file, config.key_file)
            if config.ca_file is not None:
                self.context.load_verify_locations(cafile=config.ca_file)
                self.context.verify_mode = ssl.CERT_REQUIRED
        except OSError as error:
            raise PermanentError(f"tls_config cannot be used: {error}") from error
        self._stamps = stamps


def listen_tls(config: ListenTlsConfig) -> ListenTls | None:
    """Return what the section says, None where it names no certificate; raises TransientError."""
    return None if config.cert_file is None else ListenTls(config)
