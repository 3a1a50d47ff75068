"""The verbs of longhaul that change tasks and services, and those that show them."""
import json
import signal

import pytest

from tests.system.stack import TOKEN, wait_until
from tests.system.terminal import Cli, cli_of


@pytest.fixture
def stack(make_stack):
    return make_stack(services=("echo", "other"))


def test_cancel_start_edit_delete(cli, stack):
    first, second = cli.create("echo", "1"), cli.create("echo", "2", "--no-start")
    assert cli.rows("cancel", first, second, "--reason", "not now", "--grace", "2") == [[first, "failed", "cancelled"], [second, "failed", "cancelled"]]
    assert stack.status(first)["message"] == "cancelled: not now"
    assert cli.run("edit", first, '{"better": true}') == first + "\n"
    assert cli.run("start", first) == first + "\n" and stack.status(first)["status"] == "waiting"
    assert stack.take()[0]["Task"]["condition"] == {"better": True}
    assert "(TASK_RUNNING)" in cli.run("edit", first, "1", status=65)
    assert "(NOT_FINAL)" in cli.run("delete", first, status=65)
    assert cli.rows("cancel", first)[0][1:] == ["running", "cancelling"]
    assert cli.run("delete", second) == second + "\n" and stack.status(second)["sub_status"] == "removed"
    assert json.loads(cli.run("cancel", "--json", cli.create("echo")))["sub_status"] == "cancelled"


def test_edit_reads_files_and_stdin(cli, stack):
    task_id = cli.create("echo", "--no-start")
    (cli.folder / "new.json").write_text('[1.0,"€"]')
    cli.run("edit", task_id, "--file", "new.json")
    assert json.loads(cli.run("list", "--json"))["data"][0]["condition"] == [1.0, "€"]
    cli.run("edit", task_id, "-", text='{"from": "stdin"}')
    assert json.loads(cli.run("list", "--json"))["data"][0]["condition"] == {"from": "stdin"}
    assert "condition: not JSON" in cli.run("edit", task_id, "{", status=65)
    assert "which condition?" in cli.run("edit", task_id, status=64)


def test_edit_opens_an_editor_on_a_terminal(cli, stack):
    task_id = cli.create("echo", '{"n": [1.0, 1e5], "text": "old"}', "--no-start")
    (cli.folder / "editor").write_text('#!/bin/sh\ncat "$2" > seen\nsed -i "s/$1/new/" "$2"\n')
    (cli.folder / "editor").chmod(0o755)

    def edit(**env):
        return cli.screen("edit", task_id, env={"VISUAL": None, "EDITOR": None, "TMPDIR": str(cli.folder), **env})
    assert task_id in edit(EDITOR="./editor old").end()
    assert (cli.folder / "seen").read_text() == '{"n":[1.0,1e5],"text":"old"}\n'
    assert json.loads(cli.run("list", "--json"))["data"][0]["condition"] == {"n": [1.0, 1e5], "text": "new"}
    assert "nothing is changed" in edit(EDITOR="false", VISUAL="./editor none").end()
    assert "the editor did not end well" in edit(EDITOR="false").end(74)
    assert not list(cli.folder.glob("longhaul-*"))
    text = edit(EDITOR="./editor '{'").end(65)
    [kept] = cli.folder.glob("longhaul-*")
    assert "condition: not JSON" in text and str(kept) in text.replace("\n", "")
    assert "no such task" in cli.screen("edit", task_id[:-1]).end(66)


def test_a_refusal_does_not_stop_the_others(cli, stack):
    task_id = cli.create("echo", "--no-start")
    out, err = cli.both("start", "ts_echo_none", task_id, "ts_echo_nothing", status=66)
    assert out == task_id + "\n" and stack.status(task_id)["status"] == "waiting"
    assert err.splitlines()[0] == "longhaul: ts_echo_none: Invalid parameter: no such task (UNKNOWN_TASK)"
    assert len(err.splitlines()) == 2


def test_the_options_of_a_task_arrive(cli, stack):
    task_id = cli.create("echo", "--priority", 9, "--delay", "2h", "--timeout", "1.5m", "--expire", "3h", "--max-attempts", 3,
                         "--retry", "fixed:10", "--tag", "a=b", "--key", "k")
    row = json.loads(cli.run("list", "--jsonl", "--fields", "task_id,priority,max_attempts,tags,idempotency_key,sub_status,run_at"))
    assert (row["task_id"], row["priority"], row["max_attempts"], row["tags"], row["idempotency_key"], row["sub_status"]) == \
        (task_id, 9, 3, {"a": "b"}, "k", "delayed")
    assert row["run_at"]
    again = json.loads(cli.run("create", "echo", "--json", "--priority", 9, "--delay", "2h", "--timeout", "90", "--expire", "180m",
                               "--max-attempts", 3, "--retry", "fixed:10", "--tag", "a=b", "--key", "k"))
    assert again["task_id"] == task_id and again["duplicate"] is True
    assert "(IDEMPOTENCY_CONFLICT)" in cli.run("create", "echo", "--key", "k", status=65)
    at = cli.create("echo", "--run-at", "2999-01-01T00:00:00Z")
    assert stack.status(at)["sub_status"] == "delayed"
    assert "--retry: expected" in cli.run("create", "echo", "--retry", "fixed:soon", status=64)
    assert "retry" in cli.run("create", "echo", "--retry", "never", status=65)
    assert "priority" in cli.run("create", "echo", "--priority", "10", status=65)
    assert "--delay: expected seconds" in cli.run("create", "echo", "--delay", "2w", status=64)


def test_services_are_paused_resumed_and_limited(cli, stack):
    cli.create("echo")
    assert cli.rows("pause", "echo", "other") == [[name, "paused", "max_running -", "max_waiting -"] for name in ("echo", "other")]
    row = cli.rows("services")[0]
    assert row[:7] == ["echo", "true", "0", "1", "0", "0", "0"] and float(row[7]) >= 0 and row[8:] == ["0", "-", "-", "-"]
    assert stack.take() == []
    assert cli.rows("resume", "echo")[0][1] == "runs"
    assert cli.rows("limit", "echo", "--max-running", 3, "--max-waiting", 1)[0] == ["echo", "runs", "max_running 3", "max_waiting 1"]
    assert "(QUEUE_FULL)" in cli.run("create", "echo", "--patience", "0", status=75)
    assert cli.rows("limit", "echo", "--max-waiting", "default", "--max-running", 0)[0][2:] == ["max_running -", "max_waiting -"]
    assert "give --max-running or --max-waiting" in cli.run("limit", "echo", status=64)
    assert "--max-running: expected a whole number from 0, or default, found 'few'" in cli.run("limit", "echo", "--max-running", "few", status=64)
    detail = json.loads(cli.run("services", "--json"))["data"]
    assert [service["service"] for service in detail] == ["echo", "other"] and detail[1]["paused"] is True
    cli.run("create", "echo", "--jsonl", text="1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n")
    screen = cli.screen("services", columns=200).end().splitlines()
    end = screen[0].index("WAITING") + len("WAITING")
    assert [line[:end].split()[-1] for line in screen[1:]] == ["12", "0"]
    assert screen[0].index("PAUSED") == screen[1].index("false") == screen[2].index("true")
    assert screen[0].split() == ["SERVICE", "PAUSED", "READY", "WAITING", "RUNNING", "FINISHED", "FAILED", "OLDEST_S", "CONSUMERS", "MAX_RUNNING",
                                 "MAX_WAITING", "TOPIC"]


def test_consumers_and_timeline(cli, stack):
    worker = {"id": "w1", "host": "alpha", "pid": 7, "services": ["echo"], "slots": 2}
    stack.call("heartbeat_task", {"data": [], "worker": worker})
    row = cli.rows("consumers")[0]
    assert row[:4] == ["w1", "alpha", "7", "2"] and row[5] == '["echo"]'
    assert json.loads(cli.run("consumers", "--json"))["data"][0]["id"] == "w1"
    task_id = cli.create("echo", "--max-attempts", 2, "--retry", "fixed:0")
    assert cli.run("timeline", task_id) == ""
    [run] = stack.take(worker=worker)
    stack.update(task_id, "failed", run_id=run["run_id"], error={"class": "retryable", "text": "no luck today"})
    [row] = cli.rows("timeline", task_id)
    assert row[0] == "1" and row[5] == "error" and row[6] == "w1" and row[7] == '"no luck today"'
    assert json.loads(cli.run("timeline", "--json", task_id))["data"][0]["attempt"] == 1
    assert "(UNKNOWN_TASK)" in cli.run("timeline", "ts_echo_none", status=66)


def test_a_signal_ends_a_wait_in_good_order(make_stack, tmp_path):
    stack = make_stack(api_args=("--log-level=debug",))
    cli = cli_of(tmp_path, stack)
    task_id = cli.create("echo")
    for number in (signal.SIGINT, signal.SIGTERM):
        calls = len(stack.api.find(path="/api/result_task"))
        screen = cli.screen("result", "--wait", task_id)
        wait_until(lambda: len(stack.api.find(path="/api/result_task")) > calls, "for its call")
        screen.signal(number)
        assert "longhaul: interrupted (INTERRUPTED)" in screen.end(130)
    screen = cli.screen("create", "echo", "-")
    screen.wait_reading()
    screen.type("\x03")
    assert "interrupted" in screen.end(130)


def test_the_token_may_stand_in_a_file(stack, tmp_path):
    alone = Cli(tmp_path, {"AUTH_TOKEN": None, "LONGHAUL_URL": stack.api.address, "LONGHAUL_TOKEN_FILE": "secret"})
    (tmp_path / "secret").write_text(TOKEN + "\n")
    assert alone.run("list") == ""
    (tmp_path / "secret").write_text("\n")
    assert "secret: it holds no token" in alone.run("list", status=78)
    (tmp_path / "secret").unlink()
    assert "LONGHAUL_TOKEN_FILE: secret: No such file" in alone.run("list", status=74)
    assert alone.run("list", env={"AUTH_TOKEN": TOKEN}) == ""
