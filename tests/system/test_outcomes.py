"""What becomes of a task when a run of it ends: the outcome table of the specification, row by row, on both stores; who may
say what about a run, and the times that are told of it."""
import pytest

from tests.system.runs import (NOWHERE, STORES, becomes, claim, fail, fail_attempt, ms, new_run, now_is, refused, renew, running,
                               shared_stack, stale, update_refused)
from tests.system.stack import in_threads, wait_until

LEASE_S = 1
NO_WAIT = {"kind": "fixed", "base_s": 0, "max_s": 0, "jitter": 0}


@pytest.fixture(scope="module", params=STORES)
def calm(request, tmp_path_factory):
    """Leases of 30 s: none runs out in a test."""
    yield from shared_stack(request, tmp_path_factory, ("echo", "other", "order", "aged"),
                            {"sweep_s": 0.05, "max_status_task": 1000})


@pytest.fixture(scope="module", params=STORES)
def quick(request, tmp_path_factory):
    """Leases of 1 s; three lost runs fail a task."""
    yield from shared_stack(request, tmp_path_factory, config={"lease_s": LEASE_S, "sweep_s": 0.05})


def failed_as(stack, task_id, sub_status, **fields):
    """It failed so, and says it in all places."""
    got = now_is(stack, task_id, "failed", sub_status)
    assert got["start_time"] is None or got["start_time"] <= got["end_time"]
    assert {key: got[key] for key in fields} == fields, got
    refusal = stack.call("result_task", {"data": {"task_id": task_id}}, 409, "TASK_FAILED")
    if got["error"] and got["error"]["text"]:
        assert got["error"]["text"] in refusal["message"], refusal
    return got


# ---- exit 0


def test_a_result_finishes(calm):
    task_id, run_id = running(calm, max_attempts=3)
    calm.update(task_id, "finished", run_id=run_id, result={"n": 1.0}, message="done")
    got = now_is(calm, task_id, "finished", None)
    assert (got["message"], got["error"], got["attempt"]) == ("done", None, 1)
    assert calm.result(task_id)["data"] == {"n": 1.0}


def test_a_second_attempt_that_finishes_leaves_no_error(calm):
    task_id = calm.create(max_attempts=2, retry=NO_WAIT)
    fail_attempt(calm, task_id)
    becomes(calm, task_id, "waiting", "queued")
    run_id, got = claim(calm, task_id)
    assert got["attempt"] == 2
    calm.update(task_id, "finished", run_id=run_id, result=2)
    got = now_is(calm, task_id, "finished", None)
    assert got["error"] is None and got["message"] is None and calm.result(task_id)["data"] == 2


# ---- an attempt that failed


@pytest.mark.parametrize("cause, sub_status", [(None, "error"), ("error", "error"), ("limit", "limit"), ("timeout", "timeout")])
@pytest.mark.parametrize("error_class", ["retryable", "fatal", None])
def test_the_only_attempt_names_its_cause(calm, cause, sub_status, error_class):
    task_id, run_id = running(calm)
    more = {"cause": cause} if cause else {}
    fail(calm, task_id, run_id, text="because", error_class=error_class, **more)
    got = failed_as(calm, task_id, sub_status, attempt=1)
    assert got["error"] == {"class": error_class, "text": "because"}


@pytest.mark.parametrize("cause, sub_status", [(None, "error"), ("error", "error"), ("limit", "limit"), ("timeout", "timeout")])
def test_a_fatal_error_is_not_tried_again_and_names_its_cause(calm, cause, sub_status):
    more = {"cause": cause} if cause else {}
    first, run_id = running(calm, max_attempts=5)
    fail(calm, first, run_id, error_class="fatal", **more)
    failed_as(calm, first, sub_status, attempt=1)
    second = calm.create(max_attempts=5, retry=NO_WAIT)
    fail_attempt(calm, second)
    becomes(calm, second, "waiting", "queued")
    fail(calm, second, claim(calm, second)[0], error_class="fatal", **more)
    failed_as(calm, second, sub_status, attempt=2)


@pytest.mark.parametrize("cause", [None, "error", "limit", "timeout"])
def test_the_last_of_several_attempts_is_dead(calm, cause):
    more = {"cause": cause} if cause else {}
    task_id = calm.create(max_attempts=3, retry=NO_WAIT)
    for attempt in (1, 2):
        got = fail_attempt(calm, task_id, text=f"attempt {attempt}", **more)
        assert got["status"] == "waiting" and got["end_time"] is None and got["attempt"] == attempt
        assert got["error"] == {"class": "retryable", "text": f"attempt {attempt}"}
        calm.call("result_task", {"data": {"task_id": task_id}}, 409, "NOT_FINISHED")
        becomes(calm, task_id, "waiting", "queued")
    fail_attempt(calm, task_id, text="attempt 3", **more)
    failed_as(calm, task_id, "dead", attempt=3, error={"class": "retryable", "text": "attempt 3"})


def test_an_error_without_a_class_is_tried_again(calm):
    task_id, run_id = running(calm, max_attempts=2)
    calm.update(task_id, "failed", run_id=run_id)
    now_is(calm, task_id, "waiting", "retry")


@pytest.mark.parametrize("body, names", [
    ({"cause": "sleepy"}, "cause"), ({"cause": 5}, "cause"), ({"cause": None}, "cause"), ({"error": 5}, "error"),
    ({"error": {"class": "odd"}}, "class"), ({"error": {"class": "fatal", "text": 5}}, "text"), ({"attempt": 0}, "attempt"),
    ({"attempt": "1"}, "attempt"), ({"attempt": 1.5}, "attempt"), ({"run_id": "x"}, "run_id")])
def test_wrong_reports_are_refused_by_name_and_change_nothing(calm, body, names):
    task_id, run_id = running(calm)
    update_refused(calm, task_id, "failed", names, **{"run_id": run_id, **body})
    now_is(calm, task_id, "running", "claimed")


@pytest.mark.parametrize("status", ["running", "finished"])
def test_a_cause_is_of_failures(calm, status):
    task_id, run_id = running(calm)
    update_refused(calm, task_id, status, "cause", run_id=run_id, cause="error")


# ---- a crash


@pytest.mark.parametrize("status", ["waiting", "failed"])
def test_a_crash_is_no_attempt_until_there_are_too_many(calm, status):
    task_id = calm.create(max_attempts=1)
    for number in (1, 2):
        run_id, got = claim(calm, task_id)
        assert got["attempt"] == number
        calm.update(task_id, status, run_id=run_id, cause="crash")
        got = now_is(calm, task_id, "waiting", "queued")
        assert got["end_time"] is None
        calm.update(task_id, status, run_id=run_id, cause="crash")
        stale(calm, task_id, run_id)
    run_id, _ = claim(calm, task_id)
    calm.update(task_id, status, run_id=run_id, cause="crash")
    got = failed_as(calm, task_id, "crash", attempt=3)
    calm.update(task_id, status, run_id=run_id, cause="crash")
    assert calm.status(task_id) == got, "the same word again"
    calm.update(task_id, "finished", 409, "ALREADY_FINAL", run_id=run_id)
    assert calm.status(task_id) == got


def test_crashes_and_attempts_are_counted_apart(calm):
    task_id = calm.create(max_attempts=2, retry=NO_WAIT)
    for _ in range(2):
        calm.update(task_id, "waiting", run_id=claim(calm, task_id)[0], cause="crash")
    assert fail_attempt(calm, task_id)["status"] == "waiting"
    becomes(calm, task_id, "waiting", "queued")
    calm.update(task_id, "failed", run_id=claim(calm, task_id)[0], cause="crash")
    failed_as(calm, task_id, "crash", attempt=4)
    # Begun anew, so are both counts.
    calm.call("start_task", {"task_id": task_id})
    for _ in range(2):
        calm.update(task_id, "waiting", run_id=claim(calm, task_id)[0], cause="crash")
    fail_attempt(calm, task_id)
    becomes(calm, task_id, "waiting", "queued")
    fail_attempt(calm, task_id)
    failed_as(calm, task_id, "dead", attempt=8)


def test_a_crash_is_of_a_run(calm):
    task_id = calm.create()
    calm.update(task_id, "running")
    for status in ("waiting", "failed"):
        calm.call("update_status_task", {"data": {"task_id": task_id, "status": status, "cause": "crash"}}, 400, "INVALID_PARAMETER")
    now_is(calm, task_id, "running", "claimed")


# ---- a lease that was lost


def lost(stack, task_id, beats=1):
    """A run that is not heard of any more; the status after it, and the run."""
    run_id, _ = claim(stack, task_id)
    for _ in range(beats):
        renew(stack, task_id, run_id)

    def look():
        got = stack.status(task_id)
        return got if got["status"] != "running" else None
    return wait_until(look, f"for the run of {task_id} to be lost"), run_id


def test_lost_after_the_first_heartbeat_is_a_crash(quick):
    task_id = quick.create(max_attempts=1)
    for number in (1, 2, 3):
        got, _ = lost(quick, task_id)
        assert got["attempt"] == number
        assert (got["status"], got["sub_status"]) == (("waiting", "queued") if number < 3 else ("failed", "crash")), got
    failed_as(quick, task_id, "crash")


def test_lost_before_the_first_heartbeat_is_undelivered(quick):
    """More often than max_crashes, and no attempt is used up."""
    task_id = quick.create(max_attempts=2, retry=NO_WAIT)
    for _ in range(4):
        assert lost(quick, task_id, beats=0)[0]["status"] == "waiting"
    fail_attempt(quick, task_id)
    becomes(quick, task_id, "waiting", "queued")
    fail_attempt(quick, task_id)
    failed_as(quick, task_id, "dead", attempt=6)


@pytest.mark.heavy
def test_twenty_undelivered_runs_are_a_crash(make_stack, any_store):
    stack = make_stack(store=any_store, config={"lease_s": 0.2, "sweep_s": 0.05})
    task_id = stack.create(max_attempts=5)
    for number in range(1, 21):
        got, _ = lost(stack, task_id, beats=0)
        assert got["status"] == ("waiting" if number < 20 else "failed"), number
    failed_as(stack, task_id, "crash", attempt=20)


def test_lost_and_said_crashes_are_one_count(quick):
    task_id = quick.create()
    quick.update(task_id, "waiting", run_id=claim(quick, task_id)[0], cause="crash")
    assert lost(quick, task_id)[0]["status"] == "waiting"
    quick.update(task_id, "failed", run_id=claim(quick, task_id)[0], cause="crash")
    failed_as(quick, task_id, "crash", attempt=3)


def test_taking_back_undoes_the_count(quick):
    """However often it happens, for crashes and for undelivered runs."""
    task_id = quick.create()
    got, run_id = lost(quick, task_id, beats=0)
    for _ in range(4):
        renew(quick, task_id, run_id)
        got = becomes(quick, task_id, "waiting", "queued")
    assert got["attempt"] == 1
    renew(quick, task_id, run_id)
    for _ in range(2):
        quick.update(task_id, "waiting", run_id=run_id, cause="crash")
        run_id, _ = claim(quick, task_id)
    quick.update(task_id, "finished", run_id=run_id)


def test_a_task_that_was_lost_twice_is_taken_back_and_lost_once_more(quick):
    task_id = quick.create()
    lost(quick, task_id)
    got, run_id = lost(quick, task_id)
    assert got["status"] == "waiting"
    renew(quick, task_id, run_id)
    becomes(quick, task_id, "waiting", "queued")  # the second crash, not the third
    renew(quick, task_id, run_id)
    fail(quick, task_id, run_id)
    failed_as(quick, task_id, "error", attempt=2)


def test_a_final_report_takes_back_and_its_loss_is_not_counted(quick):
    task_id = quick.create(max_attempts=3, retry=NO_WAIT)
    for number in (1, 2):
        _, run_id = lost(quick, task_id)
        fail(quick, task_id, run_id)
        becomes(quick, task_id, "waiting", "queued")
    for number in (3, 4):
        assert lost(quick, task_id)[0]["status"] == "waiting", "no crash has been counted before"
    assert lost(quick, task_id)[0]["sub_status"] == "crash"


# ---- handed back


def test_handed_back_counts_nothing(calm):
    task_id = calm.create(max_attempts=1)
    for number in range(1, 26):
        run_id, got = claim(calm, task_id)
        assert got["attempt"] == number
        if number % 2:
            renew(calm, task_id, run_id)
        calm.update(task_id, "waiting", run_id=run_id)
        now_is(calm, task_id, "waiting", "queued")
    fail_attempt(calm, task_id)
    failed_as(calm, task_id, "error", attempt=26)


# ---- cancelled


def test_cancelled_counts_nothing_and_is_final(calm):
    task_id, run_id = running(calm, max_attempts=5)
    calm.call("cancel_task", {"data": {"task_id": task_id}})
    fail(calm, task_id, run_id, cause="cancelled")
    failed_as(calm, task_id, "cancelled", attempt=1)


# ---- who may speak of a run


def test_a_run_that_is_not_the_current_one_changes_nothing(calm):
    task_id, run_id = running(calm)
    before = calm.status(task_id)
    for status in ("finished", "failed", "waiting"):
        calm.update(task_id, status, 409, "STALE_RUN", run_id=new_run())
    calm.update(task_id, "running", 409, "ALREADY_CLAIMED", run_id=new_run())
    calm.update(task_id, "running", 409, "ALREADY_CLAIMED")
    for status in ("finished", "failed"):
        calm.update(task_id, status, 409, "STALE_RUN")
    stale(calm, task_id, new_run())
    assert calm.status(task_id) == before
    calm.update(task_id, "finished", run_id=run_id)


def test_the_same_claim_again_has_the_same_answer(calm):
    task_id = calm.create(condition={"x": 1}, timeout_s=60)
    run_id, first = claim(calm, task_id, worker="w1")
    for _ in range(3):
        assert calm.update(task_id, "running", run_id=run_id, worker="w1") == first
    assert calm.status(task_id)["attempt"] == 1
    calm.update(task_id, "finished", run_id=run_id)
    calm.update(task_id, "running", 409, "STALE_RUN", run_id=run_id)
    calm.update(task_id, "running", 409, "ALREADY_FINAL", run_id=new_run())
    calm.update(task_id, "running", 409, "ALREADY_FINAL")


def test_many_claims_at_once_give_one_run(calm):
    task_id, runs = calm.create(), [new_run() for _ in range(16)]

    def ask(run_id):
        answer = calm.post("update_status_task", {"data": {"task_id": task_id, "status": "running", "run_id": run_id}})
        return answer.json["status"]["run_id"] if answer.status == 200 else answer.json["code"]
    got = in_threads([lambda run_id=run_id: ask(run_id) for run_id in runs])
    (winner,) = [answer for answer in got if answer != "ALREADY_CLAIMED"]
    assert winner in runs and calm.status(task_id)["attempt"] == 1
    calm.update(task_id, "finished", run_id=winner)


def test_a_final_report_may_be_repeated_and_not_changed(calm):
    task_id, run_id = running(calm)
    for _ in range(3):
        calm.update(task_id, "finished", run_id=run_id, result=[1, 2.0])
    before = calm.status(task_id)
    for other in ({"status": "finished", "result": [1, 2]}, {"status": "finished"}, {"status": "failed"}):
        calm.update(task_id, other.pop("status"), 409, "ALREADY_FINAL", run_id=run_id, **other)
    assert calm.status(task_id) == before and calm.result(task_id)["data"] == [1, 2.0]
    failing, run_id = running(calm)
    for _ in range(3):
        fail(calm, failing, run_id, text="first")
    calm.update(failing, "finished", 409, "ALREADY_FINAL", run_id=run_id, result=1)
    assert calm.status(failing)["error"]["text"] == "first"


def test_a_failure_that_is_tried_again_may_be_repeated_and_counts_once(calm):
    task_id = calm.create(max_attempts=3, retry=NO_WAIT)
    run_id, _ = claim(calm, task_id)
    for _ in range(3):
        fail(calm, task_id, run_id)
    becomes(calm, task_id, "waiting", "queued")
    fail(calm, task_id, run_id)
    calm.update(task_id, "finished", 409, "ALREADY_FINAL", run_id=run_id)
    stale(calm, task_id, run_id)
    fail_attempt(calm, task_id)
    becomes(calm, task_id, "waiting", "queued")
    fail_attempt(calm, task_id)
    failed_as(calm, task_id, "dead", attempt=3)


def test_an_earlier_run_repeats_its_last_word_while_a_later_one_runs(calm):
    """What is recorded for a run stays so, whatever comes after it."""
    task_id = calm.create(max_attempts=3, retry=NO_WAIT)
    first, _ = claim(calm, task_id)
    fail(calm, task_id, first)
    becomes(calm, task_id, "waiting", "queued")
    second, _ = claim(calm, task_id)
    before = calm.status(task_id)
    fail(calm, task_id, first)
    calm.update(task_id, "finished", 409, "STALE_RUN", run_id=first)
    stale(calm, task_id, first)
    calm.update(task_id, "running", 409, run_id=first)
    assert calm.status(task_id) == before
    calm.update(task_id, "finished", run_id=second)
    fail(calm, task_id, first)
    calm.update(task_id, "finished", 409, "STALE_RUN", run_id=first)
    now_is(calm, task_id, "finished", None)


@pytest.mark.parametrize("between", [1, 2, 3])
def test_a_run_that_has_ended_never_claims_again(calm, between):
    task_id = calm.create()
    runs = []
    for _ in range(1 + between):
        runs.append(claim(calm, task_id)[0])
        calm.update(task_id, "waiting", run_id=runs[-1])
    for run_id in runs:
        calm.update(task_id, "running", 409, "STALE_RUN", run_id=run_id)
    assert calm.status(task_id)["attempt"] == len(runs)
    now_is(calm, task_id, "waiting", "queued")


def test_a_run_of_the_life_before_never_claims_again(calm):
    task_id, run_id = running(calm)
    calm.update(task_id, "finished", run_id=run_id, result=1)
    calm.call("start_task", {"task_id": task_id})
    calm.update(task_id, "running", 409, "STALE_RUN", run_id=run_id)
    other, got = claim(calm, task_id)
    assert got["attempt"] == 2
    calm.update(task_id, "waiting", run_id=other)
    calm.update(task_id, "running", 409, "STALE_RUN", run_id=run_id)
    stale(calm, task_id, run_id)
    now_is(calm, task_id, "waiting", "queued")


def test_an_attempt_that_contradicts_is_a_stale_run(calm):
    task_id = calm.create()
    run_id, _ = claim(calm, task_id, attempt=7)  # a new run does not know its number
    for status in ("running", "finished", "failed", "waiting"):
        calm.update(task_id, status, 409, "STALE_RUN", run_id=run_id, attempt=2)
    now_is(calm, task_id, "running", "claimed")
    calm.update(task_id, "running", run_id=run_id, attempt=1)
    calm.update(task_id, "finished", run_id=run_id, attempt=1)
    calm.update(task_id, "finished", 409, run_id=run_id, attempt=2)


def test_nobody_may_speak_of_a_task_that_is_not(calm):
    for status in ("running", "finished", "failed", "waiting"):
        calm.update(NOWHERE, status, 404, "UNKNOWN_TASK", run_id=new_run())
    for route in ("cancel_task", "start_task"):
        calm.call(route, {"data": {"task_id": NOWHERE}}, 404, "UNKNOWN_TASK")


def test_the_same_final_word_of_a_module_without_runs(calm):
    task_id = calm.create()
    calm.update(task_id, "running")
    calm.update(task_id, "running", 409, "ALREADY_CLAIMED")
    calm.update(task_id, "finished", result=1)
    calm.update(task_id, "finished")
    calm.update(task_id, "failed", 409, "ALREADY_FINAL")
    calm.update(task_id, "finished", 409, "STALE_RUN", run_id=new_run())
    assert calm.result(task_id)["data"] == 1


# ---- progress


def test_progress_is_shown_until_the_next_run(calm):
    task_id = calm.create(max_attempts=2, retry=NO_WAIT)
    assert calm.status(task_id)["progress"] is None
    run_id, _ = claim(calm, task_id)
    assert calm.status(task_id)["progress"] is None
    calm.update(task_id, "running", run_id=run_id, progress=0.25)
    assert calm.status(task_id)["progress"] == 0.25
    said = {"done": 3, "total": 10, "text": "drei von zehn … ü"}
    renew(calm, task_id, run_id, progress=said)
    assert calm.status(task_id)["progress"] == said
    renew(calm, task_id, run_id)
    assert calm.status(task_id)["progress"] == said
    fail(calm, task_id, run_id)
    assert calm.status(task_id)["progress"] == said
    becomes(calm, task_id, "waiting", "queued")
    run_id, _ = claim(calm, task_id)
    assert calm.status(task_id)["progress"] is None
    renew(calm, task_id, run_id, progress=1)
    calm.update(task_id, "finished", run_id=run_id)
    assert calm.status(task_id)["progress"] == 1
    calm.call("start_task", {"task_id": task_id})
    assert calm.status(task_id)["progress"] is None


def test_a_claim_and_a_report_may_tell_progress(calm):
    task_id = calm.create()
    run_id, _ = claim(calm, task_id, progress=0)
    assert calm.status(task_id)["progress"] == 0
    calm.update(task_id, "finished", run_id=run_id, result={"r": 1}, progress={"done": 7})
    assert calm.status(task_id)["progress"] == {"done": 7} and calm.result(task_id)["data"] == {"r": 1}
    failing, run_id = running(calm)
    fail(calm, failing, run_id, progress=0.5)
    assert calm.status(failing)["progress"] == 0.5


def test_progress_of_another_run_changes_nothing(calm):
    task_id, run_id = running(calm)
    renew(calm, task_id, run_id, progress=0.5)
    (item,) = calm.call("heartbeat_task", {"data": [{"task_id": task_id, "run_id": new_run(), "progress": 0.75}]})["data"]
    assert item["code"] == "STALE_RUN"
    calm.update(task_id, "running", 409, "ALREADY_CLAIMED", run_id=new_run(), progress=0.75)
    assert calm.status(task_id)["progress"] == 0.5


@pytest.mark.parametrize("progress", [-0.1, 1.1, "half", [], True, {}, {"done": -1}, {"done": "1"}, {"total": []}, {"text": 5}])
def test_wrong_progress_is_refused_by_name(calm, progress):
    task_id, run_id = running(calm)
    update_refused(calm, task_id, "running", "progress", run_id=run_id, progress=progress)
    (item,) = calm.call("heartbeat_task", {"data": [{"task_id": task_id, "run_id": run_id, "progress": progress}]})["data"]
    assert item["code"] == "INVALID_PARAMETER" and "progress" in item["message"]
    assert calm.status(task_id)["progress"] is None


# ---- times


def test_times_are_ordered_over_a_whole_life(calm):
    task_id = calm.create(max_attempts=2, retry=NO_WAIT)
    created = ms(created_at(calm, task_id))
    assert (calm.status(task_id)["start_time"], calm.status(task_id)["end_time"]) == (None, None)
    starts = []
    for attempt in (1, 2):
        run_id, got = claim(calm, task_id)
        now = calm.status(task_id)
        starts.append(ms(now["start_time"]))
        assert now["end_time"] is None and ms(got["lease_until"]) >= starts[-1] >= created
        fail(calm, task_id, run_id)
        if attempt == 1:
            assert calm.status(task_id)["end_time"] is None
            becomes(calm, task_id, "waiting", "queued")
    got = calm.status(task_id)
    assert created <= starts[0] <= starts[1] == ms(got["start_time"]) <= ms(got["end_time"])
    calm.call("start_task", {"task_id": task_id})
    again = calm.status(task_id)
    assert (again["start_time"], again["end_time"]) == (None, None)
    assert ms(created_at(calm, task_id)) == created


def created_at(stack, task_id, service="echo"):
    rows = stack.call("tasks", {"p_size": 100, "service": service})["data"]
    (row,) = [row for row in rows if row["task_id"] == task_id]
    return row["create_time"]


def test_spend_time_is_the_last_attempt_s(calm):
    task_id, run_id = running(calm)
    calm.update(task_id, "finished", run_id=run_id)
    got = calm.result(task_id)
    assert got["spend_time"] == (ms(got["end_time"]) - ms(got["start_time"])) / 1000 >= 0


def test_an_end_without_a_start(calm):
    task_id = calm.create()
    calm.call("cancel_task", {"data": {"task_id": task_id}})
    got = calm.status(task_id)
    assert got["start_time"] is None and ms(got["end_time"]) >= ms(created_at(calm, task_id))


# ---- the order of claim_task


def taken(stack, service, n):
    """One after the other."""
    got = []
    for _ in range(n):
        (item,) = stack.take(service)
        got.append((item["Task"]["task_id"], item["run_id"]))
    return got


def finish(stack, *runs):
    """What stays claimed would be queued again when its lease is over, and come in the way of later tests."""
    for task_id, run_id in runs:
        stack.update(task_id, "finished", run_id=run_id)


def test_highest_priority_first_then_oldest(calm):
    wanted = {number: [] for number in range(10)}
    for priority in (4, 9, 0, 4, 7, 9, 0, None):
        task_id = calm.create("order", **({} if priority is None else {"priority": priority}))
        wanted[4 if priority is None else priority].append(task_id)
    expect = [task_id for priority in range(9, -1, -1) for task_id in wanted[priority]]
    got = calm.take("order", max=5)
    assert [item["Task"]["task_id"] for item in got] == expect[:5]
    rest = taken(calm, "order", 3)
    assert [task_id for task_id, _ in rest] == expect[5:]
    assert calm.take("order") == []
    finish(calm, *((item["Task"]["task_id"], item["run_id"]) for item in got), *rest)


def test_oldest_first_among_many_of_one_moment(calm):
    task_ids = calm.create_many("order", list(range(50)))
    more = calm.create_many("order", list(range(50, 60)))
    got = calm.take("order", max=60)
    assert [item["Task"]["task_id"] for item in got] == task_ids + more
    finish(calm, *((item["Task"]["task_id"], item["run_id"]) for item in got))


def test_given_back_and_retried_tasks_keep_their_place(calm):
    old, mid, young = (calm.create("order", max_attempts=2, retry=NO_WAIT) for _ in range(3))
    (first, run_id), (second, other) = taken(calm, "order", 2)
    assert (first, second) == (old, mid)
    calm.update(mid, "waiting", run_id=other)
    fail(calm, old, run_id)
    becomes(calm, old, "waiting", "queued")
    got = taken(calm, "order", 3)
    assert [task_id for task_id, _ in got] == [old, mid, young]
    finish(calm, *got)


@pytest.mark.parametrize("priority", [-1, 10, 4.5, "4", True, None])
def test_wrong_priorities_are_refused_by_name(calm, priority):
    refused(calm, "create_task", {"data": {"service": "order", "condition": 1, "priority": priority}}, "priority")
    assert calm.take("order") == []


def test_a_task_that_waits_gains_priority(make_stack, any_store):
    """One for each age_s: the order is that of the create time less the priority's worth of waiting."""
    age_s = 0.5
    stack = make_stack(store=any_store, config={"age_s": age_s})
    made = {}

    def create(priority):
        task_id = stack.create(priority=priority)
        made[task_id] = ms(created_at(stack, task_id)) - priority * age_s * 1000
        return task_id
    old = create(3)
    waited = made[old] + 3 * age_s * 1000 + age_s * 1000  # the clock after which a task of priority 4 is behind it
    for priority in (9, 0, 4, 8):
        create(priority)

    def look():
        task_id = create(4)
        return task_id if made[task_id] + 4 * age_s * 1000 > waited else None
    later = wait_until(look, "for the old task to age", every_s=age_s / 4)
    create(9)
    got = [task_id for task_id, _ in taken(stack, "echo", len(made))]
    assert [made[task_id] for task_id in got] == sorted(made.values())
    assert got.index(old) < got.index(later)


def test_without_ageing_priority_alone_counts(make_stack, any_store):
    stack = make_stack(store=any_store, config={"age_s": 0})
    low, high = stack.create(priority=0), stack.create(priority=1)
    assert [task_id for task_id, _ in taken(stack, "echo", 2)] == [high, low]


def test_a_delayed_task_that_is_run_now_has_its_place_by_age(calm):
    """What is due later does not wait behind what came after it, once it is started by hand."""
    late = calm.create("order", delay_s=3600)
    young = calm.create("order")
    calm.call("start_task", {"task_id": late})
    younger = calm.create("order")
    runs = taken(calm, "order", 3)
    got = [task_id for task_id, _ in runs]
    assert got[-1] == younger and set(got[:2]) == {late, young}
    finish(calm, *runs)
