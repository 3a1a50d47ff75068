"""Modules that stay: one process serves task after task, and what one task does to it costs no other."""
import collections
import shutil
import subprocess

import pytest

from tests.services.services import _start_time
from tests.system.stack import BUILD, MODULES, PYTHON, ROOT, SANITIZED, wait_until

LEASE_S = 3 if SANITIZED else 2
OBJECTS = BUILD / "tests" / "unit" / "objects"
NEVER = "/never/there"


def warm(slots=1, **more):
    return {"kind": "warm", "command": [PYTHON, str(MODULES / "warm.py")], "slots": slots, **more}


def warm_stack(make_stack, module=None, consumers=1, **config):
    return make_stack(services={"warm": module or warm()}, consumers=consumers,
                      config={"lease_s": LEASE_S, "sweep_s": 0.1, "max_status_task": 1000, **config})


def results(stack, ids):
    stack.wait_finished(ids)
    return [stack.result(task_id)["data"] for task_id in ids]


def pid_now(stack):
    """The process that a task finds."""
    return results(stack, [stack.create("warm", [["pid"]])])[0][0]


def notes_of(file):
    """(pid, task id) of every task that noted itself."""
    return [(int(pid), task_id) for pid, task_id in map(str.split, file.read_text().splitlines())] if file.exists() else []


def wait_notes(file, n):
    wait_until(lambda: len(notes_of(file)) >= n, f"for {n} notes in {file.name}")
    return notes_of(file)


def wait_gone(*pids):
    for pid, born in [(pid, _start_time(pid)) for pid in pids]:
        wait_until(lambda: born is None or _start_time(pid) != born, f"for process {pid} to end")


def error_of(stack, task_id):
    status = stack.wait_final(task_id)
    assert status["status"] == "failed", status
    return status["error"]["class"], status["error"]["text"], status["sub_status"]


@pytest.mark.parametrize("store, broker", [("sqlite", "none"), pytest.param("mongodb", "kafka", marks=pytest.mark.cluster)])
def test_one_process_serves_many_tasks(make_stack, store, broker):
    stack = make_stack(store=store, broker=broker, services={"warm": warm()}, consumers=1, config={"max_status_task": 1000})
    ids = stack.create_many("warm", [[["out", "a line of log\n"], ["pid"]]] * 200)
    found = results(stack, ids)
    assert len({pid for pid, *_ in found}) == 1
    assert sorted(number for _, number, *_ in found) == list(range(1, 201))
    assert len({run_id for _, _, run_id, *_ in found}) == 200
    assert {(attempt, deadline) for *_, attempt, deadline in found} == {(1, None)}


def test_each_slot_has_its_process(make_stack, tmp_path):
    stack = warm_stack(make_stack, warm(slots=4))
    notes, go = tmp_path / "notes", tmp_path / "go"
    ids = stack.create_many("warm", [[["note", str(notes)], ["until", str(go)], ["pid"]]] * 4)
    pids = {pid for pid, _ in wait_notes(notes, 4)}
    assert len(pids) == 4
    go.touch()
    more = stack.create_many("warm", [[["pid"]]] * 100)
    assert {pid for pid, *_ in results(stack, ids + more)} == pids


def test_a_process_is_replaced_after_max_tasks(make_stack):
    stack = warm_stack(make_stack, warm(slots=2, max_tasks=3))
    found = results(stack, stack.create_many("warm", [[["pid"]]] * 20))
    served = collections.Counter(pid for pid, *_ in found)
    assert max(served.values()) == 3 and len(served) >= 7
    assert max(number for _, number, *_ in found) == 3


def test_a_process_is_replaced_when_it_has_grown(make_stack):
    stack = warm_stack(make_stack, warm(max_rss_mb=100))
    first = pid_now(stack)
    assert pid_now(stack) == first
    assert results(stack, [stack.create("warm", [["hoard", 150], ["done", 1]])]) == [1]
    assert pid_now(stack) != first


def test_an_idle_process_ends(make_stack):
    stack = warm_stack(make_stack, warm(idle_s=0.3))
    first = pid_now(stack)
    wait_gone(first)
    assert pid_now(stack) != first


def test_a_crash_costs_one_task(make_stack):
    stack = warm_stack(make_stack, warm(slots=2))
    bad = {"kill": ([["kill", 9]], "retryable", "killed by signal 9 (SIGKILL)"), "exit": ([["exit", 3]], "retryable", "exit status 3"),
           "quiet": ([["exit", 0]], "retryable", "exit status 0 without a result"),
           "other": ([["fd3", '{"task_id":"x","result":1}\n'], ["until", NEVER]], "fatal", 'line 1 on descriptor 3: its "task_id" is not that'),
           "garbage": ([["progress", 0.5], ["fd3", "garbage\n"], ["until", NEVER]], "fatal", "line 2 on descriptor 3: not JSON")}
    conditions = [[["pid"]] for _ in range(5)]
    for steps, *_ in bad.values():
        conditions += [steps, [["pid"]], [["pid"]]]
    ids = stack.create_many("warm", conditions)
    wrong = [task_id for task_id, steps in zip(ids, conditions) if steps != [["pid"]]]
    results(stack, [task_id for task_id in ids if task_id not in wrong])
    for task_id, (_, error_class, text) in zip(wrong, bad.values()):
        got_class, got_text, sub_status = error_of(stack, task_id)
        assert (got_class, sub_status) == (error_class, "error") and got_text.startswith(text), got_text


def test_a_retried_task_finds_a_new_process(make_stack, tmp_path):
    stack = warm_stack(make_stack)
    notes = tmp_path / "notes"
    task_id = stack.create("warm", [["note", str(notes)], ["exit", 75]], max_attempts=3, retry={"kind": "fixed", "base_s": 0.1, "jitter": 0})
    assert error_of(stack, task_id) == ("retryable", "exit status 75 (retryable)", "dead")
    assert len({pid for pid, _ in notes_of(notes)}) == 3


def test_cancel(make_stack, tmp_path):
    stack = warm_stack(make_stack)
    notes, child = tmp_path / "notes", tmp_path / "child"
    first = pid_now(stack)
    task_id = stack.create("warm", [["ignore"], ["child", str(child)], ["note", str(notes)], ["until", NEVER]])
    pids = {pid for pid, _ in wait_notes(notes, 1) + wait_notes(child, 1)}
    assert first in pids and len(pids) == 2
    waiting = stack.create("warm", [["pid"]])
    stack.call("cancel_task", {"data": {"task_id": task_id, "grace_s": 0.2}})
    assert stack.wait_final(task_id)["sub_status"] == "cancelled"
    for pid in pids:
        assert _start_time(pid) is None, "no process of the run is left when it is cancelled"
    assert results(stack, [waiting])[0][0] not in pids


def test_a_cancelled_task_may_finish(make_stack, tmp_path):
    stack = warm_stack(make_stack)
    notes = tmp_path / "notes"
    task_id = stack.create("warm", [["on_term", "in time"], ["note", str(notes)], ["until", NEVER]])
    (pid, _), = wait_notes(notes, 1)
    stack.call("cancel_task", {"data": {"task_id": task_id}})
    assert results(stack, [task_id]) == ["in time"]
    assert pid_now(stack) != pid


def test_timeout(make_stack):
    stack = warm_stack(make_stack)
    pid = pid_now(stack)
    task_id = stack.create("warm", [["until", NEVER]], timeout_s=0.5)
    after = stack.create("warm", [["pid"]], timeout_s=60)
    assert error_of(stack, task_id) == ("retryable", "timed out after 0.5 s", "timeout")
    found, = results(stack, [after])
    assert found[0] != pid and found[4].endswith("Z"), "the deadline stands in the task's line"


def test_limits(make_stack):
    stack = warm_stack(make_stack, warm(memory_mb=200, output_kb=100))
    task_id = stack.create("warm", [["hoard", 400], ["until", NEVER]])
    assert error_of(stack, task_id) == ("retryable", "memory_mb: the run used more than 200 MiB", "limit")
    task_id = stack.create("warm", [["out", "x" * (150 << 10)], ["done", 1]])
    assert error_of(stack, task_id) == ("retryable", "output_kb: the run wrote more than 100 KiB", "limit")
    assert results(stack, stack.create_many("warm", [[["out", "x" * (60 << 10)], ["done", 1]]] * 4)) == [1] * 4


def test_progress(make_stack, tmp_path):
    stack = warm_stack(make_stack)
    for progress in (0.25, {"done": 1, "total": 4, "text": "reading"}):
        go = tmp_path / f"go{type(progress)}"
        task_id = stack.create("warm", [["progress", progress], ["until", str(go)], ["done", 1]])
        wait_until(lambda: stack.status(task_id)["progress"] == progress, f"for the progress {progress}")
        go.touch()
        assert results(stack, [task_id]) == [1]


def test_kill_9_of_the_consumer_leaves_nothing(make_stack, tmp_path):
    stack = warm_stack(make_stack, warm(slots=2))
    notes, child, go = tmp_path / "notes", tmp_path / "child", tmp_path / "go"
    ids = stack.create_many("warm", [[["note", str(notes)], ["until", str(go)], ["pid"]]] * 2)
    idle = {pid for pid, _ in wait_notes(notes, 2)}
    go.touch()
    results(stack, ids)
    working = stack.create("warm", [["ignore"], ["child", str(child)], ["note", str(notes)], ["until", str(tmp_path / "again")], ["pid"]])
    pids = idle | {pid for pid, _ in wait_notes(notes, 3) + wait_notes(child, 1)}
    assert len(pids) == 3
    stack.consumer.kill()
    wait_gone(*pids)
    stack.start_consumer()
    (tmp_path / "again").touch()
    found, = results(stack, [working])
    assert found[0] not in pids and found[3] == 2


def test_drain(make_stack, tmp_path):
    stack = warm_stack(make_stack, warm(slots=2), drain_s=0.2)
    notes = tmp_path / "notes"
    idle = pid_now(stack)
    task_id = stack.create("warm", [["note", str(notes)], ["until", NEVER]])
    (pid, _), = wait_notes(notes, 1)
    assert stack.consumer.stop() == 0
    assert stack.status(task_id)["status"] == "waiting"
    assert _start_time(pid) is None and _start_time(idle) is None


def test_a_module_that_dies_at_its_start_spoils_few_tasks(make_stack):
    module = {"kind": "warm", "command": ["sh", "-c", "echo no licence >&2; exit 4"]}
    stack = warm_stack(make_stack, module)
    ids = stack.create_many("warm", [1] * 30)
    failed = wait_until(lambda: len(now := [one for one in stack.status_of(*ids) if one["status"] == "failed"]) >= 3 and now)
    assert len(failed) < 15, "the service rests after each"
    assert failed[0]["error"] == {"class": "retryable", "text": "exit status 4: no licence"}


# ---- shared objects


def object_stack(make_stack, *names):
    return make_stack(services={name: {"kind": "shared_object", "object": str(OBJECTS / f"object_{name}.so")} for name in names},
                      consumers=1, config={"max_status_task": 1000})


def test_shared_object(make_stack):
    stack = object_stack(make_stack, "many")
    values = [{"n": 1.0}, "print", "progress", "threads", "two", "stop"]
    ids = stack.create_many("many", values)
    assert results(stack, ids) == [{"n": 1.0}, None, None, None, {"b": [1.0, 1e5]}, "stopped"]
    task_id = stack.create("many", "task")
    found, = results(stack, [task_id])
    assert found[0] == task_id and found[1] == "many"
    for condition, error in {"fatal": ("fatal", 'no "such" table'), "3": ("retryable", "longhaul_run returned 3"),
                             "crash": ("retryable", "killed by signal 11 (SIGSEGV)"), "leave": ("retryable", "exit status 7"),
                             "no JSON": ("fatal", "longhaul_result: not JSON")}.items():
        error_class, text, _ = error_of(stack, stack.create("many", condition))
        assert error_class == error[0] and text.startswith(error[1]), text
    assert results(stack, [stack.create("many", 5)]) == [5], "a crash is a failed run, not a dead consumer"
    assert stack.consumer.alive()


def test_bad_shared_objects(make_stack):
    wrong = {"no_run": "undefined symbol: longhaul_run", "unresolved": "undefined symbol: function_of_nobody",
             "no_header": "it was not built with longhaul.h (no symbol longhaul_abi)", "newer": "it was built for version 99 of longhaul.h, this is 2",
             "of_nobody": "cannot open shared object file: No such file or directory"}
    stack = object_stack(make_stack, *wrong)
    for name, why in wrong.items():
        text = f"exit status 78: cannot load {OBJECTS}/object_{name}.so: {why}"
        assert error_of(stack, stack.create(name, 1))[:2] == ("retryable", text)


CPP = """
#include <longhaul.h>
#include <string>

int longhaul_run(const struct longhaul_task *task, struct longhaul_run *run) {
    try {
        std::string text(task->condition, task->condition_len);
        if (text == "0")
            throw std::string("thrown");
        return longhaul_result(run, ("[" + text + "]").c_str());
    } catch (const std::string &why) {
        return longhaul_error(run, LONGHAUL_FATAL, why.c_str());
    }
}
"""


@pytest.mark.skipif(not shutil.which("c++"), reason="needs a C++ compiler")
def test_shared_object_in_cpp(make_stack, tmp_path):
    (tmp_path / "module.cc").write_text(CPP)
    (tmp_path / "more.cc").write_text("#include <longhaul.h>\n")
    subprocess.run(["c++", "-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fvisibility=hidden", "-shared", "-fPIC", "-I",
                    ROOT / "consumer" / "host", "-o", tmp_path / "module.so", tmp_path / "module.cc", tmp_path / "more.cc"], check=True)
    stack = make_stack(services={"cpp": {"kind": "shared_object", "object": str(tmp_path / "module.so")}}, consumers=1)
    assert results(stack, [stack.create("cpp", 5)]) == [[5]]
    assert error_of(stack, stack.create("cpp", 0))[:2] == ("fatal", "thrown")
