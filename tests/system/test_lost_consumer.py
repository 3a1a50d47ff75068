"""Consumers that die or stand still while their modules run: every task ends once, and a poison task ends as a crash."""
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.services import _start_time
from tests.system.stack import BUILD, SANITIZED, module, supervisor_of, wait_until

LEASE_S = 3 if SANITIZED else 2
SLOTS = 2


def lost_stack(make_stack, store="sqlite", broker="none", consumers=1, slots=SLOTS, **config):
    return make_stack(store=store, broker=broker, services={"script": module("script", slots=slots)}, consumers=consumers, partitions=2,
                      config={"lease_s": LEASE_S, "sweep_s": 0.1, "max_status_task": 1000, **config})


@pytest.fixture(params=["sqlite-none", *(pytest.param(pair, marks=pytest.mark.cluster) for pair in ("mongodb-none", "mongodb-kafka"))])
def any_pair(request):
    store, broker = request.param.split("-")
    return {"store": store, "broker": broker}


def notes_of(file):
    """(pid, run id, task id) of every run that noted itself."""
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def wait_notes(file, at_least):
    return wait_until(lambda: len(notes_of(file)) >= at_least and notes_of(file), f"for {at_least} runs in {file.name}")


def started(stack, *task_ids):
    """Waits for each task's first heartbeat: its run counts as begun."""
    wait_until(lambda: all(item["sub_status"] == "started" for item in stack.status_of(*task_ids)), "for the first heartbeats")


def test_another_consumer_finishes_what_a_killed_one_ran(make_stack, tmp_path, any_pair):
    stack = lost_stack(make_stack, **any_pair)
    notes, go = tmp_path / "notes", tmp_path / "go"
    ids = stack.create_many("script", [[["note", str(notes)], ["until", str(go)], ["out", f"{n}\n"]] for n in range(2 * SLOTS)])
    held = {task_id for _, _, task_id in wait_notes(notes, SLOTS)}
    stack.consumer.kill()
    stack.start_consumer()
    again = wait_until(lambda: held <= {task_id for _, _, task_id in notes_of(notes)[SLOTS:]} and notes_of(notes)
                       or len(notes_of(notes)) >= 2 * SLOTS and notes_of(notes), "for the second runs")
    assert len({run_id for _, run_id, _ in again}) == len(again), "a run has one process"
    go.touch()
    stack.wait_finished(ids)
    for number, task_id in enumerate(ids):
        assert stack.result(task_id)["data"] == number
        assert stack.status(task_id)["attempt"] == (2 if task_id in held else 1)
    counts = {task_id: sum(one[2] == task_id for one in notes_of(notes)) for task_id in ids}
    assert counts == {task_id: 2 if task_id in held else 1 for task_id in ids}


# A stopped consumer with a free slot has a call for work open, which may be answered with the task that it has just lost:
# with one slot it has none.


def test_a_stopped_consumer_loses_its_run_to_another(make_stack, tmp_path, any_pair):
    stack = lost_stack(make_stack, **any_pair, slots=1)
    notes, go = tmp_path / "notes", tmp_path / "go"
    task_id = stack.create("script", [["note", str(notes)], ["until", str(go)], ["out", "1\n"]])
    ((pid, first, _),) = wait_notes(notes, 1)
    born = _start_time(int(pid))
    started(stack, task_id)
    stack.consumer.pause()
    stack.start_consumer()
    second = wait_notes(notes, 2)[1][1]
    assert second != first
    stack.consumer.resume()
    wait_until(lambda: _start_time(int(pid)) != born, "for the stale run to be stopped")
    assert stack.status(task_id)["status"] == "running", "the second run goes on"
    go.touch()
    assert stack.wait_final(task_id)["status"] == "finished"
    assert stack.status(task_id)["attempt"] == 2 and stack.result(task_id)["data"] == 1
    assert [run_id for _, run_id, _ in notes_of(notes)] == [first, second]
    for consumer in stack.consumers:
        assert consumer.alive()


def test_the_result_of_a_stale_run_is_not_recorded(make_stack, tmp_path):
    """The stopped consumer's module ends meanwhile; each run's result is its process id."""
    stack = lost_stack(make_stack, slots=1)
    notes, go = tmp_path / "notes", tmp_path / "go"
    task_id = stack.create("script", [["note", str(notes)], ["until", str(go)], ["pid"]])
    ((first, _, _),) = wait_notes(notes, 1)
    born = _start_time(int(first))
    started(stack, task_id)
    stack.consumer.pause()
    stack.start_consumer()
    second = wait_notes(notes, 2)[1][0]
    go.touch()
    assert stack.wait_final(task_id)["status"] == "finished" and stack.result(task_id)["data"] == int(second)
    before = stack.status(task_id)
    stack.consumer.resume()
    wait_until(lambda: _start_time(int(first)) != born, "for the stale run to end")
    later = stack.create("script", [["out", "1\n"]])
    stack.consumers[1].stop()
    assert stack.wait_final(later)["status"] == "finished", "the resumed consumer goes on"
    assert stack.status(task_id) == before and stack.result(task_id)["data"] == int(second)


def test_a_resumed_consumer_takes_its_task_back(make_stack, tmp_path):
    """Nobody has claimed the task meanwhile: the same run goes on and its result counts."""
    stack = lost_stack(make_stack, slots=1, max_crashes=2)
    notes, go = tmp_path / "notes", tmp_path / "go"
    task_id = stack.create("script", [["note", str(notes)], ["until", str(go)], ["out", "1\n"]])
    wait_notes(notes, 1)
    for _ in range(3):
        started(stack, task_id)
        stack.consumer.pause()
        stack.wait_status(task_id, "waiting")
        stack.consumer.resume()
        stack.wait_status(task_id, "running")
    go.touch()
    assert stack.wait_final(task_id)["status"] == "finished"
    assert stack.status(task_id)["attempt"] == 1 and len(notes_of(notes)) == 1


def test_a_poison_task_ends_as_a_crash(make_stack, tmp_path, any_pair):
    """Each consumer that runs it dies, once its run counts as begun."""
    stack = lost_stack(make_stack, **any_pair, max_crashes=3)
    notes = tmp_path / "notes"
    task_id = stack.create("script", [["note", str(notes)], ["until", str(tmp_path / "never")]])
    for number in range(1, 4):
        wait_notes(notes, number)
        started(stack, task_id)
        stack.consumers[-1].kill()
        status = stack.wait_status(task_id, "waiting", "failed")
        assert status["attempt"] == number and status["status"] == ("waiting" if number < 3 else "failed")
        stack.start_consumer()
    assert status["sub_status"] == "crash" and status["end_time"]
    other = stack.create("script", [["out", "1\n"]])
    assert stack.wait_final(other)["status"] == "finished"
    assert len(notes_of(notes)) == 3 and stack.status(task_id) == status


def test_a_module_that_kills_its_consumer_is_poison(make_stack, tmp_path):
    stack = lost_stack(make_stack, max_crashes=2)
    notes = tmp_path / "notes"
    go = [tmp_path / f"go{number}" for number in range(2)]
    task_id = stack.create("script", [["note", str(notes)], ["kill_consumer", str(tmp_path / "go")]])
    for number in range(2):
        consumer = stack.consumers[-1]
        consumer.expect_exit = None
        wait_notes(notes, number + 1)
        started(stack, task_id)
        go[number].touch()
        wait_until(lambda: not consumer.alive(), "for the consumer to be killed")
        status = stack.wait_status(task_id, "waiting", "failed")
        stack.start_consumer()
    assert (status["status"], status["sub_status"], status["attempt"]) == ("failed", "crash", 2)


def test_a_module_that_kills_its_supervisor_fails_or_is_poison_the_consumer_stays(make_stack, tmp_path):
    stack = lost_stack(make_stack, max_crashes=2)
    notes = tmp_path / "notes"
    task_id = stack.create("script", [["note", str(notes)], ["kill_parent"]])
    status = stack.wait_final(task_id)
    assert status["status"] == "failed" and status["attempt"] <= 2
    assert len(notes_of(notes)) == status["attempt"]
    for number in range(2 * SLOTS):
        assert stack.wait_final(stack.create("script", [["out", f"{number}\n"]]))["status"] == "finished"
    assert stack.consumer.alive()


RUNNER = BUILD / "consumer" / "runner" / "longhaul-runner"


def test_a_task_that_finds_a_runner_of_another_version_goes_back_to_the_queue(make_stack, tmp_path):
    """As after an upgrade in place, once a runner of the consumer that still runs has died."""
    runner, next_version = tmp_path / "longhaul-runner", tmp_path / "next"
    runner.symlink_to(RUNNER)
    next_version.write_text("#!/bin/sh\nprintf '\\002\\000\\000\\000' >&3\nexit 76\n" if sys.byteorder == "little" else
                            "#!/bin/sh\nprintf '\\000\\000\\000\\002' >&3\nexit 76\n")
    next_version.chmod(0o755)
    stack = lost_stack(make_stack, consumers=0, slots=1)
    consumer = stack.start_consumer(env={"LONGHAUL_MODULE_DIR": str(tmp_path)})
    assert stack.wait_final(stack.create("script", [["out", "1\n"]]))["status"] == "finished"
    next_version.rename(runner)
    runner_pid = supervisor_of(consumer)
    os.kill(runner_pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{runner_pid}").exists(), "for the consumer to notice")  # or the task falls to the dead one
    task_id = stack.create("script", [["out", "2\n"]])
    wait_until(lambda: len(consumer.find(msg="task handed back", task_id=task_id)) > 1, "for the task to be given back twice")
    said = consumer.find(msg="longhaul-runner is of another version")[0]["error"]
    assert said == "it speaks protocol 2 and this consumer 1: another version has been installed, restart the consumer"
    next_version.symlink_to(RUNNER)
    next_version.rename(runner)
    assert stack.wait_final(task_id)["status"] == "finished"
    assert stack.result(task_id)["data"] == 2


@pytest.mark.parametrize("argument", ["2", "", None])
def test_a_runner_refuses_a_consumer_of_another_version(argument):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        argument = [] if argument is None else [argument]
        command = ["bash", "-c", f'exec "$@" 3<&{theirs.fileno()}', "bash", str(RUNNER), *argument]
        assert subprocess.run(command, pass_fds=[theirs.fileno()]).returncode == 76
        assert ours.recv(64) == (1).to_bytes(4, sys.byteorder)


def test_consumers_die_under_load_and_every_task_finishes(make_stack, tmp_path, any_pair):
    stack = lost_stack(make_stack, **any_pair, consumers=2, max_crashes=1000)
    notes = tmp_path / "notes"
    ids = stack.create_many("script", [[["note", str(notes)], ["out", f"{n}\n"]] for n in range(60)])
    for wanted in (10, 25, 40):
        wait_notes(notes, wanted)
        stack.consumers[-2].kill()
        stack.start_consumer()
    stack.wait_finished(ids)
    assert [stack.result(task_id)["data"] for task_id in ids] == list(range(60))
    runs = notes_of(notes)
    assert len({run_id for _, run_id, _ in runs}) == len(runs), "a run has one process"


def worker_ids(stack):
    return {row["id"] for row in stack.call("worker_task", {})["data"]}


def test_an_idle_consumer_is_known(make_stack):
    stack = lost_stack(make_stack)
    (row,) = wait_until(lambda: stack.call("worker_task", {})["data"], "for the consumer to be known")
    assert row["pid"] == stack.consumer.pid and row["host"] == os.uname().nodename
    assert row["services"] == ["script"] and row["slots"] == SLOTS
    stack.start_consumer()
    wait_until(lambda: len(worker_ids(stack)) == 2, "for the second consumer")
