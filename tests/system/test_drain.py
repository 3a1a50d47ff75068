"""Leases and the end of consumers: what is not finished goes back to the queue, once no process of it is left."""
import os
import signal
import time

import pytest

from tests.services.services import _start_time
from tests.system.stack import SANITIZED, module, wait_until

LEASE_S = 5 if SANITIZED else 3  # a machine that stands still for two thirds of it takes a run its task


def script_stack(make_stack, slots=2, consumers=1, **config):
    return make_stack(services={"script": module("script", slots=slots)}, consumers=consumers,
                      config={"lease_s": LEASE_S, "max_status_task": 1000, **config})


def runs(file):
    """(pid, run_id) of the runs that noted themselves."""
    return [tuple(line.split()[:2]) for line in file.read_text().splitlines()] if file.exists() else []


def wait_runs(file, n):
    wait_until(lambda: len(runs(file)) >= n, f"for {n} runs in {file.name}")
    return runs(file)


def gone(pid, born):
    return _start_time(int(pid)) != born


# ---- leases


def test_a_long_run_keeps_its_lease(make_stack, tmp_path):
    stack = script_stack(make_stack)
    notes, go = tmp_path / "notes", tmp_path / "go"
    task_id = stack.create("script", [["note", str(notes)], ["until", str(go)], ["out", "1\n"]])
    wait_runs(notes, 1)
    end = time.monotonic() + 3 * LEASE_S
    while time.monotonic() < end:
        assert stack.status(task_id)["status"] == "running"
        time.sleep(0.1)
    go.touch()
    status = stack.wait_final(task_id)
    assert status["status"] == "finished" and status["attempt"] == 1 and len(runs(notes)) == 1


def test_a_task_of_a_killed_consumer_runs_again(make_stack, tmp_path):
    stack = script_stack(make_stack)
    notes, go = tmp_path / "notes", tmp_path / "go"
    task_id = stack.create("script", [["note", str(notes)], ["until", str(go)], ["out", "1\n"]])
    (pid, _), = wait_runs(notes, 1)
    born = _start_time(int(pid))
    stack.consumer.kill()
    wait_until(lambda: gone(pid, born), "for the run to die")
    stack.wait_status(task_id, "waiting")
    stack.start_consumer()
    wait_runs(notes, 2)
    go.touch()
    status = stack.wait_final(task_id)
    assert status["status"] == "finished" and status["attempt"] == 2
    assert len({run for _, run in runs(notes)}) == 2


def test_a_task_that_kills_its_consumers_fails(make_stack, tmp_path):
    stack = script_stack(make_stack, max_crashes=2)
    notes = tmp_path / "notes"
    task_id = stack.create("script", [["note", str(notes)], ["until", str(tmp_path / "never")]])
    for number in (1, 2):
        wait_runs(notes, number)
        wait_until(lambda: stack.status(task_id)["sub_status"] == "started", "for its first heartbeat: the death counts as a crash")
        stack.consumers[-1].kill()
        if number == 1:
            stack.start_consumer()
    status = stack.wait_final(task_id)
    assert (status["status"], status["sub_status"]) == ("failed", "crash")
    assert len(runs(notes)) == 2


def test_a_consumer_that_was_away_stops_the_run_that_somebody_else_has(make_stack, tmp_path):
    stack = script_stack(make_stack, slots=1)
    notes, go, term = tmp_path / "notes", tmp_path / "go", tmp_path / "term"
    task_id = stack.create("script", [["on_term", str(term)], ["note", str(notes)], ["until", str(go)], ["out", "1\n"]])
    (pid, first), = wait_runs(notes, 1)
    born = _start_time(int(pid))
    stack.consumer.pause()
    other = stack.start_consumer()
    (_, second), = wait_runs(notes, 2)[1:]
    stack.consumer.resume()
    wait_until(lambda: gone(pid, born), "for the first run to be stopped")
    stack.consumer.wait_line(msg="run lost its task", task_id=task_id, run_id=first)
    stack.consumer.wait_line(msg="lost run ended", run_id=first)
    assert runs(term)[0][1] == first
    assert stack.status(task_id)["status"] == "running"
    go.touch()
    status = stack.wait_final(task_id)
    assert status["status"] == "finished" and status["attempt"] == 2 and first != second
    assert other.find(msg="run finished", run_id=second)


def test_runs_outlast_an_api_that_is_away(make_stack, tmp_path):
    stack = script_stack(make_stack)
    notes, go = tmp_path / "notes", tmp_path / "go"
    ids = stack.create_many("script", [[["note", str(notes)], ["until", str(go)], ["out", "1\n"]]] * 2)
    wait_runs(notes, 2)
    stack.api.kill()
    time.sleep(2 * LEASE_S)
    stack.api.restart()
    time.sleep(LEASE_S)
    assert {item["status"] for item in stack.status_of(*ids)} == {"running"}
    go.touch()
    stack.wait_finished(ids)
    assert len(runs(notes)) == 2 and {item["attempt"] for item in stack.status_of(*ids)} == {1}


def test_the_api_knows_its_workers(make_stack):
    stack = script_stack(make_stack, slots=2, consumers=2)

    def known():
        found = stack.call("worker_task", {})["data"]
        return found if len(found) == 2 else None
    workers = wait_until(known, "for the workers")
    assert {worker["pid"] for worker in workers} == {consumer.pid for consumer in stack.consumers}
    assert all(worker["services"] == ["script"] and worker["slots"] == 2 and worker["host"] for worker in workers)
    assert len({worker["id"] for worker in workers}) == 2


# ---- drain


@pytest.mark.parametrize("step", [["ignore"], ["on_term", "term"], []], ids=["ignores", "exits-0", "dies"])
def test_a_drain_that_is_over_hands_back(make_stack, tmp_path, step):
    """A run that ignores SIGTERM, one that exits with 0, one that dies of it: none has a result."""
    stack = script_stack(make_stack, slots=1, drain_s=0.2)
    notes, child, go = tmp_path / "notes", tmp_path / "child", tmp_path / "go"
    steps = [[step[0], *(str(tmp_path / name) for name in step[1:])]] if step else []
    task_id = stack.create("script", [*steps, ["note", str(notes)], ["child", str(child)], ["until", str(go)], ["out", "1\n"]])
    wait_runs(notes, 1)
    wait_until(lambda: runs(child), "for the child")
    born = {pid: _start_time(int(pid)) for pid, _ in runs(notes) + runs(child)}
    waiting = stack.create("script", [["out", "2\n"]])
    stack.consumer.terminate()

    def handed_back():
        if stack.status(task_id)["status"] != "waiting":
            return False
        assert all(gone(pid, when) for pid, when in born.items()), "handed back while it lives"
        return True
    wait_until(handed_back, "for the task to be handed back")
    assert stack.consumer.ended() == 0
    assert stack.status(waiting)["status"] == "waiting"
    go.touch()
    stack.start_consumer()
    stack.wait_finished([task_id, waiting])
    assert len(runs(notes)) == 2
    assert not any("consumer stopped" in line.get("error", "") for line in stack.consumer.lines())


def test_a_run_that_ends_within_the_drain_is_finished(make_stack, tmp_path):
    stack = script_stack(make_stack, drain_s=60)
    notes, go = tmp_path / "notes", tmp_path / "go"
    task_id = stack.create("script", [["note", str(notes)], ["until", str(go)], ["out", "5\n"]])
    wait_runs(notes, 1)
    stack.consumer.terminate()
    time.sleep(2 * LEASE_S)  # the lease is renewed meanwhile
    assert stack.status(task_id)["status"] == "running"
    go.touch()
    assert stack.consumer.ended() == 0
    assert stack.status(task_id)["status"] == "finished" and stack.result(task_id)["data"] == 5


def test_a_second_signal_hands_back_at_once(make_stack, tmp_path):
    stack = script_stack(make_stack, slots=2, drain_s=600)
    notes, never = tmp_path / "notes", tmp_path / "never"
    ids = stack.create_many("script", [[["ignore"], ["note", str(notes)], ["until", str(never)]]] * 2)
    born = {pid: _start_time(int(pid)) for pid, _ in wait_runs(notes, 2)}
    stack.consumer.terminate()
    stack.consumer.wait_line(msg="stopping")
    os.kill(stack.consumer.pid, signal.SIGINT)
    assert stack.consumer.ended() == 0  # it waits less than drain_s
    assert {item["status"] for item in stack.status_of(*ids)} == {"waiting"}
    assert all(gone(pid, when) for pid, when in born.items())


def test_consumers_come_and_go(make_stack, tmp_path):
    """A rolling restart under load: each task finishes, each run ends, no two runs of a task overlap."""
    stack = script_stack(make_stack, slots=3, consumers=2, drain_s=0.3)
    notes, n = tmp_path / "notes", 60
    stop = tmp_path / "stop"
    ids = stack.create_many("script", [[["note", str(notes)], ["out", "1\n"]]] * n)
    slow = stack.create_many("script", [[["note", str(notes)], ["until", str(stop)], ["out", "1\n"]]] * 4)
    for number in range(4):
        wait_until(lambda: len(runs(notes)) >= 8 * (number + 1), "for runs")
        assert stack.consumers[-2].stop() == 0
        stack.start_consumer()
    stop.touch()
    stack.wait_finished(ids + slow)
    attempts = sum(item["attempt"] for item in stack.status_of(*ids, *slow))
    assert attempts >= len(runs(notes)) >= n + 4
