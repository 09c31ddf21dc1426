"""The one error of the receivers: a request that cannot be taken as it is."""

from pipeline.errors import PermanentError


class BadRequestError(PermanentError):
    """The request is at fault, and the same will be refused again; `status` is HTTP's (400, 413 or 415)."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
