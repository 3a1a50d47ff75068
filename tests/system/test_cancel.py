"""cancel_task at every status, and the proof that a cancelled run's processes are gone."""
import time
import uuid

import pytest

from tests.system.runs import (STORES, beat, becomes, claim, fail, fail_attempt, ms, new_run, now_is, refused, renew, running, shared_stack,
                               stale)
from tests.system.stack import wait_until

LEASE_S = 0.5
LONG = {"kind": "fixed", "base_s": 3600, "max_s": 3600, "jitter": 0}


@pytest.fixture(scope="module", params=STORES)
def calm(request, tmp_path_factory):
    """Leases of 30 s."""
    yield from shared_stack(request, tmp_path_factory, ("echo", "other"), {"sweep_s": 0.05})


@pytest.fixture(scope="module", params=STORES)
def quick(request, tmp_path_factory):
    """Leases of 0.5 s; a kill may be unconfirmed for 1 s."""
    yield from shared_stack(request, tmp_path_factory, config={"sweep_s": 0.05, "lease_s": LEASE_S, "kill_max_s": 1})


@pytest.fixture(scope="module", params=STORES)
def patient(request, tmp_path_factory):
    """Leases of 0.5 s; a kill may be unconfirmed for a minute."""
    yield from shared_stack(request, tmp_path_factory, config={"sweep_s": 0.05, "lease_s": LEASE_S, "kill_max_s": 60})


def cancel(stack, task_id, api=0, **more):
    return stack.call("cancel_task", {"data": {"task_id": task_id, **more}}, api=api)


def left(stack, task_id, status="running"):
    """Waits until the task has left the status."""
    return wait_until(lambda: (lambda now: now if now["status"] != status else None)(stack.status(task_id)), f"for the end of {status}")


# ---- tasks that no run holds


@pytest.mark.parametrize("options", [{}, {"start": False}, {"delay_s": 3600}])
def test_what_has_not_begun_is_cancelled_at_once(calm, options):
    task_id = calm.create("other", **options)
    cancel(calm, task_id, reason="wrong input")
    got = now_is(calm, task_id, "failed", "cancelled")
    assert got["start_time"] is None and got["end_time"] and "wrong input" in got["error"]["text"] and got["attempt"] == 0
    assert "wrong input" in calm.call("result_task", {"data": {"task_id": task_id}}, 409, "TASK_FAILED")["message"]
    for run in ({"run_id": new_run()}, {}):
        calm.update(task_id, "running", 409, "ALREADY_FINAL", **run)
    assert calm.take("other") == []
    calm.call("cancel_task", {"data": {"task_id": task_id}}, 409, "ALREADY_FINAL")
    assert calm.status(task_id) == got


def test_a_task_that_waits_for_its_retry_is_cancelled(calm):
    task_id = calm.create(max_attempts=3, retry=LONG)
    fail_attempt(calm, task_id)
    cancel(calm, task_id)
    assert now_is(calm, task_id, "failed", "cancelled")["attempt"] == 1
    calm.call("start_task", {"task_id": task_id})
    assert now_is(calm, task_id, "waiting", "queued")["error"] is None
    run_id, got = claim(calm, task_id)
    assert got["attempt"] == 2
    renew(calm, task_id, run_id)  # the mark is gone: cancel is false
    calm.update(task_id, "finished", run_id=run_id)


@pytest.mark.parametrize("final", ["finished", "failed"])
def test_a_final_task_is_not_cancelled(calm, final):
    task_id, run_id = running(calm)
    calm.update(task_id, final, run_id=run_id)
    before = calm.status(task_id)
    calm.call("cancel_task", {"data": {"task_id": task_id}}, 409, "ALREADY_FINAL")
    assert calm.status(task_id) == before


@pytest.mark.parametrize("body, names", [
    ({}, "task_id"), ({"task_id": 5}, "task_id"), ({"task_id": "x", "reason": 5}, "reason"), ({"task_id": "x", "grace_s": "1"}, "grace_s"),
    ({"task_id": "x", "grace_s": -1}, "grace_s"), ({"task_id": "x", "grace_s": None}, "grace_s")])
def test_wrong_cancels_are_refused_by_name(calm, body, names):
    refused(calm, "cancel_task", {"data": body}, names)


# ---- running tasks


def test_a_run_hears_of_it_and_proves_its_end(calm):
    task_id, run_id = running(calm, max_attempts=5)
    assert "grace_s" not in renew(calm, task_id, run_id)
    cancel(calm, task_id, reason="no longer needed", grace_s=2.5)
    assert now_is(calm, task_id, "running", "cancelling")["end_time"] is None
    for _ in range(2):
        assert renew(calm, task_id, run_id, cancel=True)["grace_s"] == 2.5
    now_is(calm, task_id, "running", "cancelling")
    fail(calm, task_id, run_id, cause="cancelled", text="killed")
    got = now_is(calm, task_id, "failed", "cancelled")
    assert "no longer needed" in got["error"]["text"]
    fail(calm, task_id, run_id, cause="cancelled", text="killed")
    stale(calm, task_id, run_id)
    assert calm.status(task_id) == got


def test_grace_s_is_ten_where_nobody_says(calm):
    task_id, run_id = running(calm)
    cancel(calm, task_id)
    assert renew(calm, task_id, run_id, cancel=True)["grace_s"] == 10


def hears_of_its_cancel(stack, task_id, run_id):
    cancel(stack, task_id)
    renew(stack, task_id, run_id, cancel=True)
    fail(stack, task_id, run_id, cause="cancelled")
    now_is(stack, task_id, "failed", "cancelled")


def test_a_run_that_has_not_beaten_yet_hears_it_too(calm):
    hears_of_its_cancel(calm, *running(calm))


def test_a_cancel_may_be_repeated(calm):
    task_id, run_id = running(calm)
    for _ in range(3):
        cancel(calm, task_id)
    now_is(calm, task_id, "running", "cancelling")
    fail(calm, task_id, run_id, cause="cancelled")


def test_what_finishes_meanwhile_has_finished(calm):
    task_id, run_id = running(calm)
    cancel(calm, task_id)
    calm.update(task_id, "finished", run_id=run_id, result="all the same")
    assert now_is(calm, task_id, "finished", None)["error"] is None and calm.result(task_id)["data"] == "all the same"
    calm.update(task_id, "failed", 409, "ALREADY_FINAL", run_id=run_id, cause="cancelled")


@pytest.mark.parametrize("cause", [None, "error", "limit", "timeout", "crash"])
def test_what_fails_meanwhile_is_cancelled_and_never_tried_again(calm, cause):
    task_id, run_id = running(calm, max_attempts=5)
    cancel(calm, task_id)
    fail(calm, task_id, run_id, **({"cause": cause} if cause else {}))
    assert now_is(calm, task_id, "failed", "cancelled")["attempt"] == 1


@pytest.mark.parametrize("more", [{}, {"cause": "crash"}])
def test_what_is_given_back_meanwhile_is_cancelled(calm, more):
    task_id, run_id = running(calm, max_attempts=5)
    renew(calm, task_id, run_id)
    cancel(calm, task_id)
    calm.update(task_id, "waiting", run_id=run_id, **more)
    now_is(calm, task_id, "failed", "cancelled")


def test_a_cancelling_task_is_nobody_else_s(calm):
    task_id, run_id = running(calm)
    cancel(calm, task_id)
    calm.update(task_id, "running", 409, "ALREADY_CLAIMED", run_id=new_run())
    calm.update(task_id, "finished", 409, "STALE_RUN", run_id=new_run())
    calm.call("start_task", {"task_id": task_id}, 409, "ALREADY_QUEUED")
    calm.call("start_task", {"task_id": task_id, "force": True}, 409, "ALREADY_QUEUED")
    calm.call("update_task", {"task_id": task_id, "condition": 2}, 409, "TASK_RUNNING")
    now_is(calm, task_id, "running", "cancelling")
    fail(calm, task_id, run_id, cause="cancelled")


def test_a_consumer_that_cannot_confirm_says_so(calm):
    task_id, run_id = running(calm)
    cancel(calm, task_id)
    fail(calm, task_id, run_id, cause="kill_unconfirmed")
    now_is(calm, task_id, "failed", "kill_unconfirmed")
    calm.call("start_task", {"task_id": task_id}, 409, "KILL_UNCONFIRMED")


# ---- runs of which nothing is heard


def unconfirmed(stack, task_id, since):
    got = left(stack, task_id)
    assert (got["status"], got["sub_status"]) == ("failed", "kill_unconfirmed"), got
    assert ms(got["end_time"]) >= since * 1000 - 5
    return got


def test_a_silent_run_is_unconfirmed_after_kill_max_s(quick):
    task_id, run_id = running(quick)
    began = time.time()
    cancel(quick, task_id)
    got = unconfirmed(quick, task_id, began + 1)
    stale(quick, task_id, run_id)
    quick.call("start_task", {"task_id": task_id}, 409, "KILL_UNCONFIRMED")
    quick.call("start_task", {"task_id": task_id, "force": False}, 409, "KILL_UNCONFIRMED")
    refused(quick, "start_task", {"task_id": task_id, "force": "yes"}, "force")
    assert quick.status(task_id) == got
    quick.call("start_task", {"task_id": task_id, "force": True})
    run_id, got = claim(quick, task_id)
    assert got["attempt"] == 2
    renew(quick, task_id, run_id)
    quick.update(task_id, "finished", run_id=run_id)


def test_a_run_that_is_heard_is_waited_for(make_stack, any_store):
    """Beyond kill_max_s: another run, of which nothing is heard, is given up meanwhile."""
    stack = make_stack(store=any_store, config={"sweep_s": 0.05, "lease_s": LEASE_S, "kill_max_s": 4})
    task_id, run_id = running(stack)
    cancel(stack, task_id)
    other, _ = running(stack)
    cancel(stack, other)

    def look():
        renew(stack, task_id, run_id, cancel=True)
        return stack.status(other)["status"] == "failed"
    wait_until(look, "for the silent run to be given up", every_s=LEASE_S / 5)
    now_is(stack, task_id, "running", "cancelling")
    fail(stack, task_id, run_id, cause="cancelled")
    now_is(stack, task_id, "failed", "cancelled")


def test_a_run_that_is_heard_again_is_waited_for(patient):
    """Silent beyond its lease, within kill_max_s."""
    task_id, run_id = running(patient)
    cancel(patient, task_id)
    until = ms(renew(patient, task_id, run_id, cancel=True)["lease_until"])
    wait_until(lambda: time.time() * 1000 > until + 100, "for the lease to be over")
    renew(patient, task_id, run_id, cancel=True)
    fail(patient, task_id, run_id, cause="cancelled")
    now_is(patient, task_id, "failed", "cancelled")


def test_a_late_word_is_taken_until_it_is_unconfirmed(patient):
    finished, first = running(patient)
    failed, second = running(patient)
    cancel(patient, finished)
    until = max(ms(renew(patient, finished, first, cancel=True)["lease_until"]), ms(renew(patient, failed, second)["lease_until"]))
    cancel(patient, failed)
    wait_until(lambda: time.time() * 1000 > until + 100, "for the leases to be over")
    patient.update(finished, "finished", run_id=first, result=1)
    fail(patient, failed, second, text="late")
    now_is(patient, finished, "finished", None)
    now_is(patient, failed, "failed", "cancelled")


def test_without_a_lease_nobody_can_confirm(quick):
    task_id = quick.create()
    quick.update(task_id, "running")
    began = time.time()
    cancel(quick, task_id)
    now_is(quick, task_id, "running", "cancelling")
    unconfirmed(quick, task_id, began + 1)


@pytest.mark.parametrize("final, wanted", [("finished", ("finished", None)), ("failed", ("failed", "cancelled"))])
def test_a_module_without_runs_may_end_it_itself(calm, final, wanted):
    task_id = calm.create(max_attempts=3)
    calm.update(task_id, "running")
    cancel(calm, task_id)
    calm.update(task_id, final)
    now_is(calm, task_id, *wanted)


# ---- a task whose last run's lease lapsed


def lapsed(stack, beats=1):
    """A task that is queued again, and the run that may still take it back."""
    task_id, run_id = running(stack)
    for _ in range(beats):
        renew(stack, task_id, run_id)
    left(stack, task_id)
    return task_id, run_id


@pytest.mark.parametrize("beats", [0, 1])
def test_a_lost_run_may_still_live_so_its_task_is_cancelling(quick, beats):
    task_id, run_id = lapsed(quick, beats)
    began = time.time()
    cancel(quick, task_id)
    now_is(quick, task_id, "running", "cancelling")
    assert quick.take() == []
    unconfirmed(quick, task_id, began + 1)


def test_a_lost_run_hears_that_it_was_cancelled(patient):
    hears_of_its_cancel(patient, *lapsed(patient))


def test_a_run_whose_right_has_ended_is_not_waited_for(quick):
    task_id, run_id = lapsed(quick)
    quick.call("update_task", {"task_id": task_id, "condition": 2})
    cancel(quick, task_id)
    now_is(quick, task_id, "failed", "cancelled")
    stale(quick, task_id, run_id)


# ---- processes that die, and Kafka


def test_kill_9_keeps_a_cancel(make_stack, any_store):
    stack = make_stack(store=any_store, config={"sweep_s": 0.05, "lease_s": 1, "kill_max_s": 5})
    heard, silent, done = running(stack), running(stack), stack.create()
    for task_id, _ in (heard, silent):
        cancel(stack, task_id, reason="why", grace_s=3)
    cancel(stack, done, reason="why")
    stack.api.kill()
    began = time.time()
    stack.api.restart()
    now_is(stack, done, "failed", "cancelled")
    assert renew(stack, *heard, cancel=True)["grace_s"] == 3
    now_is(stack, heard[0], "running", "cancelling")
    fail(stack, *heard, cause="cancelled")
    assert "why" in now_is(stack, heard[0], "failed", "cancelled")["error"]["text"]
    unconfirmed(stack, silent[0], began + 6)  # a lease of serving, then kill_max_s


@pytest.mark.cluster
def test_over_kafka_the_message_that_is_out_is_dropped(make_stack):
    stack = make_stack(store="mongodb", broker="kafka", apis=2, config={"sweep_s": 0.05})
    task_id = stack.create()
    stack.wait_status(task_id, "waiting")
    assert [got.key.decode() for got in stack.messages("echo", 1)] == [task_id]
    cancel(stack, task_id, api=1)
    now_is(stack, task_id, "failed", "cancelled")
    stack.update(task_id, "running", 409, "ALREADY_FINAL", run_id=str(uuid.uuid4()))
    stack.update(task_id, "running", 409, "ALREADY_FINAL")
    held, run_id = running(stack)
    cancel(stack, held, api=1)
    assert beat(stack, (held, run_id))[0]["cancel"] is True
    fail(stack, held, run_id, cause="cancelled")
    now_is(stack, held, "failed", "cancelled", api=1)
    stack.call("start_task", {"task_id": held})
    becomes(stack, held, "waiting", "queued")
    assert len(stack.messages("echo", 3)) == 3
