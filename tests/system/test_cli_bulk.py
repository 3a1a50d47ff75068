"""longhaul create --jsonl, export and import: many tasks, none lost and none twice."""
import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import termios

import pytest

from tests.system.stack import wait_until
from tests.system.terminal import LONGHAUL, cli_of


@pytest.fixture
def stack(make_stack):
    return make_stack(services=("echo", "other"), api_args=("--log-level=debug",))


def lines(values):
    return "".join(json.dumps(value) + "\n" for value in values)


def conditions(stack, **filters):
    data = stack.call("tasks", {"p_size": 1000, "fields": ["condition"], **filters})["data"]
    return [row["condition"] for row in data][::-1]


def begin(process, text, given, created):
    """Gives it the first lines, and returns the ids that it prints: it has their answers and waits for more lines."""
    process.stdin.write("".join(text.splitlines(True)[:given]).encode())
    process.stdin.flush()
    return b"".join(process.stdout.readline() for _ in range(created))


def calls(stack):
    return len(stack.api.find(msg="request", path="/api/create_task"))


def test_conditions_of_a_service(cli, stack):
    out, err = cli.both("create", "echo", "--jsonl", "--priority", 7, text=lines(range(1201)))
    ids = out.split()
    assert err == "longhaul: 1201 created\n" and len(ids) == len(set(ids)) == 1201
    assert calls(stack) == 3
    stored = stack.call("tasks", {"p_size": 1000, "page": 2, "fields": ["task_id", "condition", "priority"]})["data"][::-1]
    assert stored == [{"task_id": ids[number], "condition": number, "priority": 7} for number in range(201)]


def test_tasks_with_their_fields(cli, stack):
    text = lines([{"service": "echo", "condition": 1, "priority": 9}, {"service": "other", "condition": [1.0], "tags": {"a": "b"}}])
    file = cli.folder / "tasks.jsonl"
    file.write_text("\n" + text + "  \n" + '{"service": "echo", "condition": "no newline at the end"}')
    out, err = cli.both("create", "--jsonl", "--file", file, "--priority", 2, "--batch", 2, "--json")
    assert [json.loads(line)["task_id"][:7] for line in out.splitlines()] == ["ts_echo", "ts_othe", "ts_echo"]
    rows = stack.call("tasks", {"fields": ["service", "condition", "priority", "tags"]})["data"][::-1]
    assert rows == [{"service": "echo", "condition": 1, "priority": 9, "tags": None},
                    {"service": "other", "condition": [1.0], "priority": 2, "tags": {"a": "b"}},
                    {"service": "echo", "condition": "no newline at the end", "priority": 2, "tags": None}]


def test_lines_that_are_wrong_stop_nothing(cli, stack):
    text = '{"service": "echo", "condition": 1}\n{"service": "nobody", "condition": 2}\nnonsense\n[]\n{}\n{"service": "echo", "condition": 3}\n'
    out, err = cli.both("create", "--jsonl", text=text, status=65)
    assert len(out.split()) == 2 and conditions(stack) == [1, 3]
    said = err.splitlines()
    assert said[0].startswith("longhaul: line 3: ") and said[0].endswith("(INVALID_PARAMETER)")
    assert said[1] == "longhaul: line 4: expected an object with service and condition (INVALID_PARAMETER)"
    assert said[2] == "longhaul: line 2: service not support (SERVICE_NOT_SUPPORT)"
    assert said[3].startswith("longhaul: line 5: Invalid parameter: service")
    assert said[4] == "longhaul: 2 created, 4 refused" and len(said) == 5


def test_the_same_lines_with_the_same_key_are_the_same_tasks(cli, stack):
    first = cli.run("create", "echo", "--jsonl", "--key", "monday", text=lines(range(5)))
    out, err = cli.both("create", "echo", "--jsonl", "--key", "monday", text=lines(range(7)))
    assert out.startswith(first) and err == "longhaul: 2 created, 5 were there already\n"
    assert conditions(stack) == list(range(7))
    cli.run("create", "echo", "--jsonl", text=lines(range(2)))
    assert len(conditions(stack)) == 9
    cli.both("create", "echo", "--jsonl", "--key", "monday", text=lines(["another"]), status=65)


def test_an_api_that_goes_away_in_the_middle(cli, stack):
    text = lines(range(3000))
    process = cli.start("create", "echo", "--jsonl", "--batch", "20", stdin=-1)
    process.stdin.write(text[:len(text) // 2].encode())
    process.stdin.flush()
    wait_until(lambda: calls(stack) > 3)
    stack.api.kill()
    stack.api.restart()
    out, err = process.communicate(text[len(text) // 2:].encode())
    assert process.returncode == 0, err
    assert len(set(out.split())) == 3000
    assert stack.call("tasks", {"p_size": 1})["total"] == 3000


def test_an_error_says_how_to_go_on(cli, stack):
    text = lines(range(100))
    process = cli.start("create", "echo", "--jsonl", "--batch", "10", "--patience", "0.2", stdin=-1)
    begun = begin(process, text, 25, 25)
    stack.api.stop()  # between two calls: within one it would say that it is stopping
    out, err = process.communicate("".join(text.splitlines(True)[25:]).encode())
    out = begun + out
    assert process.returncode == 74, err
    [key] = re.findall(r"repeat it with --key (\S+): nothing is created twice \(IO\)\n$", err.decode())
    assert re.search(r"longhaul: \d+ created\n", err.decode())
    stack.api.restart()
    again, err = cli.both("create", "echo", "--jsonl", "--key", key, text=text)
    assert again.startswith(out.decode()) and "were there already" in err
    assert conditions(stack) == list(range(100))


def test_ctrl_c_says_how_many_are_created(cli, stack):
    process = cli.start("create", "echo", "--jsonl", "--batch", "10", stdin=-1)
    begun = begin(process, lines(range(25)), 25, 25)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130 and len(begun.split()) == len(conditions(stack)) == 25 and out == b""
    assert err.startswith(b"longhaul: 25 created\nlonghaul: interrupted; repeat it with --key ")


def test_the_lines_of_a_slow_producer_wait_for_no_whole_batch(cli, stack):
    process = cli.start("create", "echo", "--jsonl", stdin=-1)
    process.stdin.write(b"1\n2")
    process.stdin.flush()
    wait_until(lambda: conditions(stack) == [1])
    process.stdin.write(b"3\n\n")
    process.stdin.flush()
    wait_until(lambda: conditions(stack) == [1, 23])
    out, err = process.communicate(b"4")
    assert process.returncode == 0 and len(out.split()) == 3 and err == b"longhaul: 3 created\n"
    assert conditions(stack) == [1, 23, 4]


def test_a_queue_that_is_full_is_waited_for(cli, stack):
    cli.run("limit", "echo", "--max-waiting", 3)
    process = cli.start("create", "echo", "--jsonl", stdin=-1)
    process.stdin.write(lines(range(5)).encode())
    process.stdin.close()
    wait_until(lambda: len(conditions(stack)) == 3)
    cli.run("limit", "echo", "--max-waiting", 0)
    assert process.wait(60) == 0
    assert conditions(stack) == list(range(5))
    process.stdout.close()
    process.stderr.close()
    cli.run("limit", "echo", "--max-waiting", 1)
    out, err = cli.both("create", "echo", "--jsonl", "--patience", "0", text=lines([6]), status=75)
    assert out == "" and err.startswith("longhaul: 0 created\nlonghaul: line 1: the queue is full") and "repeat it with --key" in err


def test_batches_that_are_too_large_go_in_parts(make_stack, tmp_path):
    stack = make_stack(config={"limits": {"body_kb": 64}}, api_args=("--log-level=debug",))
    cli = cli_of(tmp_path, stack)
    text = lines(["x" * 1000 for _ in range(200)] + ["y" * 100000, "z"])
    out, err = cli.both("create", "echo", "--jsonl", text=text, status=65)
    assert len(out.split()) == 201 and "line 201: " in err and "(TOO_LARGE)" in err


def test_a_bar_on_a_terminal(cli, stack):
    file = cli.folder / "many.jsonl"
    file.write_text(lines(range(4000)))
    screen = cli.screen("create", "echo", "--jsonl", "--file", file, "--batch", 50)
    text = screen.end()
    assert re.search(r"\[#*-*\] +\d+ %  \d+ tasks  \d+/s", text) and "4000 created" in text


def test_wrong_usage_of_bulk(cli):
    assert "1 to 500" in cli.run("create", "echo", "--jsonl", "--batch", 501, status=64)
    assert "--batch goes with --jsonl" in cli.run("create", "echo", "--batch", 5, status=64)
    assert "--jsonl reads" in cli.run("create", "echo", "1", "--jsonl", status=64)
    assert "none.jsonl: No such file" in cli.run("create", "echo", "--jsonl", "--file", "none.jsonl", status=74)


def test_export_and_import(cli, stack, make_stack, tmp_path):
    held = cli.create("echo", '{"n":[1.0,1e5,"€\\u0000"]}', "--no-start", "--tag", "a=b", "--priority", 8, "--key", "mine")
    later = cli.create("other", "null", "--delay", "1d", "--timeout", 5, "--expire", "2d", "--max-attempts", 4, "--retry", "fixed:7:9")
    queued = stack.create("echo", 1)
    ended = cli.create("echo", "2")
    stack.update(ended, "finished", result={"r": 1.0})
    out, err = cli.both("export")
    assert err == "longhaul: 4 tasks written\n"
    rows = {json.loads(line)["task_id"]: json.loads(line) for line in out.splitlines()}
    assert set(rows) == {held, later, queued, ended}
    assert rows[ended]["result"] == {"r": 1.0} and '"n":[1.0,1e5,"€\\u0000"]' in out
    assert rows[later]["retry"]["kind"] == "fixed" and (rows[later]["timeout_s"], rows[later]["expire_s"]) == (5, 172800)
    cli.run("export", "--status", "waiting", "--service", "echo", "--output", "waiting.jsonl")
    assert [json.loads(line)["task_id"] for line in (cli.folder / "waiting.jsonl").read_text().splitlines()] == [queued]

    other = make_stack(services=("echo", "other"))
    to = cli_of(cli.folder, other)
    (cli.folder / "all.jsonl").write_text(out)
    ids, err = to.both("import", "all.jsonl")
    assert len(ids.split()) == 3 and err == "longhaul: 3 created, 1 passed over\n"
    ids_again, err = to.both("import", text=out)
    assert ids_again == ids and err == "longhaul: 0 created, 3 were there already, 1 passed over\n"
    out_again = to.run("export")
    same = ("service", "condition", "status", "sub_status", "priority", "max_attempts", "timeout_s", "expire_s", "retry", "run_at", "tags")
    assert sorted(json.dumps([json.loads(line)[name] for name in same]) for line in out_again.splitlines()) == \
        sorted(json.dumps([rows[task_id][name] for name in same]) for task_id in (held, later, queued))
    keys = {json.loads(line)["idempotency_key"] for line in out_again.splitlines()}
    assert keys == {"mine", rows[later]["idempotency_key"], f"import:{queued}"}
    assert len(to.run("import", "all.jsonl", "--ended").split()) == 4


def test_export_walks_through_pages(make_stack, any_store, tmp_path):
    stack = make_stack(store=any_store)
    cli = cli_of(tmp_path, stack)
    stack.create_many("echo", list(range(1000)))
    stack.create_many("echo", list(range(1000, 1100)))
    out = cli.run("export", "--service", "echo")
    assert [json.loads(line)["condition"] for line in out.splitlines()] == list(range(1099, -1, -1))
    assert len(cli.rows("list", "--all", "--from", "1h")) == 1100
    assert "nowhere/x: No such file" in cli.run("export", "--output", "nowhere/x", status=74)


def test_export_on_a_terminal(cli, stack):
    for _ in range(4):
        stack.create_many("echo", list(range(1000)))
    text = cli.screen("export", "--output", "all.jsonl").end()
    assert re.search(r"\[#*-*\] +\d+ %  \d+ tasks", text) and text.endswith("4000 tasks written\n")
    assert len((cli.folder / "all.jsonl").read_text().splitlines()) == 4000


def test_ctrl_c_ends_an_export_in_good_order(cli, stack):
    for _ in range(2):
        stack.create_many("echo", list(range(1000)))
    reader, writer = os.pipe()
    process = subprocess.Popen([LONGHAUL, "export"], stdout=writer, stderr=subprocess.PIPE, env=cli.merged(), cwd=cli.folder)
    os.close(writer)
    wait_until(lambda: struct.unpack("i", fcntl.ioctl(reader, termios.FIONREAD, b"    "))[0] >= 60000)  # it waits for its reader
    process.send_signal(signal.SIGINT)
    with open(reader, "rb") as pipe:
        out = pipe.read()
    err = process.communicate()[1].decode()
    assert process.returncode == 130 and err.endswith("longhaul: interrupted (INTERRUPTED)\n")
    whole = out.decode().split("\n")[:-1]
    assert all(json.loads(line)["task_id"] for line in whole)
    assert int(re.match(r"longhaul: (\d+) tasks written\n", err).group(1)) <= len(whole) < 2000


def test_import_says_what_is_wrong(cli):
    out, err = cli.both("import", text='{"service": "echo"}\n{"service": "echo", "condition": 1}\n', status=65)
    assert "line 1: expected an object with service and condition" in err and len(out.split()) == 1
    assert "none.jsonl: No such file" in cli.run("import", "none.jsonl", status=74)


def test_a_create_with_the_key_of_an_imported_task_is_a_repeat(cli, stack, make_stack, tmp_path):
    """What the export tells of defaults is not sent again."""
    cli.run("create", "--key", "order-1", "echo", "7")
    exported, _ = cli.both("export")
    other = make_stack(services=("echo", "other"))
    (tmp_path / "other").mkdir()
    there = cli_of(tmp_path / "other", other)
    there.both("import", text=exported)
    got = other.call("create_task", {"data": {"service": "echo", "condition": 7, "idempotency_key": "order-1"}})
    assert got["duplicate"] and other.call("tasks", {})["total"] == 1
