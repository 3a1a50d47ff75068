"""One call of the API, without I/O: what is sent, what an answer means, when it is sent again.

An operation is a generator that yields what is to be done (a Call, a Sleep) and gets the outcome; the two clients only differ in
how they do that. So everything but the I/O is written once.
"""
from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, Union

from .errors import ApiError, NoAnswer, OutcomeUnknown, error_of

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    route: str
    body: Mapping[str, Any]
    wait_s: float = 0  # that the answer may be held
    repeatable: bool = True  # made twice it does no more than once

    @property
    def path(self) -> str:
        return f"/api/{self.route}"

    @property
    def content(self) -> bytes:
        return json.dumps(self.body, ensure_ascii=False, allow_nan=False).encode()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True)
class Lost:
    """No answer came."""

    cause: Exception
    surely_not_done: bool  # the request did not reach the API


@dataclass(frozen=True)
class Sleep:
    seconds: float


Steps = Generator[Union[Call, Sleep], Union[Answer, Lost, None], T]


@dataclass(frozen=True)
class Retries:
    """How a call that failed for now is made again: after `Retry-After` if the answer has it, else after a wait that doubles from
    `base_s` to `max_s`, less up to half by chance; until `for_s` have passed since the first. for_s=0: never."""

    for_s: float = 60
    base_s: float = 0.1
    max_s: float = 5
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    chance: Callable[[], float] = field(default=random.random, repr=False)

    def wait_s(self, tries: int, retry_after_s: float | None) -> float:
        backoff = min(self.max_s, self.base_s * 2.0 ** min(tries, 30)) * (1 - self.chance() / 2)
        return backoff if retry_after_s is None else max(retry_after_s, backoff)


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdigit() else None


def read(answer: Answer) -> dict[str, Any]:
    """The answer's JSON; raises the error that it is."""
    try:
        body = json.loads(answer.content)
    except ValueError:
        body = None
    if not isinstance(body, dict) or body.get("result") not in ("ok", "exception"):
        raise ApiError(f"HTTP {answer.status}, and no answer of longhaul: {answer.content[:200]!r}", {}, answer.status)
    if body["result"] == "ok":
        return body
    raise error_of(body, answer.status, answer.headers.get("x-request-id"), _seconds(answer.headers.get("retry-after")))


def outcome_of(call: Call, outcome: Answer | Lost) -> dict[str, Any]:
    """The answer; raises what it was otherwise."""
    if isinstance(outcome, Answer):
        return read(outcome)
    raise NoAnswer(f"{call.route}: {outcome.cause or type(outcome.cause).__name__}", outcome.surely_not_done) from outcome.cause


def _may_repeat(error: ApiError | NoAnswer, call: Call) -> bool:
    """What carries Retry-After was surely not done; 502 and 504 are a proxy's or OUTCOME_UNKNOWN."""
    if isinstance(error, NoAnswer):
        return error.surely_not_done or call.repeatable
    if isinstance(error, OutcomeUnknown) or error.status in (502, 504):
        return call.repeatable
    return error.retry_after_s is not None or error.status == 503


class Patience:
    """How often a call has failed for now, and until when it is made again."""

    def __init__(self, retries: Retries) -> None:
        self._retries, self.tries = retries, 0
        self.renew()

    def renew(self) -> None:
        """The time begins now."""
        self._until = self._retries.clock() + self._retries.for_s

    def wait_s(self, error: ApiError | NoAnswer, call: Call) -> float:
        """The wait before the next try; raises the error where there is none."""
        wait_s = self._retries.wait_s(self.tries, error.retry_after_s if isinstance(error, ApiError) else None)
        if not _may_repeat(error, call) or self._retries.clock() + wait_s > self._until:
            raise error
        self.tries += 1
        return wait_s


@dataclass
class Tale:
    """What a call went through before its answer."""

    unsure: bool = False  # an earlier try may have been done

    def add(self, error: ApiError | NoAnswer) -> None:
        self.unsure = self.unsure or (not error.surely_not_done if isinstance(error, NoAnswer) else error.status in (502, 504))


def send(call: Call, retries: Retries, tale: Tale | None = None) -> Steps[dict[str, Any]]:
    """Makes the call, again where that is right; the answer, or the error of the last try."""
    tale, patience = tale or Tale(), Patience(retries)
    while True:
        outcome = yield call
        assert outcome is not None
        try:
            return outcome_of(call, outcome)
        except (ApiError, NoAnswer) as error:
            tale.add(error)
            wait_s = patience.wait_s(error, call)
        yield Sleep(wait_s)
