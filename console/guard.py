"""What every request passes, and what every answer carries, so that a browser cannot be turned against the console.

Label values, errors and names of targets come from strangers. The pages only ever write them as text; the headers here
are the second line: no script, style or connection but the console's own, no framing, no guessing of types.
"""

from collections.abc import Collection
from ipaddress import ip_address
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from pipeline.config import Address

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


def hosts_of(listen: Address, allowed: Collection[str]) -> frozenset[str]:
    """Return the names by which the console may be called."""
    return frozenset(("localhost", "127.0.0.1", "[::1]", _bracketed(listen.host), *map(str.lower, allowed)))


def host_name(header: str) -> str:
    """Return the name in a Host header, without its port."""
    if header.startswith("["):
        return header.partition("]")[0].lower() + "]"
    return header.partition(":")[0].lower()


def guard(hosts: frozenset[str]) -> Middleware:
    """Return the middleware that refuses requests for other hosts and sets the headers of every answer."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        name = host_name(request.headers.get("Host", ""))
        if name not in hosts and not _is_address(name):
            reason = "the console does not answer to this host name; add it to allowed_hosts\n"
            return web.Response(status=421, text=reason, headers=HEADERS)
        try:
            response = await handler(request)
        except web.HTTPException as error:
            error.headers.update(HEADERS)
            raise
        response.headers.update(HEADERS)
        return response

    return middleware


def _is_address(name: str) -> bool:
    """Return whether a host is an IP address: what has no name cannot be made to point elsewhere."""
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _bracketed(host: str) -> str:
    return f"[{host}]".lower() if ":" in host else host.lower()
