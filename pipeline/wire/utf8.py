"""Text that programs write, which is not always UTF-8."""


def as_utf8(data: bytes) -> bytes:
    """Return what UTF-8 the bytes hold, with U+FFFD for the rest: the very same bytes where there is none."""
    if data.isascii():
        return data
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode(errors="replace").encode()
    return data
