"""Runs that are ended: at their deadline, when they are cancelled, over a limit, with their consumer. Whatever the module does, no
process of it is left, which is looked up in /proc by the RUN_ID that each has in its environment; with cgroups and without.
"""
import os
import time

import pytest

from tests.system.stack import PATIENCE_S, SANITIZED, module, wait_until

NASTY = ("sleeper", "double_fork", "setsid", "ignores", "keeps_forking", "moves_on")


@pytest.fixture(params=["cgroup", "proc"])
def how(request):
    """What the consumer's supervisors may use: the host's cgroups, where they can, or /proc alone."""
    return {} if request.param == "cgroup" else {"LONGHAUL_CGROUP": "off"}


def run_stack(make_stack, how, kind="nasty", consumers=1, config=None, **limits):
    stack = make_stack(services={"nasty": module(kind, **limits), "echo": module("echo")},
                       config={"sweep_s": 0.1, "max_status_task": 100, "drain_s": 0, **(config or {})})
    for _ in range(consumers):
        stack.start_consumer(env=how)
    return stack


def processes_of(run_id):
    """The living processes that have this RUN_ID in their environment, or are started from one that has."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as environ, open(f"/proc/{pid}/stat") as stat:
                if f"RUN_ID={run_id}".encode() in environ.read().split(b"\0") and stat.read().rpartition(")")[2].split()[0] != "Z":
                    found.append(int(pid))
        except OSError:
            pass
    return found


def note_of(file):
    """The run id that the module has noted once all its processes were there."""
    return wait_until(lambda: file.exists() and file.read_text().endswith("\n") and file.read_text().strip(), f"for {file.name}")


def serves_on(stack):
    """The consumer has come to no harm: it runs the next task."""
    assert all(consumer.alive() for consumer in stack.consumers if consumer.expect_exit is not None)
    task_id = stack.create("echo", [1.5])
    stack.wait_finished([task_id])
    assert stack.result(task_id)["data"] == [1.5]


def ended(stack, task_id, run_id, sub_status, text):
    """The task has failed so, and from that moment on nothing of its run is left."""
    status = stack.wait_final(task_id)
    assert processes_of(run_id) == []
    assert (status["status"], status["sub_status"]) == ("failed", sub_status), status
    assert text in status["error"]["text"], status
    wait_until(lambda: not empty_groups() - BEFORE, "for no empty cgroup to be left, of this test or another")
    return status


def empty_groups():
    """The cgroups of runs that nothing runs in, of any consumer."""
    with open("/proc/self/mountinfo") as mounts:
        points = [line.split()[4] for line in mounts if " - cgroup2 " in line]
    return {f"{point}/{name}" for point in points for name in os.listdir(point)
            if name.startswith("longhaul-run-") and not populated(f"{point}/{name}")}


def populated(group):
    """Whether another test's run is in it, or it is gone meanwhile."""
    try:
        with open(f"{group}/cgroup.events") as events:
            return "populated 1" in events.read()
    except OSError:
        return True


BEFORE = empty_groups()  # whoever was killed with all that it had, before these tests, may have left some


@pytest.mark.parametrize("kind", NASTY)
def test_a_deadline_ends_all_of_a_run(make_stack, tmp_path, how, kind):
    stack = run_stack(make_stack, how)
    for timeout_s in (1, 3, 9, 27):  # on a slow machine a run may be over before all its processes stand: that one proves nothing
        note = tmp_path / f"note{timeout_s}"
        task_id = stack.create("nasty", {"kind": kind, "note": str(note)}, timeout_s=timeout_s)
        wait_until(lambda: note.exists() or stack.status(task_id)["status"] == "failed", f"for {note.name}")
        if note.exists():
            break
    run_id = note_of(note)
    ended(stack, task_id, run_id, "timeout", f"timed out after {timeout_s} s")
    serves_on(stack)


# ---- cancel


def cancelled(stack, task_id, grace_s=0.3):
    stack.call("cancel_task", {"data": {"task_id": task_id, "reason": "no longer wanted", "grace_s": grace_s}})


@pytest.mark.parametrize("kind", NASTY)
def test_a_cancelled_run_is_proven_dead(make_stack, tmp_path, how, kind):
    stack = run_stack(make_stack, how, config={"lease_s": 3})
    note = tmp_path / "note"
    task_id = stack.create("nasty", {"kind": kind, "note": str(note)})
    run_id = note_of(note)
    assert processes_of(run_id)
    cancelled(stack, task_id)
    ended(stack, task_id, run_id, "cancelled", "cancel")
    serves_on(stack)


def test_a_result_beats_the_cancel(make_stack, tmp_path, how):
    stack = run_stack(make_stack, how, config={"lease_s": 3})
    note = tmp_path / "note"
    task_id = stack.create("nasty", {"kind": "finishes", "note": str(note)})
    run_id = note_of(note)
    cancelled(stack, task_id, grace_s=PATIENCE_S)
    stack.wait_finished([task_id])
    assert stack.result(task_id)["data"] == "all the same"
    assert processes_of(run_id) == []


def test_a_cancel_outlasts_a_restart_of_the_api(make_stack, tmp_path, how):
    stack = run_stack(make_stack, how, config={"lease_s": 3})
    note = tmp_path / "note"
    task_id = stack.create("nasty", {"kind": "ignores", "note": str(note)})
    run_id = note_of(note)
    cancelled(stack, task_id)
    stack.api.restart()
    ended(stack, task_id, run_id, "cancelled", "cancel")


# ---- the consumer's own end


@pytest.mark.parametrize("kind", NASTY)
def test_a_killed_consumer_takes_its_runs_along(make_stack, tmp_path, how, kind):
    stack = run_stack(make_stack, how, config={"lease_s": 3 if SANITIZED else 2, "max_crashes": 1})
    note = tmp_path / "note"
    task_id = stack.create("nasty", {"kind": kind, "note": str(note)})
    run_id = note_of(note)
    wait_until(lambda: stack.status(task_id)["sub_status"] == "started", "for the first heartbeat")
    stack.consumer.kill()
    wait_until(lambda: processes_of(run_id) == [], "for the run to be killed")
    status = stack.wait_final(task_id)
    assert (status["status"], status["sub_status"]) == ("failed", "crash")
    wait_until(lambda: not empty_groups() - BEFORE, "for its cgroup to be gone")


@pytest.mark.parametrize("kind", ["sleeper", "ignores", "moves_on"])
def test_a_run_ends_with_its_lease(make_stack, tmp_path, how, kind):
    """The consumer stands still, and its supervisor kills the run before another can begin; with `keep` it would go on."""
    lease_s = 4
    stack = run_stack(make_stack, how, config={"lease_s": lease_s, "on_lost_lease": "kill"})
    note = tmp_path / "note"
    task_id = stack.create("nasty", {"kind": kind, "note": str(note)})
    run_id = note_of(note)
    wait_until(lambda: stack.status(task_id)["sub_status"] == "started", "for the first heartbeat")
    held = time.monotonic()
    wait_until(lambda: time.monotonic() > held + 1.5 * lease_s or not processes_of(run_id), "for more than a lease's time")
    assert processes_of(run_id), "a lease that is renewed ends no run"
    stack.consumer.pause()
    wait_until(lambda: processes_of(run_id) == [], "for the supervisor to kill the run")
    wait_until(lambda: stack.status(task_id)["status"] != "running", "for the API to see the lease run out")
    stack.consumer.resume()
    cancelled(stack, task_id)
    wait_until(lambda: stack.status(task_id)["status"] == "failed", "for the task to be cancelled")


def test_a_run_outlasts_its_lease_by_default(make_stack, tmp_path):
    stack = run_stack(make_stack, {}, config={"lease_s": 1})
    note = tmp_path / "note"
    task_id = stack.create("nasty", {"kind": "finishes", "note": str(note)})
    run_id = note_of(note)
    stack.consumer.pause()
    wait_until(lambda: stack.status(task_id)["status"] != "running", "for the lease to run out")
    assert processes_of(run_id)
    stack.consumer.resume()
    wait_until(lambda: stack.status(task_id)["status"] == "running", "for the run to take its task back")
    for pid in processes_of(run_id):
        os.kill(pid, 15)
    stack.wait_finished([task_id])


# ---- limits

LIMITS = [
    ({"memory_mb": 64}, {"kind": "memory"}, "memory_mb: the run used more than 64 MiB"),
    ({"memory_mb": 64}, {"kind": "memory", "child": True}, "memory_mb: the run used more than 64 MiB"),
    ({"nproc": 20}, {"kind": "processes"}, "nproc: the run had more than 20 processes and threads"),
    ({"nproc": 20}, {"kind": "threads"}, "nproc: the run had more than 20 processes and threads"),
    ({"output_kb": 64}, {"kind": "flood"}, "output_kb: the run wrote more than 64 KiB"),
    ({"output_kb": 64}, {"kind": "flood", "fd": 2}, "output_kb: the run wrote more than 64 KiB"),
    ({}, {"kind": "result"}, "limits.result_kb (16 KiB)"),
]


@pytest.mark.parametrize("limits, condition, text", LIMITS, ids=[" ".join(map(str, case[1].values())) for case in LIMITS])
def test_over_a_limit(make_stack, tmp_path, how, limits, condition, text):
    stack = run_stack(make_stack, how, config={"limits": {"result_kb": 16}}, **limits)
    note = tmp_path / "note"
    task_id = stack.create("nasty", {**condition, "note": str(note)})
    run_id = note_of(note)
    status = ended(stack, task_id, run_id, "limit", text)
    assert status["error"]["class"] == ("fatal" if condition["kind"] == "result" else "retryable")
    serves_on(stack)


def test_garbage_on_descriptor_3(make_stack, tmp_path, how):
    stack = run_stack(make_stack, how)
    note = tmp_path / "note"
    task_id = stack.create("nasty", {"kind": "garbage", "note": str(note)})
    status = ended(stack, task_id, note_of(note), "error", "line 1 on descriptor 3: not")
    assert status["error"]["class"] == "fatal"
    serves_on(stack)


# ---- what a module says of itself


def test_a_retryable_and_a_fatal_failure(make_stack):
    retry = {"max_attempts": 3, "retry": {"kind": "fixed", "base_s": 0.05, "jitter": 0}}
    stack = run_stack(make_stack, {})
    again, never = stack.create("nasty", {"kind": "retry"}, **retry), stack.create("nasty", {"kind": "fatal"}, **retry)
    status = stack.wait_final(again)
    assert (status["sub_status"], status["attempt"]) == ("dead", 3), status
    assert status["error"] == {"class": "retryable", "text": "exit status 75 (retryable): not now"}
    status = stack.wait_final(never)
    assert (status["sub_status"], status["attempt"]) == ("error", 1), status
    assert status["error"] == {"class": "fatal", "text": "never"}


def test_the_newest_progress_is_seen(make_stack, tmp_path):
    stack = run_stack(make_stack, {}, config={"lease_s": 1})
    note = tmp_path / "note"
    said = [0.1, {"done": 3, "total": 10, "text": "reading"}, 0.4, "odd", 1.5]
    task_id = stack.create("nasty", {"kind": "progress", "say": said, "note": str(note)})
    note_of(note)
    wait_until(lambda: stack.status(task_id)["progress"] == 0.4, "for the newest progress that is one")
    stack.consumer.wait_line(msg="progress left out")
    cancelled(stack, task_id)
    stack.wait_final(task_id)
