"""Certificates for tests, good for a hundred years: `ca.pem` signed `server.pem` and `client.pem`.

The server's is for localhost, 127.0.0.1 and server.test. The keys are worth nothing: they are public.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
CA, SERVER, SERVER_KEY = FOLDER / "ca.pem", FOLDER / "server.pem", FOLDER / "server.key"
CLIENT, CLIENT_KEY = FOLDER / "client.pem", FOLDER / "client.key"
