"""A watch, without I/O: what is asked for, what the bytes of its stream mean, when it is asked for again."""
from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ._wire import Answer, Call, Lost, Patience, Retries, outcome_of
from .errors import ApiError, NoAnswer
from .models import Event, event_of

KEEP_ALIVE_S = 15.0  # the API says something at least so often
ENDED = Lost(EOFError("the stream has ended"), False)


def is_stream(answer_headers: Mapping[str, str]) -> bool:
    return answer_headers.get("content-type", "").startswith("text/event-stream")


def selection(task_ids: str | Sequence[str] | None, service: str | Sequence[str] | None, tags: Mapping[str, str] | None,
              types: Sequence[str] | None, tail_bytes: int | None) -> dict[str, Any]:
    """What is given, as a request has it. An empty list would be every task, which nobody means who makes one."""
    given: dict[str, str | Sequence[str] | None] = {
        "task_id": task_ids, "service": service, "tag": None if tags is None else [f"{key}={value}" for key, value in tags.items()],
        "types": types}
    for name, value in given.items():
        if value is not None and not value:
            raise ValueError(f"watch: {name} is empty; leave it out, if all are meant")
    body: dict[str, Any] = {name: value if isinstance(value, str) else list(value) for name, value in given.items() if value is not None}
    return body if tail_bytes is None else {**body, "tail_bytes": tail_bytes}


class Watching:
    """Where a watch stands: a stream after the other, each behind the last event of the one before."""

    def __init__(self, retries: Retries, select: Mapping[str, Any], last_event_id: str | None) -> None:
        self._select, self._last_id, self._patience = select, last_event_id, Patience(retries)
        self._heard = False
        self._line = b""  # not whole yet
        self._fields: dict[bytes, bytes] = {}  # of an event that is not whole yet

    def call(self) -> Call:
        """Asks for the stream that goes on where the last one broke."""
        self._line, self._fields, self._heard = b"", {}, False
        where = {} if self._last_id is None else {"last_event_id": self._last_id}
        return Call("watch", {"data": {**self._select, **where}}, KEEP_ALIVE_S)

    def take(self, data: bytes) -> Iterator[Event]:
        """The events that these bytes complete."""
        self._heard = True
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            if line.strip(b"\r"):
                name, _, value = line.strip(b"\r").partition(b":")
                self._fields[name] = value.removeprefix(b" ")
                continue
            fields, self._fields = self._fields, {}
            yield from self._block(fields)

    def _block(self, fields: Mapping[bytes, bytes]) -> Iterator[Event]:
        if b"id" in fields:
            self._last_id = fields[b"id"].decode()
        kind = fields.get(b"event", b"").decode()
        if kind != "hello":  # a stream that ends after its greeting is asked for ever more seldom
            self._patience.tries = 0
        event = event_of(kind, json.loads(fields[b"data"]), self._last_id) if b"data" in fields else None
        if event is not None:
            yield event

    def wait_s(self, outcome: Answer | Lost) -> float:
        """How long to wait before the next stream; raises why there is none."""
        if self._heard:
            self._patience.renew()
        call = self.call()
        try:
            outcome_of(call, outcome)
        except (ApiError, NoAnswer) as error:
            return self._patience.wait_s(error, call)
        raise ApiError("watch: the answer is no stream", {})
