"""Attempts that fail and are tried again: backoff, due times, who may claim meanwhile, and what a module's configuration says."""
import time

import pytest

from tests.system.runs import (STORES, becomes, claim, fail, fail_attempt, ms, new_run, now_is, refused, running, shared_stack)
from tests.system.stack import module, wait_until

NO_WAIT = {"kind": "fixed", "base_s": 0, "max_s": 0, "jitter": 0}
LONG = {"kind": "fixed", "base_s": 3600, "max_s": 3600, "jitter": 0}


def modules():
    return {"echo": None, "tried": module("echo", max_attempts=3, retry={"kind": "fixed", "base_s": 0, "max_s": 0, "jitter": 0}),
            "other": None}


@pytest.fixture(scope="module", params=STORES)
def stack(request, tmp_path_factory):
    yield from shared_stack(request, tmp_path_factory, modules(), {"sweep_s": 0.05})


def waits_of(stack, retry, n):
    """How long the task waits after each of its first n failures: from before the failure's report until it is queued, and
    the same with the report's answer: the wait lies between both."""
    task_id = stack.create(max_attempts=n + 1, retry=retry)
    waits = []
    for _ in range(n):
        run_id, _ = claim(stack, task_id)
        before = time.monotonic()
        fail(stack, task_id, run_id)
        seen = time.monotonic()
        wait_until(lambda: stack.status(task_id)["sub_status"] == "queued", "for the retry", every_s=0.01)
        waits.append((time.monotonic() - before, seen - before))
    return waits


def not_before(waits, wanted):
    """No wait was shorter; how much longer one was depends on the machine."""
    for number, ((longest, _), want) in enumerate(zip(waits, wanted), 1):
        assert longest >= want - 0.005, f"retry {number} came after {longest} s, wanted {want} s"


def test_exponential_backoff_doubles(stack):
    not_before(waits_of(stack, {"kind": "exponential", "base_s": 0.2, "max_s": 60, "jitter": 0}, 3), [0.2, 0.4, 0.8])


def test_backoff_is_exponential_where_no_kind_is_named(stack):
    not_before(waits_of(stack, {"base_s": 0.2, "jitter": 0}, 3), [0.2, 0.4, 0.8])


def test_fixed_backoff_and_max_s_bound_the_wait(stack):
    """A wait that doubled would be 12.8 s at last: the test's end before it is the proof."""
    began = time.monotonic()
    not_before(waits_of(stack, {"kind": "fixed", "base_s": 0.1, "max_s": 60, "jitter": 0}, 8), [0.1] * 8)
    not_before(waits_of(stack, {"kind": "exponential", "base_s": 0.1, "max_s": 0.2, "jitter": 0}, 8), [0.1] + [0.2] * 7)
    assert time.monotonic() - began >= 0.8 + 1.5


def due_of(stack, task_id):
    """The stored time at which a waiting task is queued, unix ms."""
    if stack.store == "mongodb":
        import pymongo  # noqa: F401 the collection's client
        due = stack.collection().find_one({"task_id": task_id})["times"]["due_at"]
        return round(due.timestamp() * 1000 - time.timezone * 1000)
    import sqlite3
    with sqlite3.connect(f"file:{stack.dir / 'longhaul.db'}?mode=ro", uri=True) as db:
        return db.execute("SELECT due_at FROM task WHERE task_id = ?", (task_id,)).fetchone()[0]


@pytest.mark.parametrize("jitter, low, high", [(0, 100, 100), (0.2, 80, 120), (1, 0, 200)])
def test_jitter_stays_within_its_share(stack, jitter, low, high):
    """Of a wait of 100 s; the stored time tells it at once."""
    waits = []
    for _ in range(12):
        task_id, run_id = running(stack, max_attempts=2, retry={"kind": "fixed", "base_s": 100, "max_s": 100, "jitter": jitter})
        before = time.time()
        fail(stack, task_id, run_id)
        after = time.time()
        due = due_of(stack, task_id) / 1000
        assert low - 0.005 <= due - before and due - after <= high + 0.005, (due - before, due - after)
        waits.append(due - after)
    spread = max(waits) - min(waits)
    assert spread > (high - low) / 10 if jitter else spread < 90, "waits differ where there is jitter"


@pytest.mark.parametrize("n, wanted", [(1, 5), (2, 10), (3, 20)])
def test_the_default_backoff(stack, n, wanted):
    """5 s, doubled, a fifth more or less; start_task ends each wait."""
    task_id = stack.create(max_attempts=n + 1)
    for number in range(n):
        run_id, _ = claim(stack, task_id)
        before = time.time()
        fail(stack, task_id, run_id)
        after = time.time()
        due = due_of(stack, task_id) / 1000
        if number < n - 1:
            stack.call("start_task", {"task_id": task_id})
    assert wanted * 0.8 - 0.005 <= due - before and due - after <= wanted * 1.2 + 0.005


def test_who_may_claim_a_task_that_waits_for_its_retry(stack):
    task_id, run_id = running(stack, "other", max_attempts=3, retry=LONG)
    fail(stack, task_id, run_id)
    before = now_is(stack, task_id, "waiting", "retry")
    assert before["end_time"] is None
    stack.update(task_id, "running", 409, "NOT_DUE", run_id=new_run())
    stack.update(task_id, "running", 409, "NOT_DUE")
    assert stack.take("other") == []
    stack.update(task_id, "finished", 409, "STALE_RUN", run_id=new_run())
    assert stack.status(task_id) == before
    stack.call("start_task", {"task_id": task_id})
    now_is(stack, task_id, "waiting", "queued")
    stack.call("start_task", {"task_id": task_id}, 409, "ALREADY_QUEUED")
    (got,) = stack.take("other")
    assert got["Task"]["task_id"] == task_id and got["attempt"] == 2
    stack.update(task_id, "finished", run_id=got["run_id"])


def test_a_retry_that_is_started_by_hand_keeps_its_count(stack):
    task_id = stack.create(max_attempts=2, retry=LONG)
    fail_attempt(stack, task_id)
    stack.call("start_task", {"task_id": task_id})
    fail_attempt(stack, task_id)
    assert now_is(stack, task_id, "failed", "dead")["attempt"] == 2


def test_a_dead_task_that_is_started_begins_anew(stack):
    task_id = stack.create(condition={"x": 1}, max_attempts=2, retry=NO_WAIT)
    for life in range(2):
        for attempt in (1, 2):
            run_id, got = claim(stack, task_id)
            assert got["attempt"] == 2 * life + attempt and got["condition"] == {"x": 1}
            fail(stack, task_id, run_id, text="broken", message="said so", progress=0.5)
            if attempt == 1:
                becomes(stack, task_id, "waiting", "queued")
        now_is(stack, task_id, "failed", "dead")
        stack.call("start_task", {"task_id": task_id})
        got = now_is(stack, task_id, "waiting", "queued")
        assert {key: got[key] for key in ("message", "error", "progress", "start_time", "end_time")} == {
            "message": None, "error": None, "progress": None, "start_time": None, "end_time": None}
    run_id, got = claim(stack, task_id)
    assert got["attempt"] == 5
    stack.update(task_id, "finished", run_id=run_id, result=5)
    assert stack.result(task_id)["data"] == 5


# ---- modules of the base contract


@pytest.mark.parametrize("final", ["finished", "failed"])
def test_work_already_done_ends_a_task_that_waits_for_its_retry(stack, final):
    task_id = stack.create(max_attempts=2, retry=LONG)
    fail_attempt(stack, task_id)
    now_is(stack, task_id, "waiting", "retry")
    stack.update(task_id, final, message="by hand")
    got = now_is(stack, task_id, final, None if final == "finished" else "dead")
    assert got["attempt"] == 2 and got["message"] == "by hand" and got["start_time"] <= got["end_time"]
    stack.update(task_id, final)


@pytest.mark.parametrize("options, sub_status", [({"start": False}, "held"), ({"delay_s": 3600}, "delayed")])
@pytest.mark.parametrize("final", ["finished", "failed"])
def test_work_on_a_task_that_may_not_run_yet_is_not_due(stack, options, sub_status, final):
    task_id = stack.create(**options)
    stack.update(task_id, final, 409, "NOT_DUE")
    stack.update(task_id, "running", 409, "NOT_DUE")
    stack.update(task_id, "running", 409, "NOT_DUE", run_id=new_run())
    assert stack.status(task_id)["sub_status"] == sub_status
    stack.call("start_task", {"task_id": task_id})
    stack.update(task_id, final)
    assert stack.status(task_id)["status"] == final


def test_a_module_without_runs_has_its_attempts_too(stack):
    task_id = stack.create(max_attempts=2, retry=NO_WAIT)
    stack.update(task_id, "running")
    stack.update(task_id, "failed", message="first")
    becomes(stack, task_id, "waiting", "queued")
    stack.update(task_id, "running")
    stack.update(task_id, "failed", message="second")
    got = now_is(stack, task_id, "failed", "dead")
    assert (got["attempt"], got["message"]) == (2, "second")


# ---- the configuration of a module


def test_a_module_s_attempts_are_its_tasks_defaults(stack):
    task_id = stack.create("tried")
    for attempt in (1, 2):
        fail_attempt(stack, task_id)
        becomes(stack, task_id, "waiting", "queued")
    fail_attempt(stack, task_id)
    assert now_is(stack, task_id, "failed", "dead")["attempt"] == 3


def test_a_task_s_own_attempts_beat_its_module_s(stack):
    once = stack.create("tried", max_attempts=1)
    fail_attempt(stack, once)
    now_is(stack, once, "failed", "error")
    slow = stack.create("tried", retry={"base_s": 3600, "max_s": 3600})
    fail_attempt(stack, slow)
    now_is(stack, slow, "waiting", "retry")
    assert due_of(stack, slow) / 1000 > time.time() + 3500, "the jitter is still the module's"


def test_a_service_without_a_module_tries_once(stack):
    task_id = stack.create("other")
    fail_attempt(stack, task_id)
    assert now_is(stack, task_id, "failed", "error")["attempt"] == 1


@pytest.mark.parametrize("key, value", [
    ("max_attempts", 0), ("max_attempts", "3"), ("max_attempts", 1.5), ("max_attempts", -1), ("retry", 5), ("retry", []),
    ("retry.kind", "linear"), ("retry.kind", 5), ("retry.base_s", -1), ("retry.base_s", "5"), ("retry.max_s", -1),
    ("retry.jitter", -0.1), ("retry.jitter", 1.1), ("retry.jitter", "0")])
def test_wrong_retries_are_refused_by_name(stack, key, value):
    name, _, member = key.partition(".")
    refused(stack, "create_task", {"data": {"service": "echo", "condition": 1, name: {member: value} if member else value}}, key.partition(".")[2] or name)


# ---- processes that die


def test_a_retry_survives_kill_9(make_stack, any_store):
    stack = make_stack(store=any_store, config={"sweep_s": 0.05})
    far = stack.create(max_attempts=2, retry=LONG)
    near = stack.create(max_attempts=2, retry={"kind": "fixed", "base_s": 0.3, "max_s": 1, "jitter": 0})
    for task_id in (far, near):
        fail_attempt(stack, task_id)
    due = due_of(stack, far)
    stack.api.kill()
    stack.api.restart()
    becomes(stack, near, "waiting", "queued")
    now_is(stack, far, "waiting", "retry")
    assert due_of(stack, far) == due
    fail_attempt(stack, near)
    assert now_is(stack, near, "failed", "dead")["attempt"] == 2


@pytest.mark.cluster
def test_a_retry_is_told_again_over_kafka_when_it_is_due(make_stack):
    stack = make_stack(store="mongodb", broker="kafka", apis=2, config={"sweep_s": 0.05})
    task_id = stack.create(max_attempts=2, retry=LONG)
    assert [got.key.decode() for got in stack.messages("echo", 1)] == [task_id]
    run_id, _ = claim(stack, task_id)
    fail(stack, task_id, run_id)
    now_is(stack, task_id, "waiting", "retry")
    assert len(stack.messages("echo")) == 1, "a retry waits in the store"
    stack.call("start_task", {"task_id": task_id})
    assert [got.key.decode() for got in stack.messages("echo", 2)] == [task_id] * 2
    becomes(stack, task_id, "waiting", "queued")
    run_id, got = claim(stack, task_id, api=1)
    assert got["attempt"] == 2 and ms(got["lease_until"]) > 0
    stack.update(task_id, "finished", run_id=run_id)
