"""How every kind of discovery writes addresses and the names of labels. Source: prometheus, util/strutil."""

import re

_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_]")


def label_part(name: str) -> str:
    """Return foreign text (a tag, a key) as the end of a label's name: anything but letters and digits becomes `_`."""
    return _NOT_IN_A_NAME.sub("_", name)


def host_port(host: str, port: int | str) -> str:
    """Return `host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host or "%" in host else f"{host}:{port}"


def separated(parts: list[str], separator: str = ",") -> str:
    """Return `,a,b,`: with separators around, a regex need not care where in the list a value stands."""
    return separator + separator.join(parts) + separator
