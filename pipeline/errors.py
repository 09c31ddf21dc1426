"""Every failure of the pipeline is one of two kinds: trying again later may help, or it never will.

Raise them from their cause. `TransientError` carries the delay that the other side asked for, if it did.
"""


class PipelineError(Exception):
    """What the pipeline raises; the message is one sentence that says what happened and, where it can, what to do."""


class PermanentError(PipelineError):
    """Trying the same thing again cannot succeed: malformed data, a wrong configuration, a refused identity."""


class TransientError(PipelineError):
    """Trying again may succeed: `retry_after_s` seconds from now if the other side named a delay."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
