"""What the API answers, as dataclasses. A field that is newer than this package is passed over."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Union

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Created", "Event", "GapEvent", "HelloEvent", "LogEvent", "LogPiece", "Limits", "NewTask", "ProgressEvent", "Result", "Retry", "Run",
           "Service", "StatusEvent", "Task", "TaskError", "TaskFilter", "TaskOptions", "TaskStatus", "Worker"]

FINAL = ("finished", "failed")


def time_of(text: str | None) -> datetime | None:
    """A time of an answer, with its zone (UTC)."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def text_of(time: datetime) -> str:
    """A time for a request. One without a zone is the caller's local time."""
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"


@dataclass(frozen=True)
class Retry:
    """The wait between a task's attempts."""

    kind: Literal["exponential", "fixed"] = "exponential"
    base_s: float = 5
    max_s: float = 600
    jitter: float = 0.2


class TaskOptions(TypedDict, total=False):
    """What a task may ask for. Times in seconds; a datetime without a zone is the caller's local time."""

    idempotency_key: str  # 1-255 bytes; without one the client makes its own, so that it may send the call again
    start: bool  # False: stored, not queued
    priority: int  # 0-9, 9 first; 4
    delay_s: float
    run_at: datetime
    timeout_s: float  # of an attempt
    expire_s: float  # the first attempt must begin by then
    max_attempts: int
    retry: Retry
    tags: Mapping[str, str]


class NewTask(TaskOptions):
    """A task for create_many()."""

    service: str
    condition: Any


class TaskFilter(TypedDict, total=False):
    """Which tasks: all that are given must hold; of several names one."""

    service: str | Sequence[str]
    status: str | Sequence[str]
    sub_status: str | Sequence[str]
    created_from: datetime
    created_to: datetime  # not included
    tags: Mapping[str, str]
    prefix: str  # of the id


def filter_body(which: TaskFilter) -> dict[str, Any]:
    """The filter as a request has it."""
    names = {"created_from": "from", "created_to": "to", "prefix": "task_id"}
    body: dict[str, Any] = {names.get(key, key): value for key, value in which.items()}
    for key, value in body.items():
        if isinstance(value, datetime):
            body[key] = text_of(value)
        elif not isinstance(value, (str, Mapping)):
            body[key] = list(value)
    return body


def task_body(task: NewTask) -> dict[str, Any]:
    """The task as a request has it."""
    body: dict[str, Any] = {**task}
    if "run_at" in task:
        body["run_at"] = text_of(task["run_at"])
    if "retry" in task:
        body["retry"] = asdict(task["retry"])
    return body


@dataclass(frozen=True)
class Created:
    task_id: str
    duplicate: bool  # the idempotency key was known: this is the first task


@dataclass(frozen=True)
class TaskError:
    error_class: str | None  # "retryable" or "fatal"
    text: str | None

    @classmethod
    def of(cls, body: Mapping[str, Any] | None) -> TaskError | None:
        return cls(body.get("class"), body.get("text")) if body else None


@dataclass(frozen=True)
class TaskStatus:
    task_id: str
    status: str  # "ready", "waiting", "running", "finished", "failed"; "Invalid": there is no such task
    sub_status: str | None
    message: str | None
    start_time: datetime | None
    end_time: datetime | None
    attempt: int | None
    error: TaskError | None
    progress: Any

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def exists(self) -> bool:
        return self.status != "Invalid"

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> TaskStatus:
        return cls(body["task_id"], body["status"], body.get("sub_status"), body.get("message"), time_of(body.get("start_time")),
                   time_of(body.get("end_time")), body.get("attempt"), TaskError.of(body.get("error")), body.get("progress"))


@dataclass(frozen=True)
class Result:
    """What a finished task's module gave; `data` is None where it gave nothing."""

    data: Any
    start_time: datetime | None
    end_time: datetime | None
    spend_s: float | None

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Result:
        return cls(body["data"], time_of(body.get("start_time")), time_of(body.get("end_time")), body.get("spend_time"))


@dataclass(frozen=True)
class Task:
    """A row of tasks(), or the task of an event; what was not asked for (`fields`) is None. `fields` has everything as it was answered."""

    task_id: str | None
    service: str | None
    status: str | None
    sub_status: str | None
    condition: Any
    create_time: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    attempt: int | None
    priority: int | None
    tags: Mapping[str, str] | None
    error: TaskError | None
    progress: Any
    result: Any
    fields: Mapping[str, Any] = field(repr=False)

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Task:
        return cls(body.get("task_id"), body.get("service"), body.get("status"), body.get("sub_status"), body.get("condition"),
                   time_of(body.get("create_time")), time_of(body.get("start_time")), time_of(body.get("end_time")), body.get("attempt"),
                   body.get("priority"), body.get("tags"), TaskError.of(body.get("error")), body.get("progress"), body.get("result"), body)


@dataclass(frozen=True)
class Run:
    """A run of a task's timeline."""

    attempt: int
    run_id: str | None
    worker: str | None
    queued_time: datetime | None
    claimed_time: datetime | None
    started_time: datetime | None
    first_output_time: datetime | None
    ended_time: datetime | None
    end: str | None  # None while it runs
    error: str | None

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Run:
        return cls(body["attempt"], body.get("run_id"), body.get("worker"), time_of(body.get("queued_time")), time_of(body.get("claimed_time")),
                   time_of(body.get("started_time")), time_of(body.get("first_output_time")), time_of(body.get("ended_time")), body.get("end"),
                   body.get("error"))


@dataclass(frozen=True)
class LogPiece:
    text: str
    offset: int  # where the log goes on
    is_end: bool
    skipped: int  # bytes before the text that are not kept

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> LogPiece:
        return cls(body["text"], body["offset"], body["is_end"], body.get("skipped", 0))


@dataclass(frozen=True)
class Limits:
    max_running: int | None  # None: no limit
    max_waiting: int | None

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Limits:
        return cls(body.get("max_running"), body.get("max_waiting"))


@dataclass(frozen=True)
class Service:
    name: str
    topic: str | None
    paused: bool
    limits: Limits
    counts: Mapping[str, int]  # tasks by status
    oldest_waiting_s: float | None
    workers: int

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Service:
        return cls(body["service"], body.get("topic"), body["paused"], Limits.of(body["limits"]), body["counts"], body.get("oldest_waiting_s"),
                   body["workers"])


@dataclass(frozen=True)
class Worker:
    worker_id: str
    host: str | None
    pid: int | None
    services: tuple[str, ...]
    slots: int | None
    seen_time: datetime | None
    token: str | None = None

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Worker:
        return cls(body["id"], body.get("host"), body.get("pid"), tuple(body.get("services") or ()), body.get("slots"),
                   time_of(body.get("seen_time")), body.get("token"))


@dataclass(frozen=True)
class HelloEvent:
    """A stream has begun: what happens from now on is told. resumed: nothing is missing since the last event before."""

    id: str | None  # of every event: watch(last_event_id=id) goes on behind it; None: everything is told again
    process: str
    resumed: bool
    all_processes: bool  # False: of what other API processes do only a GapEvent tells

    @classmethod
    def of(cls, body: Mapping[str, Any], id: str | None) -> HelloEvent:
        return cls(id, body["process"], body["resumed"], body["all_processes"])


@dataclass(frozen=True)
class _TaskEvent:
    id: str | None
    task: Task

    @classmethod
    def of(cls, body: Mapping[str, Any], id: str | None) -> Self:
        return cls(id, Task.of(body))


@dataclass(frozen=True)
class StatusEvent(_TaskEvent):
    """Where a task stands now: its status, sub_status or attempt has changed. Removed: sub_status "removed"; unknown: status "Invalid"."""


@dataclass(frozen=True)
class ProgressEvent(_TaskEvent):
    """The task's run has told another progress."""


@dataclass(frozen=True)
class LogEvent:
    """What a run has printed."""

    id: str | None
    task_id: str
    attempt: int
    stream: str  # "stdout", "stderr"
    piece: LogPiece

    @classmethod
    def of(cls, body: Mapping[str, Any], id: str | None) -> LogEvent:
        return cls(id, body["task_id"], body["attempt"], body["stream"], LogPiece.of(body))


@dataclass(frozen=True)
class GapEvent:
    """Something may be missing: read again what you hold. The watch goes on."""

    id: str | None
    reason: str

    @classmethod
    def of(cls, body: Mapping[str, Any], id: str | None) -> GapEvent:
        return cls(id, body["reason"])


Event = Union[HelloEvent, StatusEvent, ProgressEvent, LogEvent, GapEvent]
_EVENTS: Mapping[str, Callable[[Mapping[str, Any], str | None], Event]] = {
    "hello": HelloEvent.of, "status": StatusEvent.of, "progress": ProgressEvent.of, "log": LogEvent.of, "gap": GapEvent.of}


def event_of(kind: str, body: Mapping[str, Any], id: str | None) -> Event | None:
    """The event; None for a kind that is newer than this package."""
    make = _EVENTS.get(kind)
    return make(body, id) if make else None
