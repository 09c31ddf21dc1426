"""The console's configuration."""

from pipeline.config import Address, ListenAddress, Section


class ConsoleConfig(Section):
    """Where the console listens, and the names by which browsers may call it.

    The console shows everything and asks nobody who they are: it belongs on loopback, or behind a proxy that does. A
    request for any other host name than `localhost` and `allowed_hosts` is refused, since a page from elsewhere could
    reach it by a name that it lets point here (DNS rebinding); addresses are not names.
    """

    listen: ListenAddress = Address(host="127.0.0.1", port=15600)
    allowed_hosts: tuple[str, ...] = ()
