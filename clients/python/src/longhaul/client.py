"""The sync client. Written by unasync.py from aio.py."""
from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import httpx

from . import _connect, _operations, _watch
from ._operations import Item
from ._wire import Call, Lost, Answer, Retries, Sleep, Steps
from .models import (
    Created, Event, Limits, LogPiece, NewTask, Result, Run, Service, Task, TaskFilter, TaskOptions, TaskStatus, Worker, filter_body,
)

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

__all__ = ["Client"]

T = TypeVar("T")


class Client:
    """Calls the API. One client may be shared by threads; close it, or use it in a `with`.

    url: the API's address, else LONGHAUL_URL. token: else AUTH_TOKEN, else the content of the file that LONGHAUL_TOKEN_FILE names.
    retries: how long a call that failed for now is made again. http: an httpx.Client of the caller's (TLS, proxies), which the caller closes.
    """

    def __init__(self, url: str | None = None, token: str | None = None, *, retries: Retries = Retries(),
                 http: httpx.Client | None = None) -> None:
        self._url, self._headers, self._retries = _connect.address(url), _connect.headers(token), retries
        self._own_http = http is None
        self._http = http or httpx.Client(limits=_connect.LIMITS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self._own_http:
            self._http.close()

    def _do(self, step: Call | Sleep) -> Answer | Lost | None:
        if isinstance(step, Sleep):
            time.sleep(step.seconds)
            return None
        try:
            return _connect.answer_of(self._http.post(self._url + step.path, content=step.content, headers=self._headers,
                                                     timeout=_connect.timeout(step)))
        except httpx.TransportError as error:
            return _connect.lost(error)

    def _run(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                step = steps.send(self._do(step))
        except StopIteration as stop:
            result: T = stop.value
            return result

    # ---- tasks

    def create(self, service: str, condition: Any, **options: Unpack[TaskOptions]) -> Created:
        """Stores and queues a task. A call whose answer was lost is made again with the same key, so that one task exists."""
        return self._run(_operations.create(self._retries, {"service": service, "condition": condition, **options}))

    def create_many(self, tasks: Iterable[NewTask]) -> list[Item]:
        """Up to 1000 in each write: for each task, in order, a Created or the ApiError that refused it."""
        return self._run(_operations.create_many(self._retries, tasks))

    def status(self, task_id: str, *, wait_s: float = 0, until: str = "change") -> TaskStatus:
        """What stands; with wait_s (0-60) when it changes, or with until="final" when the task has ended, or after that time."""
        return self.statuses([task_id], wait_s=wait_s, until=until)[0]

    def statuses(self, task_ids: Sequence[str], *, wait_s: float = 0, until: str = "change") -> list[TaskStatus]:
        """The same of several tasks, in the order asked; at most the API's `max_status_task`."""
        return self._run(_operations.status(self._retries, task_ids, wait_s, until))

    def result(self, task_id: str, *, wait_s: float = 0) -> Result:
        """The result of a finished task; raises NotFinished, TaskFailed, ResultExpired. wait_s (0-60): waits so long for the end."""
        return self._run(_operations.result(self._retries, task_id, wait_s))

    def wait(self, task_id: str, timeout_s: float | None = None) -> Result:
        """Waits until the task has ended: its result, or TaskFailed. WaitTimeout after timeout_s; None: for ever."""
        return self._run(_operations.wait(self._retries, task_id, timeout_s))

    def tasks(self, *, page_size: int = 100, fields: Sequence[str] | None = None, **which: Unpack[TaskFilter]) -> Iterator[Task]:
        """Every task of the filter, newest first, read page by page as it is asked for."""
        body = {"p_size": page_size, **filter_body(which), **({} if fields is None else {"fields": list(fields)})}
        while True:
            rows, after = self._run(_operations.page(self._retries, body))
            for row in rows:
                yield row
            if after is None:
                return
            body["after"] = after

    def count(self, **which: Unpack[TaskFilter]) -> tuple[int, bool]:
        """How many tasks the filter has, and whether that is exact (else: at least so many)."""
        return self._run(_operations.count(self._retries, filter_body(which)))

    def cancel(self, task_id: str, reason: str | None = None, *, grace_s: float | None = None) -> str:
        """Stops a task: "cancelled", or "cancelling" while its run is being stopped. Raises AlreadyFinal."""
        return self._run(_operations.cancel(self._retries, task_id, reason, grace_s))

    def start(self, task_id: str, *, force: bool = False) -> None:
        """Queues a task that is ready, or runs one again that has ended. Not made again where it may have been done: then NoAnswer or
        OutcomeUnknown, and status() tells."""
        self._run(_operations.start(self._retries, task_id, force))

    def edit(self, task_id: str, condition: Any) -> None:
        """A new condition for a task that is not running."""
        self._run(_operations.edit(self._retries, task_id, condition))

    def delete(self, task_id: str) -> None:
        """Removes a task that has ended."""
        self._run(_operations.delete(self._retries, task_id))

    def timeline(self, task_id: str) -> list[Run]:
        """Every run of a task, oldest first."""
        return self._run(_operations.timeline(self._retries, task_id))

    def logs(self, task_id: str, *, stream: str = "stdout", attempt: int | None = None, offset: int = 0,
             follow: bool = True) -> Iterator[LogPiece]:
        """What a run printed, from the offset on, piece by piece; follow: until its end, waiting for more."""
        while True:
            piece = self._run(_operations.logs(self._retries, task_id, stream, attempt, offset, 30 if follow else 0))
            if piece.text or piece.skipped or piece.is_end:
                yield piece
            if piece.is_end or not (follow or piece.text or piece.skipped):
                return
            offset = piece.offset

    def watch(self, task_ids: str | Sequence[str] | None = None, *, service: str | Sequence[str] | None = None,
             tags: Mapping[str, str] | None = None, types: Sequence[Literal["status", "progress", "log"]] | None = None,
             tail_bytes: int | None = None, last_event_id: str | None = None) -> Generator[Event, None, None]:
        """What happens to tasks, while it happens; all that is given must hold. Does not end by itself: a broken connection is made anew
        and goes on behind the last event, a GapEvent tells where something may be missing; raises after `retries.for_s` without the API.
        types: default status and progress; "log" needs 1 to 16 task_ids, and begins at the log's beginning, or tail_bytes before its end."""
        watching = _watch.Watching(self._retries, _watch.selection(task_ids, service, tags, types, tail_bytes), last_event_id)
        while True:
            call = watching.call()
            stream = self._http.stream("POST", self._url + call.path, content=call.content, headers=self._headers, timeout=_connect.timeout(call))
            outcome: Answer | Lost = _watch.ENDED
            try:
                with stream as response:
                    if _watch.is_stream(response.headers):
                        for data in response.iter_bytes():
                            for event in watching.take(data):
                                yield event
                    else:
                        response.read()
                        outcome = _connect.answer_of(response)
            except httpx.TransportError as error:
                outcome = _connect.lost(error)
            time.sleep(watching.wait_s(outcome))

    # ---- services and workers

    def services(self) -> list[Service]:
        """The configured services, with their tasks by status, limits and workers."""
        return self._run(_operations.services(self._retries))

    def workers(self) -> list[Worker]:
        """The consumers that have been heard of in the last minute."""
        return self._run(_operations.workers(self._retries))

    def pause(self, service: str) -> None:
        """Lets no task of the service begin to run."""
        self._run(_operations.pause(self._retries, service, True))

    def resume(self, service: str) -> None:
        self._run(_operations.pause(self._retries, service, False))

    def limit(self, service: str, **limits: int | None) -> Limits:
        """max_running, max_waiting: how many tasks may run and wait. 0: no limit; None: the configuration's."""
        return self._run(_operations.limit(self._retries, service, limits))

    # ---- anything else

    def call(self, route: str, body: Mapping[str, Any], *, repeatable: bool = False) -> dict[str, Any]:
        """Any route, e.g. call("history_task", {}); its answer. repeatable: made twice it does no more than once."""
        return self._run(_operations.call(self._retries, route, body, repeatable))
