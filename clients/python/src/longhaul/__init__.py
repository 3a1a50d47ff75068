"""Client of longhaul, a task queue for work that takes seconds to days.

    from longhaul import Client

    with Client("http://127.0.0.1:8080", token) as client:
        task = client.create("word_count", {"text": "to be or not to be"})
        print(client.wait(task.task_id).data)
"""
from ._wire import Retries
from .aio import AsyncClient
from .client import Client
from .errors import (
    AlreadyClaimed, AlreadyFinal, AlreadyQueued, ApiError, BadRequest, BrokerUnavailable, Draining, Forbidden, HeadersTooLarge,
    IdempotencyConflict, Internal, InvalidParameter, KillUnconfirmed, LengthRequired, LimitReached, LonghaulError,
    MethodNotAllowed, NoAnswer, NotDue, NotFinal, NotFinished, NotFound, NotImplementedByServer, OffsetGap, OutcomeUnknown,
    Overloaded, QueueFull, RateLimited, RequestTimeout, ResultExpired, ServiceNotSupport, ServicePaused, StaleRun,
    StoreUnavailable, TaskFailed, TaskRemoved, TaskRunning, TooLarge, TooMany, Unauthorized, UnknownTask, UnsupportedMediaType,
    UriTooLong, UseCursor, VersionNotSupported, WaitTimeout,
)
from .models import (
    Created, Event, GapEvent, HelloEvent, Limits, LogEvent, LogPiece, NewTask, ProgressEvent, Result, Retry, Run, Service,
    StatusEvent, Task, TaskError, TaskFilter, TaskOptions, TaskStatus, Worker,
)

__all__ = [
    "AlreadyClaimed", "AlreadyFinal", "AlreadyQueued", "ApiError", "AsyncClient", "BadRequest", "BrokerUnavailable", "Client",
    "Created", "Draining", "Event", "Forbidden", "GapEvent", "HeadersTooLarge", "HelloEvent", "IdempotencyConflict",
    "Internal", "InvalidParameter", "KillUnconfirmed", "LengthRequired", "LimitReached", "Limits", "LogEvent", "LogPiece",
    "LonghaulError", "MethodNotAllowed", "NewTask", "NoAnswer", "NotDue", "NotFinal", "NotFinished", "NotFound",
    "NotImplementedByServer", "OffsetGap", "OutcomeUnknown", "Overloaded", "ProgressEvent", "QueueFull", "RateLimited",
    "RequestTimeout", "Result", "ResultExpired", "Retries", "Retry", "Run", "Service", "ServiceNotSupport", "ServicePaused",
    "StaleRun", "StatusEvent", "StoreUnavailable", "Task", "TaskError", "TaskFailed", "TaskFilter", "TaskOptions",
    "TaskRemoved", "TaskRunning", "TaskStatus", "TooLarge", "TooMany", "Unauthorized", "UnknownTask", "UnsupportedMediaType",
    "UriTooLong", "UseCursor", "VersionNotSupported", "WaitTimeout", "Worker",
]
__version__ = "0.1.0"
