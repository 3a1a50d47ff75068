"""What happens to a task at its time: a delay that is over, a task that expires, an attempt that takes too long."""
import time
from datetime import datetime, timezone

import pytest

from tests.system.runs import (STORES, beat, becomes, claim, fail, ms, new_run, now_is, refused, renew, running, shared_stack)
from tests.system.stack import wait_until

LEASE_S = 0.5
NO_WAIT = {"kind": "fixed", "base_s": 0, "max_s": 0, "jitter": 0}


@pytest.fixture(scope="module", params=STORES)
def stack(request, tmp_path_factory):
    """Leases of 0.5 s, and claims without a run that last one."""
    yield from shared_stack(request, tmp_path_factory, ("echo", "other", "due"),
                            {"sweep_s": 0.05, "lease_s": LEASE_S, "legacy_timeout_s": 1})


@pytest.fixture(scope="module", params=STORES)
def calm(request, tmp_path_factory):
    """Leases of 30 s."""
    yield from shared_stack(request, tmp_path_factory, config={"sweep_s": 0.05})


def iso(unix_s):
    return datetime.fromtimestamp(unix_s, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def created(stack, task_id, service):
    (row,) = [row for row in stack.call("tasks", {"p_size": 100, "service": service})["data"] if row["task_id"] == task_id]
    return ms(row["create_time"])


# ---- delays


def test_a_delayed_task_waits_in_the_store(stack):
    task_id = stack.create("due", delay_s=0.6)
    due = created(stack, task_id, "due") + 600
    got = stack.status(task_id)
    if time.time() * 1000 < due:
        assert (got["status"], got["sub_status"]) == ("waiting", "delayed") and got["start_time"] is None
    (item,) = wait_until(lambda: stack.take("due", wait_s=5, lease_s=60), "for the delayed task")
    assert item["Task"]["task_id"] == task_id
    assert ms(stack.status(task_id)["start_time"]) >= due
    stack.update(task_id, "finished", run_id=item["run_id"])


def test_run_at_is_a_time(stack):
    at = time.time() + 0.6
    task_id = stack.create("due", run_at=iso(at))
    (item,) = wait_until(lambda: stack.take("due", wait_s=5, lease_s=60), "for the task's time")
    assert item["Task"]["task_id"] == task_id and ms(stack.status(task_id)["start_time"]) >= int(at * 1000)
    stack.update(task_id, "finished", run_id=item["run_id"])


@pytest.mark.parametrize("options", [{"delay_s": 0}, {"run_at": "2020-01-01T00:00:00Z"}])
def test_what_is_due_already_is_queued_at_once(stack, options):
    now_is(stack, stack.create(**options), "waiting", "queued")


def test_start_task_on_a_delayed_one_means_now_and_once(stack):
    task_id = stack.create("other", delay_s=3)
    stack.call("start_task", {"task_id": task_id})
    run_id, got = claim(stack, task_id)
    assert got["attempt"] == 1
    stack.update(task_id, "finished", run_id=run_id)
    before = stack.status(task_id)
    due = created(stack, task_id, "other") + 3000
    marker = stack.create("other", delay_s=3)
    becomes(stack, marker, "waiting", "queued")
    assert time.time() * 1000 > due and stack.status(task_id) == before
    stack.call("cancel_task", {"data": {"task_id": marker}})


def test_a_delayed_task_takes_a_new_condition(stack):
    task_id = stack.create(condition=1, delay_s=3600)
    stack.call("update_task", {"task_id": task_id, "condition": 2})
    now_is(stack, task_id, "waiting", "delayed")
    stack.call("start_task", {"task_id": task_id})
    assert claim(stack, task_id)[1]["condition"] == 2


@pytest.mark.parametrize("options, names", [
    ({"delay_s": -1}, "delay_s"), ({"delay_s": "1"}, "delay_s"), ({"delay_s": None}, "delay_s"), ({"run_at": 5}, "run_at"),
    ({"run_at": "tomorrow"}, "run_at"), ({"run_at": "2026-13-01T00:00:00Z"}, "run_at"),
    ({"delay_s": 1, "run_at": "2030-01-01T00:00:00Z"}, "delay_s"), ({"expire_s": 0}, "expire_s"), ({"expire_s": -1}, "expire_s"),
    ({"expire_s": "1"}, "expire_s"), ({"timeout_s": 0}, "timeout_s"), ({"timeout_s": -5}, "timeout_s"), ({"timeout_s": []}, "timeout_s")])
def test_wrong_times_are_refused_by_name(stack, options, names):
    refused(stack, "create_task", {"data": {"service": "echo", "condition": 1, **options}}, names)


def test_a_delay_survives_kill_9(make_stack, any_store):
    stack = make_stack(store=any_store, config={"sweep_s": 0.05})
    near, far = stack.create(delay_s=0.5), stack.create(delay_s=3600)
    stack.api.kill()
    stack.api.restart()
    becomes(stack, near, "waiting", "queued")
    now_is(stack, far, "waiting", "delayed")


@pytest.mark.cluster
def test_two_apis_tell_a_delayed_task_once(make_stack):
    stack = make_stack(store="mongodb", broker="kafka", apis=2, config={"sweep_s": 0.05})
    got = stack.call("create_task", {"data": [{"service": "echo", "condition": number, "delay_s": 1} for number in range(20)]})
    task_ids = [item["task_id"] for item in got["data"]]
    later = stack.create(delay_s=1.5, api=1)
    assert all(item["status"] in ("waiting", "ready") for item in stack.status_of(*task_ids[:10]))
    for task_id in [*task_ids, later]:
        becomes(stack, task_id, "waiting", "queued")
    keys = [got.key.decode() for got in stack.messages("echo", 21)]
    assert sorted(keys) == sorted([*task_ids, later]), "each exactly once"


# ---- tasks that expire


@pytest.mark.parametrize("options, sub_status", [({}, "queued"), ({"delay_s": 3600}, "delayed"), ({"start": False}, "held")])
def test_what_has_not_begun_in_time_expires(stack, options, sub_status):
    task_id = stack.create("other", expire_s=0.7, **options)
    until = created(stack, task_id, "other") + 700
    got = stack.status(task_id)
    assert got["sub_status"] in (sub_status, "expired")
    got = wait_until(lambda: (lambda now: now if now["status"] == "failed" else None)(stack.status(task_id)), "for the task to expire")
    assert got["sub_status"] == "expired" and got["attempt"] == 0 and got["start_time"] is None
    assert ms(got["end_time"]) >= until and got["error"]["text"]
    stack.call("result_task", {"data": {"task_id": task_id}}, 409, "TASK_FAILED")
    stack.update(task_id, "running", 409, "ALREADY_FINAL", run_id=new_run())
    assert stack.take("other") == []
    assert stack.status(task_id) == got


def test_a_poll_behind_an_expired_task_is_given_the_next_one(make_stack, any_store):
    """It finds the expired one, which nobody has swept yet, at the head of the queue."""
    stack = make_stack(store=any_store, config={"sweep_s": 2})
    old, task_id = stack.create(expire_s=0.1), stack.create()
    wait_until(lambda: time.time() * 1000 > created(stack, old, "echo") + 110, "for the task to expire")
    (item,) = stack.take(wait_s=20)
    assert item["Task"]["task_id"] == task_id
    now_is(stack, old, "failed", "expired")


def test_what_has_begun_does_not_expire(calm):
    """Another task that expires later is the clock."""
    task_id, run_id = running(calm, expire_s=3, max_attempts=2, retry=NO_WAIT)
    renew(calm, task_id, run_id)
    clock = calm.create(expire_s=3)
    wait_until(lambda: calm.status(clock)["status"] == "failed", "for the other task to expire")
    now_is(calm, task_id, "running", "started")
    fail(calm, task_id, run_id)
    becomes(calm, task_id, "waiting", "queued")
    run_id, _ = claim(calm, task_id)
    calm.update(task_id, "finished", run_id=run_id)


def test_a_run_that_gave_back_unbegun_has_not_begun(calm):
    task_id, run_id = running(calm, expire_s=2)
    calm.update(task_id, "waiting", run_id=run_id)
    wait_until(lambda: calm.status(task_id)["status"] == "failed", "for the task to expire")
    now_is(calm, task_id, "failed", "expired")


def test_a_run_that_was_lost_unbegun_has_not_begun(stack):
    task_id, _ = running(stack, expire_s=2)
    wait_until(lambda: stack.status(task_id)["status"] == "failed", "for the task to expire")
    now_is(stack, task_id, "failed", "expired")


def test_expire_s_begins_anew_when_it_is_started(stack):
    task_id = stack.create(expire_s=1.5)
    wait_until(lambda: stack.status(task_id)["status"] == "failed", "for the task to expire")
    stack.call("start_task", {"task_id": task_id})
    at = time.time()
    got = wait_until(lambda: (lambda now: now if now["status"] == "failed" else None)(stack.status(task_id)), "for it to expire again")
    assert got["sub_status"] == "expired" and ms(got["end_time"]) >= (at - 5) * 1000
    stack.call("start_task", {"task_id": task_id})
    run_id, _ = claim(stack, task_id)
    stack.update(task_id, "finished", run_id=run_id)
    now_is(stack, task_id, "finished", None)


# ---- attempts that take too long


def test_the_deadline_is_in_the_claim_s_answer(calm):
    task_id = calm.create(timeout_s=60)
    run_id, got = claim(calm, task_id, timeout_s=5)
    assert ms(got["deadline"]) == ms(calm.status(task_id)["start_time"]) + 60000, "the task's beats the module's"
    assert calm.update(task_id, "running", run_id=run_id)["deadline"] == got["deadline"]
    other = calm.create()
    run_id, got = claim(calm, other, timeout_s=5)
    assert ms(got["deadline"]) == ms(calm.status(other)["start_time"]) + 5000, "the module's where the task has none"
    assert claim(calm, calm.create())[1]["deadline"] is None


def test_each_attempt_has_a_deadline_of_its_own(calm):
    task_id = calm.create(timeout_s=60, max_attempts=2, retry=NO_WAIT)
    run_id, first = claim(calm, task_id)
    fail(calm, task_id, run_id)
    becomes(calm, task_id, "waiting", "queued")
    wait_until(lambda: time.time() * 1000 > ms(first["deadline"]) - 60000 + 5, "for the clock")
    _, second = claim(calm, task_id)
    assert ms(second["deadline"]) > ms(first["deadline"])


def test_claim_task_tells_the_deadline(calm):
    task_id = calm.create(timeout_s=60, priority=9)
    (item,) = calm.take()
    assert item["Task"]["task_id"] == task_id
    assert ms(item["deadline"]) == ms(calm.status(task_id)["start_time"]) + 60000
    calm.update(task_id, "finished", run_id=item["run_id"])


def test_no_heartbeat_extends_a_lease_beyond_the_deadline(stack):
    task_id = stack.create(timeout_s=1)
    run_id, got = claim(stack, task_id)
    most = ms(got["deadline"]) + LEASE_S * 1000
    seen = []

    def look():
        (item,) = beat(stack, (task_id, run_id))
        if "code" in item:
            assert item["code"] == "STALE_RUN"
            return True
        seen.append(ms(item["lease_until"]))
        return False
    wait_until(look, "for the API to end the attempt", every_s=LEASE_S / 6)
    assert seen and max(seen) <= most
    got = now_is(stack, task_id, "failed", "timeout")
    assert ms(got["end_time"]) >= most and got["error"]["text"]
    stack.update(task_id, "finished", 409, run_id=run_id)
    now_is(stack, task_id, "failed", "timeout")


def test_a_consumer_that_is_gone_after_the_deadline_is_a_timeout_and_an_attempt(stack):
    """It renewed until its deadline was over: the lease ends at deadline + lease_s, which counts as an attempt."""
    task_id = stack.create(timeout_s=0.4, max_attempts=2, retry=NO_WAIT)
    for attempt in (1, 2):
        run_id, got = claim(stack, task_id)
        deadline = ms(got["deadline"])

        def look():
            over = time.time() * 1000 > deadline
            return "code" in beat(stack, (task_id, run_id))[0] or over
        wait_until(look, "for a heartbeat after the deadline", every_s=LEASE_S / 6)
        wait_until(lambda: stack.status(task_id)["status"] != "running", "for the API to end the attempt")
        if attempt == 1:
            becomes(stack, task_id, "waiting", "queued")
    assert now_is(stack, task_id, "failed", "dead")["attempt"] == 2


def test_a_consumer_reports_the_timeout_itself(calm):
    task_id, run_id = running(calm, timeout_s=60)
    fail(calm, task_id, run_id, cause="timeout", text="timed out after 60 s")
    assert now_is(calm, task_id, "failed", "timeout")["error"]["text"] == "timed out after 60 s"


# ---- claims without a run


def gone(stack, task_id):
    return wait_until(lambda: (lambda now: now if now["status"] != "running" else None)(stack.status(task_id)), "for the guard to run out")


def test_a_legacy_guard_that_runs_out_is_a_timeout(stack):
    task_id = stack.create()
    stack.update(task_id, "running")
    started = ms(stack.status(task_id)["start_time"])
    got = gone(stack, task_id)
    assert (got["status"], got["sub_status"]) == ("failed", "timeout") and ms(got["end_time"]) >= started + 1000
    stack.update(task_id, "finished", 409, "ALREADY_FINAL")


def test_timeout_s_is_the_guard_where_there_is_one(make_stack, any_store):
    stack = make_stack(store=any_store, config={"sweep_s": 0.05, "lease_s": LEASE_S})  # legacy_timeout_s is a day
    task_id = stack.create(timeout_s=0.3)
    stack.update(task_id, "running")
    got = gone(stack, task_id)
    assert got["sub_status"] == "timeout" and ms(got["end_time"]) >= ms(got["start_time"]) + 300


def test_timeout_s_may_be_longer_than_the_guard(stack):
    long = stack.create(timeout_s=60)
    short = stack.create()
    for task_id in (long, short):
        stack.update(task_id, "running")
    gone(stack, short)
    now_is(stack, long, "running", "claimed")
    stack.update(long, "finished")


def test_a_legacy_timeout_is_an_attempt_and_late_work_still_counts(stack):
    task_id = stack.create(max_attempts=2, retry={"kind": "fixed", "base_s": 3600, "max_s": 3600, "jitter": 0})
    stack.update(task_id, "running")
    assert gone(stack, task_id)["sub_status"] == "retry"
    stack.update(task_id, "finished", result="late")
    assert stack.result(task_id)["data"] == "late"


def test_no_guard_where_the_configuration_says_so(make_stack, any_store):
    stack = make_stack(store=any_store, config={"sweep_s": 0.05, "lease_s": 0.2, "legacy_timeout_s": 0})
    held, other = stack.create(), stack.create(timeout_s=0.3)
    for task_id in (held, other):
        stack.update(task_id, "running")
    assert gone(stack, other)["sub_status"] == "timeout"
    now_is(stack, held, "running", "claimed")
    stack.update(held, "finished")


def test_no_guard_ends_before_a_new_process_has_served_a_lease_long(make_stack, any_store):
    stack = make_stack(store=any_store, config={"sweep_s": 0.05, "lease_s": 20})
    task_id = stack.create(timeout_s=2)
    stack.update(task_id, "running")
    stack.api.kill()
    over = time.time() + 2
    wait_until(lambda: time.time() > over, "for the guard to be over")
    began = time.monotonic()
    stack.api.restart()
    first = stack.status(task_id)["status"]
    assert first == "running" or time.monotonic() - began >= 20
    stack.update(task_id, "finished", result="just in time")
    assert stack.result(task_id)["data"] == "just in time"
