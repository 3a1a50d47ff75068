"""SQLite and no broker: one API, consumers that take tasks by claim_task, and what a module sees and may do."""
import json
import os
import signal
import uuid
from pathlib import Path

import pytest

from tests.services.services import _start_time
from tests.system.stack import MODULES, PATIENCE_S, ROOT, TOKEN, in_threads, module, wait_until

SERVICES = {"echo": module("echo", slots=4), "probe": module("probe", env={"COLOUR": "green", "EMPTY": ""}),
            "script": module("script", slots=4)}


@pytest.fixture
def stack(make_stack):
    return make_stack(services=SERVICES, consumers=1)


def run_script(stack, *steps):
    """Runs the steps as a module; its last status."""
    task_id = stack.create("script", list(steps))
    return {**stack.wait_final(task_id), "task_id": task_id}


def result_of(stack, *steps):
    status = run_script(stack, *steps)
    assert status["status"] == "finished", status
    return stack.result(status["task_id"])["data"]


def error_of(stack, *steps):
    status = run_script(stack, *steps)
    assert status["status"] == "failed", status
    return status["error"]


def test_create_run_result(stack):
    condition = {"text": "übergröße \U0001f600", "n": [1, 1.0, 2**63 - 1], "": {"a.b": "$c"}}
    task_id = stack.create(condition=condition)
    status = stack.wait_final(task_id)
    assert status["status"] == "finished" and status["attempt"] == 1 and status["error"] is None
    got = stack.result(task_id)
    assert got["data"] == condition and [type(n) for n in got["data"]["n"]] == [int, float, int]
    assert got["start_time"] <= got["end_time"] and 0 <= got["spend_time"] < PATIENCE_S


def test_many_tasks_each_once(stack, tmp_path):
    notes = tmp_path / "notes"
    stack.start_consumer()
    ids = in_threads([lambda: stack.create_many("script", [[["note", str(notes)]]] * 10) for _ in range(5)])
    stack.wait_finished([task_id for some in ids for task_id in some])
    ran = [line.split()[2] for line in notes.read_text().splitlines()]
    assert sorted(ran) == sorted(task_id for some in ids for task_id in some)
    for consumer in stack.consumers:
        assert consumer.alive()


# ---- what a module finds


def test_what_a_module_finds(stack):
    task_id = stack.create("probe", {"x": [1.0, "ü"]})
    assert stack.wait_final(task_id)["status"] == "finished"
    got = stack.result(task_id)["data"]
    message = json.loads(got["stdin"])
    assert message == {"Task": {"task_id": task_id, "service": "probe", "source_name": "", "condition": {"x": [1.0, "ü"]}}}
    env = got["env"]
    uuid.UUID(env.pop("RUN_ID"))
    assert env.pop("TASK_ID") == task_id and env.pop("ATTEMPT") == "1" and env.pop("SERVICE") == "probe"
    assert env.pop("LONGHAUL_REPORT_FD") == "3" and env.pop("SOURCE_NAME") == ""
    assert env.pop("COLOUR") == "green" and env.pop("EMPTY") == ""
    assert set(env) <= {"PATH", "HOME", "LANG", "TZ", "DEADLINE", "TRACEPARENT", "LC_CTYPE"}, env
    assert TOKEN not in json.dumps(got)
    assert set(got["fds"]) <= {"0", "1", "2", "3"}, got["fds"]
    assert got["pgid"] == got["pid"], "not the leader of a process group of its own"
    assert got["pgid"] != os.getpgid(stack.consumer.pid)
    # Python itself ignores PIPE and XFSZ, and glibc's posix_spawn its own two, 32 and 33.
    own = sum(1 << number - 1 for number in (signal.SIGPIPE, signal.SIGXFSZ, 32, 33))
    assert got["signals"]["SigBlk"] == 0 and got["signals"]["SigIgn"] & ~own == 0, got["signals"]
    assert got["cwd"] not in (str(stack.dir), "/", os.getcwd())
    wait_until(lambda: not os.path.exists(got["cwd"]), "for the scratch folder to go")


def test_every_run_has_a_folder_of_its_own(stack):
    seen = set()
    for _ in range(3):
        task_id = stack.create("probe")
        stack.wait_final(task_id)
        seen.add(stack.result(task_id)["data"]["cwd"])
    assert len(seen) == 3


def test_a_relative_command_is_found_from_the_configuration_file(make_stack, work_dir):
    folder = work_dir / "s1"
    folder.mkdir(parents=True)
    (folder / "tool.sh").write_text("#!/bin/sh\ncat >/dev/null\necho '\"'$0'\"'\n")
    (folder / "tool.sh").chmod(0o755)
    stack = make_stack(services={"tool": {"kind": "command", "command": ["./tool.sh"]}}, consumers=1)
    task_id = stack.create("tool")
    assert stack.wait_final(task_id)["status"] == "finished"
    assert stack.result(task_id)["data"].startswith("/")


# ---- results


def test_the_result_is_the_last_json_line_of_stdout(stack):
    assert result_of(stack, ["out", "reading\n"], ["out", '{"n": 1}\n'], ["out", '{"n": 2}\n']) == {"n": 2}
    assert result_of(stack, ["out", '{"n": 1}']) == {"n": 1}
    assert result_of(stack, ["out", "no json at all\n"]) is None
    assert result_of(stack) is None


def test_the_report_descriptor_beats_stdout(stack):
    assert result_of(stack, ["out", '{"n": 1}\n'], ["fd3", '{"result": {"n": 2}}\n']) == {"n": 2}
    assert result_of(stack, ["fd3", '{"result": 1}\n{"progress": 0.5}\n{"result": [2]}\n'], ["out", "5\n"]) == [2]
    assert result_of(stack, ["fd3", '{"result": null}\n'], ["out", "5\n"]) is None


def test_a_result_in_pieces(stack):
    assert result_of(stack, ["fd3", '{"resu'], ["fd3", 'lt": "a'], ["fd3", 'b"}']) == "ab"


def test_a_big_result(stack):
    text = "ü" * 200000
    assert result_of(stack, ["fd3", json.dumps({"result": text}, ensure_ascii=False) + "\n"]) == text


# ---- failures


def test_an_exit_status_that_is_not_0_fails(stack):
    error = error_of(stack, ["err", "cannot open the box\n"], ["fd3", '{"result": 1}\n'], ["exit", 3])
    assert "3" in error["text"] and "cannot open the box" in error["text"]
    assert error_of(stack, ["exit", 75])["class"] == "retryable"


def test_an_error_line_fails_in_spite_of_exit_0_and_a_result(stack):
    error = error_of(stack, ["fd3", '{"result": 1}\n{"error": {"class": "fatal", "text": "bad input"}}\n'])
    assert error == {"class": "fatal", "text": "bad input"}
    assert error_of(stack, ["fd3", '{"error": {"class": "retryable", "text": "later"}}\n{"result": 1}\n'])["class"] == "retryable"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_signal_fails_and_is_named(stack, number):
    text = error_of(stack, ["kill", number])["text"]
    assert str(int(number)) in text or signal.Signals(number).name in text


def test_a_command_that_is_not_there_fails_the_task_not_the_consumer(make_stack):
    stack = make_stack(services={"none": {"kind": "command", "command": ["/no/such/program"]}, "echo": module("echo")}, consumers=1)
    status = stack.wait_final(stack.create("none"))
    assert status["status"] == "failed" and "/no/such/program" in status["error"]["text"]
    assert stack.wait_final(stack.create("echo"))["status"] == "finished"
    assert status["message"] is None or isinstance(status["message"], str)


def test_a_failed_task_runs_again_after_start(stack, tmp_path):
    flag, notes = tmp_path / "flag", tmp_path / "notes"
    task_id = stack.create("script", [["note", str(notes)], ["exit", 1]])
    assert stack.wait_final(task_id)["status"] == "failed"
    stack.call("update_task", {"task_id": task_id, "condition": [["note", str(notes)], ["out", "7\n"]]})
    stack.call("start_task", {"task_id": task_id})
    status = stack.wait_final(task_id)
    assert status["status"] == "finished" and status["attempt"] == 2 and status["error"] is None
    assert stack.result(task_id)["data"] == 7
    runs = [line.split()[1] for line in notes.read_text().splitlines()]
    assert len(runs) == len(set(runs)) == 2 and not flag.exists()


# ---- the tree of a run


def noted(file):
    """(pid, kernel start time) of the process that noted itself in a file."""
    wait_until(lambda: file.exists() and file.read_text().endswith("\n"), f"for {file.name}")
    pid = int(file.read_text().split()[0])
    return pid, _start_time(pid)


@pytest.mark.parametrize("how", ["hold", "close"])
def test_what_a_run_leaves_behind_is_killed(stack, tmp_path, how):
    left = tmp_path / "left"
    assert result_of(stack, ["child", str(left), how], ["out", "1\n"]) == 1
    pid = int(left.read_text().split()[0])
    assert _start_time(pid) is None, "the run counts as ended and a process of it lives"


def test_kill_9_of_the_consumer_kills_its_runs(stack, tmp_path):
    main, child = tmp_path / "main", tmp_path / "child"
    task_id = stack.create("script", [["ignore"], ["note", str(main)], ["child", str(child)], ["until", str(tmp_path / "never")]])
    processes = [noted(main), noted(child)]
    assert all(born for _, born in processes)
    stack.consumer.kill()
    wait_until(lambda: all(_start_time(pid) != born for pid, born in processes), "for the run's processes to die")
    assert stack.status(task_id)["status"] == "running", "its lease has not run out"
    stack.start_consumer()
    assert stack.wait_final(stack.create())["status"] == "finished"


def test_a_killed_supervisor_is_replaced(stack, tmp_path):
    main = tmp_path / "main"
    task_id = stack.create("script", [["note", str(main)], ["until", str(tmp_path / "never")]])
    pid, born = noted(main)
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    os.kill(int(stat[1]), signal.SIGKILL)  # its parent, the slot's supervisor
    assert stack.wait_final(task_id)["status"] == "failed"
    assert _start_time(pid) != born
    for number in range(8):
        assert stack.wait_final(stack.create("script", [["out", str(number)]]))["status"] == "finished"


def test_no_process_is_left_after_the_end(stack, tmp_path):
    ids = [stack.create("script", [["out", "1\n"]]) for _ in range(8)]
    stack.wait_finished(ids)
    session = str(stack.consumer.pid)
    children = [pid for pid in os.listdir("/proc") if pid.isdigit() and parent_of(pid) == session]
    assert children, "no supervisor found; how are modules run?"
    born = {pid: _start_time(int(pid)) for pid in children}
    assert stack.consumer.stop() == 0
    wait_until(lambda: all(_start_time(int(pid)) != when for pid, when in born.items()), "for the supervisors to end")


def parent_of(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    except OSError:
        return None


# ---- stopping, and an API that is away


def test_the_consumer_lets_its_runs_end(stack, tmp_path):
    main, go = tmp_path / "main", tmp_path / "go"
    task_id = stack.create("script", [["note", str(main)], ["until", str(go)], ["out", "5\n"]])
    noted(main)
    stack.consumer.terminate()
    stack.consumer.wait_line(msg="stopping")
    later = stack.create("echo", "begun or left alone")
    go.touch()
    assert stack.consumer.wait() == 0
    assert stack.status(task_id)["status"] == "finished" and stack.result(task_id)["data"] == 5
    assert stack.status(later)["status"] in ("waiting", "finished"), "taken and dropped"
    stack.start_consumer()
    stack.wait_finished([later])


def test_a_second_signal_stops_the_consumer_at_once(stack, tmp_path):
    main = tmp_path / "main"
    stack.create("script", [["ignore"], ["note", str(main)], ["until", str(tmp_path / "never")]])
    pid, born = noted(main)
    stack.consumer.terminate()
    stack.consumer.expect_exit = None

    def again():
        stack.consumer.terminate()
        return not stack.consumer.alive()
    wait_until(again, "for the consumer to end", every_s=0.2)
    wait_until(lambda: _start_time(pid) != born, "for the run to end")


def test_the_result_waits_for_an_api_that_is_away(stack, tmp_path):
    main, go = tmp_path / "main", tmp_path / "go"
    task_id = stack.create("script", [["note", str(main)], ["until", str(go)], ["out", "5\n"]])
    noted(main)
    stack.api.kill()
    go.touch()
    stack.api.restart()
    assert stack.wait_final(task_id)["status"] == "finished"
    assert stack.result(task_id)["data"] == 5 and len(main.read_text().splitlines()) == 1
    assert stack.wait_final(stack.create())["status"] == "finished"


def test_a_consumer_waits_for_its_api(make_stack):
    stack = make_stack(services={"echo": module("echo")})
    stack.api.stop()
    consumer = stack.start_consumer(wait=False)
    stack.api.restart()
    consumer.ready()
    assert stack.wait_final(stack.create())["status"] == "finished"


def test_a_consumer_of_some_services_leaves_the_others(make_stack):
    stack = make_stack(services={"echo": module("echo"), "probe": module("probe")})
    stack.start_consumer(services=["probe"])
    mine, other = stack.create("probe"), stack.create("echo")
    assert stack.wait_final(mine)["status"] == "finished"
    assert stack.status(other)["status"] == "waiting"
    stack.start_consumer()
    stack.wait_final(other)


def test_slots_bound_the_runs_at_a_time(make_stack, tmp_path):
    stack = make_stack(services={"script": module("script", slots=2)}, consumers=1)
    go, notes = tmp_path / "go", tmp_path / "notes"
    ids = stack.create_many("script", [[["note", str(notes)], ["until", str(go)]]] * 6)
    wait_until(lambda: notes.exists() and len(notes.read_text().splitlines()) == 2, "for two runs")
    assert sorted(item["status"] for item in stack.status_of(*ids)) == ["running"] * 2 + ["waiting"] * 4
    go.touch()
    stack.wait_finished(ids)
    assert len(notes.read_text().splitlines()) == 6


def test_the_examples_of_the_tree(make_stack):
    command = {"word_count": ["python3", str(ROOT / "examples" / "word_count.py")], "checksum": ["sh", str(ROOT / "examples" / "checksum.sh")]}
    stack = make_stack(services={name: {"kind": "command", "command": argv} for name, argv in command.items()}, consumers=1)
    text = "examples/data/lighthouse.txt"
    words, sums = stack.create("word_count", {"path": text}), stack.create("checksum", {"path": text})
    assert stack.wait_final(words)["status"] == "finished" and stack.wait_final(sums)["status"] == "finished"
    data = (ROOT / text).read_bytes()
    import hashlib
    assert stack.result(sums)["data"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert stack.result(words)["data"]["lines"] == data.count(b"\n")
    assert MODULES.is_dir()
