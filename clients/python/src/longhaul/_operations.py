"""The API's operations as steps (see _wire.py)."""
from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Union

from ._wire import Call, Retries, Steps, Tale, send
from .errors import AlreadyFinal, ApiError, NotFinished, TaskRemoved, TooLarge, WaitTimeout, error_of
from .models import Created, Limits, LogPiece, NewTask, Result, Run, Service, Task, TaskStatus, Worker, task_body

LONGEST_WAIT_S = 60.0
BULK_TASKS = 1000

Item = Union[Created, ApiError]


def with_key(task: NewTask) -> dict[str, Any]:
    """The task's body; with a key, so that it may be sent again."""
    body = task_body(task)
    body.setdefault("idempotency_key", str(uuid.uuid4()))
    return body


def created(body: Mapping[str, Any]) -> Created:
    return Created(body["task_id"], bool(body.get("duplicate")))


def call(retries: Retries, route: str, body: Mapping[str, Any], repeatable: bool) -> Steps[dict[str, Any]]:
    return (yield from send(Call(route, body, repeatable=repeatable), retries))


def create(retries: Retries, task: NewTask) -> Steps[Created]:
    return created((yield from send(Call("create_task", {"data": with_key(task)}), retries)))


def _create_chunk(retries: Retries, bodies: Sequence[Mapping[str, Any]]) -> Steps[list[Item]]:
    """One write; in halves where it is too large for a request."""
    try:
        answer = yield from send(Call("create_task", {"data": bodies}), retries)
    except TooLarge:
        if len(bodies) == 1:
            raise
        half = len(bodies) // 2
        return (yield from _create_chunk(retries, bodies[:half])) + (yield from _create_chunk(retries, bodies[half:]))
    return [error_of(item) if "code" in item else created(item) for item in answer["data"]]


def create_many(retries: Retries, tasks: Iterable[NewTask]) -> Steps[list[Item]]:
    items: list[Item] = []
    bodies = [with_key(task) for task in tasks]
    for at in range(0, len(bodies), BULK_TASKS):
        items += yield from _create_chunk(retries, bodies[at:at + BULK_TASKS])
    return items


def status(retries: Retries, task_ids: Sequence[str], wait_s: float, until: str) -> Steps[list[TaskStatus]]:
    body: dict[str, Any] = {"data": [{"task_id": task_id} for task_id in task_ids]}
    if wait_s:
        body.update(wait_s=wait_s, until=until)
    answer = yield from send(Call("status_task", body, wait_s), retries)
    return [TaskStatus.of(item) for item in answer["status"]]


def result(retries: Retries, task_id: str, wait_s: float) -> Steps[Result]:
    data = {"task_id": task_id, **({"wait_s": wait_s} if wait_s else {})}
    return Result.of((yield from send(Call("result_task", {"data": data}, wait_s), retries)))


def wait(retries: Retries, task_id: str, timeout_s: float | None) -> Steps[Result]:
    until = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        left_s = LONGEST_WAIT_S if until is None else min(LONGEST_WAIT_S, max(0.0, until - time.monotonic()))
        try:
            return (yield from result(retries, task_id, left_s))
        except NotFinished as error:
            if until is not None and time.monotonic() >= until:
                raise WaitTimeout(f"{task_id}: {error.message} after {timeout_s} s") from error


def cancel(retries: Retries, task_id: str, reason: str | None, grace_s: float | None) -> Steps[str]:
    data: dict[str, Any] = {"task_id": task_id}
    if reason is not None:
        data["reason"] = reason
    if grace_s is not None:
        data["grace_s"] = grace_s
    tale = Tale()
    try:
        answer = yield from send(Call("cancel_task", {"data": data}), retries, tale)
    except AlreadyFinal:
        if not tale.unsure:
            raise
        now = (yield from status(retries, [task_id], 0, "change"))[0]
        if now.sub_status != "cancelled":
            raise
        return "cancelled"
    return str(answer["sub_status"])


def start(retries: Retries, task_id: str, force: bool) -> Steps[None]:
    """Not repeated where it may have been done: the task may have run meanwhile, and would run twice."""
    data = {"task_id": task_id, **({"force": True} if force else {})}
    yield from send(Call("start_task", {"data": data}, repeatable=False), retries)


def edit(retries: Retries, task_id: str, condition: Any) -> Steps[None]:
    yield from send(Call("update_task", {"data": {"task_id": task_id, "condition": condition}}), retries)


def delete(retries: Retries, task_id: str) -> Steps[None]:
    tale = Tale()
    try:
        yield from send(Call("delete_task", {"data": {"task_id": task_id}}), retries, tale)
    except TaskRemoved:
        if not tale.unsure:
            raise


def page(retries: Retries, data: Mapping[str, Any]) -> Steps[tuple[list[Task], str | None]]:
    answer = yield from send(Call("tasks", {"data": data}), retries)
    return [Task.of(row) for row in answer["data"]], answer["next"]


def count(retries: Retries, data: Mapping[str, Any]) -> Steps[tuple[int, bool]]:
    answer = yield from send(Call("tasks", {"data": {**data, "p_size": 1, "fields": ["task_id"]}}), retries)
    return answer["total"], answer.get("total_is") != "at_least"


def timeline(retries: Retries, task_id: str) -> Steps[list[Run]]:
    answer = yield from send(Call("timeline_task", {"data": {"task_id": task_id}}), retries)
    return [Run.of(item) for item in answer["data"]]


def logs(retries: Retries, task_id: str, stream: str, attempt: int | None, offset: int, wait_s: float) -> Steps[LogPiece]:
    data: dict[str, Any] = {"task_id": task_id, "stream": stream, "offset": offset}
    if attempt is not None:
        data["attempt"] = attempt
    if wait_s:
        data["wait_s"] = wait_s
    return LogPiece.of((yield from send(Call("logs_task", {"data": data}, wait_s), retries)))


def services(retries: Retries) -> Steps[list[Service]]:
    answer = yield from send(Call("service_task", {"data": {"detail": True}}), retries)
    return [Service.of(item) for item in answer["data"]]


def workers(retries: Retries) -> Steps[list[Worker]]:
    answer = yield from send(Call("worker_task", {}), retries)
    return [Worker.of(item) for item in answer["data"]]


def pause(retries: Retries, service: str, paused: bool) -> Steps[None]:
    yield from send(Call("pause_service_task" if paused else "resume_service_task", {"data": {"service": service}}), retries)


def limit(retries: Retries, service: str, limits: Mapping[str, int | None]) -> Steps[Limits]:
    answer = yield from send(Call("limit_service_task", {"data": {"service": service, **limits}}), retries)
    return Limits.of(answer["limits"])
