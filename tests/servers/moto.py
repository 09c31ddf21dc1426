"""AWS' APIs for tests: moto's server, which the test dependencies bring. It is a stand-in that speaks the real API.

async with Moto(tmp_path) as moto:
    client = moto.client("ec2")
"""

import sys
from pathlib import Path
from typing import Any, Final, Self

import aiohttp

from tests.servers.processes import Process, free_port

REGION: Final = "eu-west-1"
KEYS: Final = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret"}


class Moto:
    """One server with an account of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = Process((sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)), folder)

    async def __aenter__(self) -> Self:
        self._process.folder.mkdir(parents=True, exist_ok=True)
        await self._process.start(self._ready)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._process.stop()

    def client(self, service: str) -> Any:
        """Return AWS' own client, by which the test makes what is to be found."""
        import boto3

        return boto3.client(service, region_name=REGION, endpoint_url=self.url, **KEYS)

    async def check_keys(self) -> None:
        """From now on check keys, signatures and policies, as AWS does; before, everybody may do everything."""
        async with aiohttp.ClientSession() as session, session.post(f"{self.url}/moto-api/reset-auth", data=b"0") as ok:
            assert ok.status == 200

    async def _ready(self) -> bool:
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}/moto-api/") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False
