"""Whom a client trusts and how it proves itself: a `tls_config` as a context, made again when one of its files changes.

Source: Prometheus documentation, `<tls_config>`.
"""

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline.errors import PermanentError, TransientError
from pipeline.http_config import TlsConfig

_TLS_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}


class FileTexts:
    """The text of small files, read again when they change."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int, int], str]] = {}

    def stamp(self, path: Path) -> tuple[int, int, int]:
        """Return what changes when the file does."""
        try:
            stat = path.stat()
        except OSError as error:
            raise TransientError(f"cannot read {path}: {error.strerror}") from error
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def text(self, path: Path) -> str:
        """Return the file's text without the white space around it."""
        stamp = self.stamp(path)
        known = self._known.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise TransientError(f"cannot read {path}: {error}") from error
        self._known[path] = (stamp, text)
        return text


class TlsContext:
    """The context of one `tls_config`, made again when one of its files changes."""

    def __init__(self, config: TlsConfig, files: FileTexts) -> None:
        self._config = config
        self._files = files
        self._made: tuple[list[tuple[int, int, int]], ssl.SSLContext] | None = None
        self.is_default = config == TlsConfig()
        self.server_name = config.server_name

    def context(self) -> ssl.SSLContext:
        """Return the context; raises TransientError where a file cannot be read or holds no certificate."""
        config = self._config
        stamps = [self._files.stamp(path) for path in (config.ca_file, config.cert_file, config.key_file) if path]
        if self._made is None or self._made[0] != stamps:
            try:
                self._made = (stamps, make_tls_context(config))
            except PermanentError as error:
                raise TransientError(str(error)) from error
        return self._made[1]


def make_tls_context(config: TlsConfig) -> ssl.SSLContext:
    """Return a client's context for a `tls_config`; raises PermanentError for files that are no certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if config.ca_file or config.ca:
            context.load_verify_locations(cafile=config.ca_file, cadata=config.ca or None)
        elif not config.insecure_skip_verify:  # Reading a system's authorities takes many milliseconds.
            context.load_default_certs()
        if config.cert_file or config.cert:
            _load_client_certificate(context, config)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise PermanentError(f"tls_config cannot be used: {error}") from error
    if config.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = _TLS_VERSIONS[config.min_version or "TLS12"]
    if config.max_version:
        context.maximum_version = _TLS_VERSIONS[config.max_version]
    return context


def _load_client_certificate(context: ssl.SSLContext, config: TlsConfig) -> None:
    # OpenSSL's loader, as Python has it, reads files only.
    with ExitStack() as stack:
        cert_file = config.cert_file or stack.enter_context(_as_file(config.cert))
        key_file = config.key_file or stack.enter_context(_as_file(config.key.get_secret_value()))
        context.load_cert_chain(os.fspath(cert_file), os.fspath(key_file))


@contextmanager
def _as_file(text: str) -> Iterator[Path]:
    """Give text a path: of memory where the system can do that (Linux), so that a Secret's key is never on a disk."""
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        with os.fdopen(os.memfd_create("pem"), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            yield Path(f"/proc/self/fd/{file.fileno()}")
    else:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:  # Only we can read it.
            file.write(text)
            file.flush()
            yield Path(file.name)
