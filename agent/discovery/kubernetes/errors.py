"""What an API server refuses, as types. Source: Kubernetes API conventions, "Response Status Kind"; RFC 9110."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipeline.errors import PermanentError, PipelineError, TransientError


class ForbiddenError(PermanentError):
    """The identity is known and may not do this; the message names the verb and the resource."""


class NotFoundError(PermanentError):
    """There is no such object, or the API server does not serve such a resource."""


class InvalidError(PermanentError):
    """The API server does not accept what it was sent: a selector, a body, an option."""


class ConflictError(TransientError):
    """Another was faster: the object has changed since it was read, or exists already."""


class GoneError(TransientError):
    """The API server no longer remembers that resource version: list again."""


class UnauthorizedError(TransientError):
    """The identity was not accepted. Tokens rotate, so the next try may read another."""


class UnavailableError(TransientError):
    """No usable answer: none at all, none in time, an error of the server's own, or no API server's answer."""


_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_PATH: Final = re.compile(
    r"/api(?:s/(?P<group>[^/]+))?/v[^/]+(?:/namespaces/(?P<namespace>[^/]+))?/(?P<plural>[^/]+)"
    r"(?:/(?P<name>[^/]+)(?:/(?P<part>[^/]+))?)?"
)


@dataclass(frozen=True, slots=True)
class Action:
    """What a request is about, in the words of RBAC: `list`, `pods`, in one namespace or (empty) in all."""

    verb: str
    resource: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{f' in namespace {self.namespace}' if self.namespace else ''}"


def action_of(method: str, path: str, params: Mapping[str, str]) -> Action:
    """Return what a request is about, from its path as Kubernetes builds them."""
    found = _PATH.fullmatch(path)
    if found is None:
        return Action(_VERBS.get(method, "get"), path)
    verb = _VERBS.get(method) or ("get" if found["name"] else "watch" if params.get("watch") else "list")
    resource = found["plural"] + (f".{found['group']}" if found["group"] else "")
    return Action(verb, f"{resource}/{found['part']}" if found["part"] else resource, found["namespace"] or "")


def error_of(action: Action, status: int, body: Any, retry_after_s: float | None = None) -> PipelineError:
    """Return the error that an answer stands for: its code, and the `Status` that came with it, if one did."""
    given = body if isinstance(body, Mapping) and body.get("kind") == "Status" else {}
    said = str(given.get("message") or f"it answered {status}")
    message = f"cannot {action}: {said}"
    details = given.get("details")
    if not isinstance(details, Mapping):
        details = {}
    if retry_after_s is None and isinstance(seconds := details.get("retryAfterSeconds"), int) and seconds > 0:
        retry_after_s = float(seconds)
    causes = {cause.get("reason") for cause in details.get("causes") or () if isinstance(cause, Mapping)}
    # A server whose store was set back (a restored backup) has not reached that version and may never do.
    if status == 410 or "ResourceVersionTooLarge" in causes:
        return GoneError(message, retry_after_s)
    if status == 401:
        return UnauthorizedError(message, retry_after_s)
    if status == 403:
        return ForbiddenError(f"forbidden to {action}: {said}")
    if status == 404:
        return NotFoundError(message)
    if status == 409:
        return ConflictError(message, retry_after_s)
    if status in (408, 429) or status >= 500 or not given:
        return UnavailableError(message, retry_after_s)
    return InvalidError(message)
