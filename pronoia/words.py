"""How commands say numbers."""


def counted(number: int, name: str) -> str:
    """Return `1,000 things`, `1 thing`, `0 things`."""
    return f"{number:,} {name}{'' if number == 1 else 's'}"
