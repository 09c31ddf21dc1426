"""The one error of the encodings: bytes that are not what they claim to be."""


class MalformedError(ValueError):
    """The input is not in the format it claims; `position` is the byte where that shows, counted from 0."""

    def __init__(self, reason: str, position: int | None = None) -> None:
        super().__init__(reason if position is None else f"{reason} at byte {position}")
        self.reason = reason
        self.position = position
