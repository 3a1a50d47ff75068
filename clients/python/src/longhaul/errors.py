"""What can go wrong: a class for each code that the API answers, and what has no code."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

__all__ = [
    "AlreadyClaimed", "AlreadyFinal", "AlreadyQueued", "ApiError", "BadRequest", "BrokerUnavailable", "Draining", "Forbidden",
    "HeadersTooLarge", "IdempotencyConflict", "Internal", "InvalidParameter", "KillUnconfirmed", "LengthRequired",
    "LimitReached", "LonghaulError", "MethodNotAllowed", "NoAnswer", "NotDue", "NotFinal", "NotFinished", "NotFound",
    "NotImplementedByServer", "OffsetGap", "OutcomeUnknown", "Overloaded", "QueueFull", "RateLimited", "RequestTimeout",
    "ResultExpired", "ServiceNotSupport", "ServicePaused", "StaleRun", "StoreUnavailable", "TaskFailed", "TaskRemoved",
    "TaskRunning", "TooLarge", "TooMany", "Unauthorized", "UnknownTask", "UnsupportedMediaType", "UriTooLong", "UseCursor",
    "VersionNotSupported", "WaitTimeout", "error_of",
]

_by_code: dict[str, type[ApiError]] = {}


class LonghaulError(Exception):
    """Every error of this package."""


class NoAnswer(LonghaulError):
    """The API could not be reached, or its answer did not come; whether it did what was asked is not known unless `surely_not_done`."""

    def __init__(self, message: str, surely_not_done: bool) -> None:
        super().__init__(message)
        self.surely_not_done = surely_not_done


class WaitTimeout(LonghaulError, TimeoutError):
    """The task has not ended within the time that the caller gave."""


class ApiError(LonghaulError):
    """The API refused. `code` is stable, `message` is for people, `body` the whole answer."""

    code: ClassVar[str] = ""

    def __init__(self, message: str, body: Mapping[str, Any], status: int = 0, request_id: str | None = None,
                 retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.body = body
        self.status = status
        self.request_id = request_id
        self.retry_after_s = retry_after_s

    def __init_subclass__(cls) -> None:
        if cls.code in _by_code:
            raise TypeError(f"two classes for the code {cls.code}")
        _by_code[cls.code] = cls

    def __str__(self) -> str:
        return f"{self.message} ({self.code or self.body.get('code') or self.status})"


def error_of(body: Mapping[str, Any], status: int = 0, request_id: str | None = None, retry_after_s: float | None = None) -> ApiError:
    """The error that an answer, or a refused item of one, means; a code that is newer than this package is an ApiError."""
    kind = _by_code.get(str(body.get("code")), ApiError)
    return kind(str(body.get("message", f"HTTP {status}")), body, status, request_id, retry_after_s)


# What the caller did.


class InvalidParameter(ApiError):
    code = "INVALID_PARAMETER"


class ServiceNotSupport(ApiError):
    """No such service is configured."""

    code = "SERVICE_NOT_SUPPORT"


class UnknownTask(ApiError):
    code = "UNKNOWN_TASK"


class Unauthorized(ApiError):
    code = "UNAUTHORIZED"


class Forbidden(ApiError):
    """The token has no right to this."""

    code = "FORBIDDEN"


class NotFound(ApiError):
    """No such route: the API is older than this package, or the address is another server's."""

    code = "NOT_FOUND"


class MethodNotAllowed(ApiError):
    code = "METHOD_NOT_ALLOWED"


class AlreadyQueued(ApiError):
    code = "ALREADY_QUEUED"


class AlreadyClaimed(ApiError):
    code = "ALREADY_CLAIMED"


class AlreadyFinal(ApiError):
    code = "ALREADY_FINAL"


class StaleRun(ApiError):
    """Another run holds the task."""

    code = "STALE_RUN"


class NotDue(ApiError):
    code = "NOT_DUE"


class KillUnconfirmed(ApiError):
    """Processes of the task's last run may still live: `start(..., force=True)`."""

    code = "KILL_UNCONFIRMED"


class IdempotencyConflict(ApiError):
    """The key has been used with other data."""

    code = "IDEMPOTENCY_CONFLICT"


class TaskRunning(ApiError):
    code = "TASK_RUNNING"


class NotFinal(ApiError):
    code = "NOT_FINAL"


class ResultExpired(ApiError):
    """The task has been removed, and its result with it."""

    code = "RESULT_EXPIRED"


class TaskRemoved(ApiError):
    code = "TASK_REMOVED"


class NotFinished(ApiError):
    """The task has not ended yet."""

    code = "NOT_FINISHED"


class TaskFailed(ApiError):
    """The task failed: `error_class` ("retryable", "fatal" or None) and `error_text` say why."""

    code = "TASK_FAILED"

    @property
    def error_class(self) -> str | None:
        found = (self.body.get("error") or {}).get("class")
        return found if isinstance(found, str) else None

    @property
    def error_text(self) -> str | None:
        found = (self.body.get("error") or {}).get("text")
        return found if isinstance(found, str) else None


class TooMany(ApiError):
    code = "TOO_MANY"


class UseCursor(ApiError):
    code = "USE_CURSOR"


class OffsetGap(ApiError):
    """The offset is beyond the end of the log; `offset` is the end."""

    code = "OFFSET_GAP"

    @property
    def offset(self) -> int:
        return int(self.body["offset"])


class BadRequest(ApiError):
    code = "BAD_REQUEST"


class RequestTimeout(ApiError):
    code = "REQUEST_TIMEOUT"


class LengthRequired(ApiError):
    code = "LENGTH_REQUIRED"


class TooLarge(ApiError):
    code = "TOO_LARGE"


class UriTooLong(ApiError):
    code = "URI_TOO_LONG"


class UnsupportedMediaType(ApiError):
    code = "UNSUPPORTED_MEDIA_TYPE"


class HeadersTooLarge(ApiError):
    code = "HEADERS_TOO_LARGE"


class QueueFull(ApiError):
    """As many tasks of the service wait as may."""

    code = "QUEUE_FULL"


class LimitReached(ApiError):
    code = "LIMIT_REACHED"


class RateLimited(ApiError):
    code = "RATE_LIMITED"


class ServicePaused(ApiError):
    code = "SERVICE_PAUSED"


# What happened on the other side.


class StoreUnavailable(ApiError):
    """Surely not done."""

    code = "STORE_UNAVAILABLE"


class Overloaded(ApiError):
    """Surely not done."""

    code = "OVERLOADED"


class Draining(ApiError):
    """Surely not done: the process stops."""

    code = "DRAINING"


class OutcomeUnknown(ApiError):
    """The store did not answer; the change may have been made."""

    code = "OUTCOME_UNKNOWN"


class NotImplementedByServer(ApiError):
    code = "NOT_IMPLEMENTED"


class VersionNotSupported(ApiError):
    code = "VERSION_NOT_SUPPORTED"


class Internal(ApiError):
    code = "INTERNAL"


class BrokerUnavailable(ApiError):
    code = "BROKER_UNAVAILABLE"
