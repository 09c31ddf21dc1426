"""Certificates for tests, made with openssl: an authority, a server for loopback, a client."""

import shutil
from pathlib import Path

from tests.servers.processes import MissingServerError, run_tool


def make_certificates(folder: Path, client: str = "c1") -> Path:
    """Write ca.pem and, each with key and certificate in one file, server.pem and client.pem; return the folder."""
    if shutil.which("openssl") is None:
        raise MissingServerError("certificates need openssl (no `openssl` on the PATH)")
    folder.mkdir(parents=True, exist_ok=True)
    key = ("-newkey", "rsa:2048", "-nodes")
    run_tool(
        "openssl", "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=tests", "-days", "2",
        "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign", cwd=folder,
    )  # fmt: skip
    _sign(folder, "server", "localhost", "subjectAltName=IP:127.0.0.1,DNS:localhost")
    _sign(folder, "client", client, f"subjectAltName=DNS:{client}")
    return folder


def _sign(folder: Path, name: str, subject: str, extension: str) -> None:
    (folder / f"{name}.ext").write_text(f"{extension}\n", encoding="utf-8")
    request = ("-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={subject}")
    run_tool("openssl", "req", "-newkey", "rsa:2048", "-nodes", *request, cwd=folder)
    authority = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext")
    run_tool("openssl", "x509", "-req", "-in", f"{name}.csr", *authority, "-out", f"{name}.crt", cwd=folder)
    both = (folder / f"{name}.key").read_text() + (folder / f"{name}.crt").read_text()
    (folder / f"{name}.pem").write_text(both, encoding="utf-8")
