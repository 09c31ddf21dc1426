"""One POST of one payload, and what became of it: what senders over HTTP share."""

import io
from collections.abc import Callable, Mapping
from typing import Final

import aiohttp

from pipeline.delivery import Outcome, Retry
from pipeline.errors import TransientError
from pipeline.http_client import HttpAccess, why_no_answer

_LARGE_BODY_BYTES: Final = 2**20

Judge = Callable[[int, Mapping[str, str], bytes], Outcome]
"""Judges an answer: its status, its headers (case-insensitive) and its body."""


async def post(
    session: aiohttp.ClientSession,
    access: HttpAccess,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    judge: Judge,
    *,
    timeout_s: float,
    max_answer_bytes: int,
) -> Outcome:
    """Send a body once, and return what `judge` says of the answer; `timeout_s` is the session's.

    Never raises for what a network or a receiver does: that is `Retry`.
    """
    try:
        arguments = await access.arguments(session, url, headers)
        # aiohttp writes a large body in slices when it reads it from a file, so that the loop stays free.
        data = body if len(body) <= _LARGE_BODY_BYTES else io.BytesIO(body)
        async with session.post(url, data=data, **arguments) as response:
            return judge(response.status, response.headers, await read_answer(response, max_answer_bytes))
    except TransientError as error:
        return Retry(str(error), error.retry_after_s, alarm=True)
    except TimeoutError:
        return Retry(f"no answer within {timeout_s:g} s", perhaps_taken=True)
    except aiohttp.ClientSSLError as error:
        return Retry(str(error), alarm=True)
    except aiohttp.ClientConnectorError as error:
        return Retry(why_no_answer(error))
    except (aiohttp.ClientError, OSError) as error:
        return Retry(why_no_answer(error), perhaps_taken=True)


async def read_answer(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Read what a receiver says, up to a bound: enough for its reasons, and its connection is used again."""
    out = b""
    while len(out) < max_bytes and (part := await response.content.read(max_bytes - len(out))):
        out += part
    return out
