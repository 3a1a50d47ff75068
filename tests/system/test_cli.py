"""longhaul VERB as a person or a script uses it: what it prints, where, and how it ends."""
import json
import os
import re
import socket
import subprocess
import threading

import pytest

from tests.system.stack import PATIENCE_S, TOKEN
from tests.system.terminal import LONGHAUL, Cli, cli_of

HEADINGS = ["TASK_ID", "SERVICE", "STATUS", "CREATE_TIME", "CONDITION"]


@pytest.fixture
def alone(tmp_path):
    folder = tmp_path / "cli"
    folder.mkdir()
    return Cli(folder, {"AUTH_TOKEN": None, "LONGHAUL_URL": None, "LONGHAUL_TOKEN_FILE": None})


@pytest.fixture
def stack(make_stack):
    return make_stack(services=("echo", "other"), config={"max_status_task": 2})


@pytest.fixture
def cli(stack, alone):
    return cli_of(alone.folder, stack)


def finish(stack, task_id, result):
    stack.update(task_id, "running")
    # Text, so that the value stands in the request as it is written here.
    stack.post("update_status_task", '{"data": {"task_id": "%s", "status": "finished", "result": %s}}' % (task_id, result))


def test_create_prints_the_id(cli, stack):
    task_id = cli.create("echo", '{"a": 1}')
    assert task_id.startswith("ts_echo_") and stack.status(task_id)["status"] == "waiting"
    assert json.loads(cli.create("echo", "--json", "[]"))["result"] == "ok"
    held = cli.create("--no-start", "echo", "null")
    assert stack.status(held)["status"] == "ready"


@pytest.mark.parametrize("text", ['{"a":[1,1.0,1e5,"\\u0000",null,true,{"":0}]}', '"€ 🐋"', "-9223372036854775808", " [ ] ", "{}"])
def test_a_condition_arrives_as_it_was_written(cli, stack, text):
    file = cli.folder / "condition.json"
    file.write_text(text)
    for args, stdin in ((("--", text), ""), (("-",), text), (("--file", file), ""), (("--file=-",), text)):
        task_id = cli.create("echo", *args, text=stdin)
        rows = cli.run("list", "--size", 1, "--json")
        [task] = json.loads(rows)["data"]
        assert task["task_id"] == task_id and task["condition"] == json.loads(text)
        assert f'"condition":{text.replace(" [ ] ", "[]")}' in rows


def test_a_condition_that_is_missing_is_an_empty_object(cli):
    cli.create("echo")
    assert json.loads(cli.run("list", "--json"))["data"][0]["condition"] == {}


@pytest.mark.parametrize("text, said", [
    ('{"a":1},"start":false', "condition: not JSON"), ("", "condition: not JSON"), ("{", "condition: not JSON"),
    ("1e999", "condition: a real number overflows"), ('{"a":1,"a":2}', "condition: ")])
def test_a_condition_that_is_no_json_is_refused_here(cli, text, said):
    err = cli.run("create", "echo", text, status=65)
    assert said in err and err.endswith("(INVALID_PARAMETER)\n")


def test_what_the_api_refuses_is_said_with_its_code(cli, stack):
    assert cli.run("create", "nobody", status=65) == "longhaul: service not support: nobody; there are echo, other (SERVICE_NOT_SUPPORT)\n"
    assert cli.run("create", "ecco", status=65) == "longhaul: service not support: ecco, did you mean 'echo'? (SERVICE_NOT_SUPPORT)\n"
    assert "did you mean 'other'?" in cli.run("pause", "otter", status=65)
    assert "did you mean 'other'?" in cli.run("list", "--service", "othr", status=65)
    assert "(UNKNOWN_TASK)" in cli.run("result", "ts_echo_no", status=66)
    assert "(INVALID_PARAMETER)" in cli.run("list", "--status", "lost", status=65)
    assert cli.run("list", "--token", "wrong", status=77) == f"longhaul: {stack.api.address} does not take the token of --token (UNAUTHORIZED)\n"
    assert "condition.json: No such file" in cli.run("create", "echo", "--file", "condition.json", status=74)


def test_status_keeps_the_order_and_asks_in_parts(cli, stack):
    ids = [cli.create("echo") for _ in range(5)]
    stack.update(ids[3], "failed", message="two words")
    rows = cli.rows("status", *ids)
    assert [row[0] for row in rows] == ids and [row[1] for row in rows] == ["waiting"] * 3 + ["failed", "waiting"]
    assert rows[3][5] == '"two words"' and {len(row) for row in rows} == {6}
    screen = cli.screen("status", *ids)
    lines = screen.end().splitlines()
    assert lines[0].split() == ["TASK_ID", "STATUS", "SUB_STATUS", "START_TIME", "END_TIME", "MESSAGE"]
    assert len({line.index(line.split()[1]) for line in lines}) == 1
    assert "\x1b[31mfailed\x1b[0m" in screen.raw.decode()
    plain = cli.screen("status", ids[3], env={"NO_COLOR": "1"})
    assert "failed" in plain.end() and "\x1b" not in plain.raw.decode()
    rows = [json.loads(line) for line in cli.run("status", "--json", *ids).splitlines()]
    assert [row["task_id"] for row in rows] == ids and rows[3]["message"] == "two words"


def test_status_of_an_unknown_id(cli):
    task_id = cli.create("echo")
    err = cli.run("status", task_id, "ts_echo_1", "ts_echo_2", status=66)
    assert err == "longhaul: ts_echo_1: no such task (UNKNOWN_TASK)\n"


def test_result_prints_the_value_digit_for_digit(cli, stack):
    value = '{"n":[1.0,1e5,12345678901234567],"text":"a\\nb€"}'
    task_id = cli.create("echo")
    assert "(NOT_FINISHED)" in cli.run("result", task_id, status=75)
    finish(stack, task_id, value)
    assert cli.run("result", task_id) == value + "\n"
    assert json.loads(cli.run("result", "--json", task_id))["spend_time"] is not None
    nothing = cli.create("echo")
    finish(stack, nothing, "null")
    assert cli.run("result", nothing) == "null\n"


def test_result_of_a_failed_task(cli, stack):
    task_id = cli.create("echo")
    stack.update(task_id, "running")
    stack.update(task_id, "failed", error={"class": "fatal", "text": "line \x1b[31m one\ntwo"})
    for args in ((), ("--wait",)):
        err = cli.run("result", task_id, *args, status=65)
        assert err.endswith("(TASK_FAILED)\n") and "\x1b" not in err


def test_wait_ends_with_the_task(cli, stack):
    task_id = cli.create("echo")
    process = cli.start("result", "--wait", task_id)
    stack.update(task_id, "running")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    finish_it = threading.Thread(target=lambda: stack.update(task_id, "finished", result=[1]))
    finish_it.start()
    out, err = process.communicate(timeout=PATIENCE_S)
    finish_it.join()
    assert (out, err, process.returncode) == (b"[1]\n", b"", 0)


def test_wait_survives_an_api_that_is_away(make_stack, alone):
    stack = make_stack(api_args=("--log-level=debug",))
    task_id = stack.create()
    process = alone.start("result", "--wait", task_id, env={"AUTH_TOKEN": TOKEN, "LONGHAUL_URL": stack.api.address})
    stack.api.wait_line(path="/api/result_task")
    stack.api.restart()
    finish(stack, task_id, "7")
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (out, err, process.returncode) == (b"7\n", b"", 0)


def test_wait_gives_up_after_the_timeout(cli):
    task_id = cli.create("echo")
    assert "(NOT_FINISHED)" in cli.run("result", "--wait", "--timeout", "0.2", task_id, status=75)
    assert "(USAGE)" in cli.run("result", "--timeout", "1", task_id, status=64)
    assert "(USAGE)" in cli.run("result", "--wait", "--timeout", "soon", task_id, status=64)
    assert "(USAGE)" in cli.run("result", "--wait", "--timeout", "-1", task_id, status=64)


def test_list_filters_and_pages(cli, stack):
    ids = [cli.create("echo", json.dumps(number)) for number in range(3)] + [cli.create("other", '"x y"')]
    finish(stack, ids[0], "1")
    rows = cli.rows("list")
    assert [row[0] for row in rows] == ids[::-1] and rows[0][4] == '"x y"'

    def listed(*args):
        return [row[0] for row in cli.rows("list", *args)]
    assert listed("--service", "other") == ids[3:]
    assert listed("--status=finished") == ids[:1] and listed("--status", "waiting", "--status", "finished") == ids[::-1]
    assert listed("--status", "finished,waiting", "--service", "echo") == ids[2::-1]
    assert listed("--size", 3, "--page", 2) == ids[:1]
    assert listed("--sub-status", "queued", "--from", "1h", "--size", 2) == ids[:1:-1]
    assert listed("--to", "2020-01-01") == listed("--from", "2999-01-01T00:00:00Z") == []
    assert listed("--prefix", ids[1]) == [ids[1]]
    assert listed("--all", "--size", 1) == ids[::-1]
    assert [json.loads(line)["task_id"] for line in cli.run("list", "--jsonl", "--all", "--size", 2).splitlines()] == ids[::-1]
    assert [len(json.loads(line)["data"]) for line in cli.run("list", "--json", "--all", "--size", 3).splitlines()] == [3, 1]
    assert cli.rows("list", "--fields", "attempt,task_id", "--service", "other") == [["0", ids[3]]]
    assert "fields must be of" in cli.run("list", "--fields", "nothing", status=65)
    assert "--from: expected" in cli.run("list", "--from", "yesterday", status=64)
    process = cli.start("list", "--size", "1")
    out, err = process.communicate(timeout=PATIENCE_S)
    assert len(out.splitlines()) == 1 and err.startswith(b"1 of 4 tasks; go on with --after ")
    assert listed("--after", err.decode().split()[8].rstrip(","), "--size", 2) == ids[2:0:-1]
    assert json.loads(cli.run("list", "--json"))["total"] == 4
    for option in ("--page=0", "--size=0", "--size=many", "--page=1.5", "--page="):
        assert "(USAGE)" in cli.run("list", option, status=64)


def test_a_long_condition_is_cut_on_a_terminal(cli):
    condition = json.dumps("€" * 500, ensure_ascii=False)
    cli.create("echo", condition)
    assert cli.rows("list")[0][4] == condition
    heading, line = cli.screen("list", columns=150).end().splitlines()
    assert heading.split() == HEADINGS and line.endswith("€…") and len(line) == 150
    assert len(cli.screen("list", columns=40).end().splitlines()[1].split()[-1]) == 20


def test_wide_characters_and_controls_on_a_terminal(cli, stack):
    first, second = cli.create("echo"), cli.create("echo")
    stack.update(first, "failed", message="一二三四五六七八九十" * 20)
    stack.update(second, "failed", message="\x1b\x9b2J\x7fok")
    heading, wide, safe = cli.screen("status", first, second, columns=190).end().splitlines()
    at = heading.index("MESSAGE")
    assert wide.endswith("…") and 188 <= at + 2 * len(wide[at:]) - 1 <= 190 + 2
    assert safe.endswith('"\\u001b?2J?ok"')


def test_tags(cli):
    task_id = cli.create("echo", "--tag", "team=blue", "--tag", "kind=a=b")
    cli.create("echo", "--tag", "team=red")
    assert [row[0] for row in cli.rows("list", "--tag", "team=blue", "--tag", "kind=a=b")] == [task_id]
    assert "NAME=VALUE" in cli.run("create", "echo", "--tag", "team", status=64)


def test_an_empty_list_is_nothing(cli):
    assert cli.run("list") == ""
    assert cli.screen("list").end().split() == HEADINGS


def test_a_reader_that_goes_away(cli):
    cli.create("echo", json.dumps("x" * 100000))
    done = subprocess.run(["sh", "-c", f"'{LONGHAUL}' list --json | head -c 10"], capture_output=True, timeout=PATIENCE_S,
                          env=cli.merged(), cwd=cli.folder)
    assert done.stdout == b'{"result":' and done.stderr == b""
    process = cli.start("list", preexec_fn=lambda: os.dup2(os.open("/dev/full", os.O_WRONLY), 1))
    assert process.wait(PATIENCE_S) == 74 and b"No space left" in process.stderr.read()
    process.communicate()


def test_options_may_stand_anywhere(cli, stack, alone):
    address = stack.api.address
    task_id = alone.run("--url", address, "--token=" + TOKEN, "create", "echo").strip()
    assert task_id in alone.run("list", "--url=" + address, "--token", TOKEN)
    assert task_id in alone.run("--token", TOKEN, "list", "--url", address, "--service", "echo")
    assert task_id in cli.run("list", "--url", address, env={"LONGHAUL_URL": "http://127.0.0.1:1"})


def test_the_configuration_names_api_and_token(stack, alone, tmp_path):
    task_id = stack.create()
    (tmp_path / "token").write_text(TOKEN + "\n")
    text = f"service: [echo]\napi_url: {stack.api.address}\nauth_token_file: ../token\n"
    (alone.folder / "config.yaml").write_text(text)
    assert task_id in alone.run("list")
    (alone.folder / "config.yaml").rename(alone.folder / "other.yaml")
    assert task_id in alone.run("list", "--config", "other.yaml")
    assert "no access token" in alone.run("list", status=64)
    assert "none.yaml: No such file" in alone.run("list", "--config", "none.yaml", status=74)
    (alone.folder / "config.yaml").write_text("service: [echo]\nnonsense: 1\n")
    assert "config.yaml:2: nonsense: unknown key" in alone.run("list", status=78)
    # With all it needs at hand it does not look at the file.
    assert task_id in alone.run("list", env={"AUTH_TOKEN": TOKEN, "LONGHAUL_URL": stack.api.address})


def test_a_socket_is_an_address(make_stack, alone, tmp_path):
    stack = make_stack(apis=0)
    stack.more["listen"] = f"unix:{tmp_path}/api.sock"
    stack.start_api()
    task_id = alone.run("create", "echo", "--url", f"unix:{tmp_path}/api.sock", "--token", TOKEN).strip()
    assert task_id.startswith("ts_echo_")


def test_no_api(alone):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        err = alone.run("list", "--url", url, "--token", "x", status=74)
        assert err == f"longhaul: {url}: Connection refused (IO)\n"
    assert "ftp://h" in alone.run("list", "--url", "ftp://h", "--token", "x", status=64)


def test_an_answer_that_is_not_the_apis(alone):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"

        def answer():
            peer, _ = server.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>")
        thread = threading.Thread(target=answer)
        thread.start()
        err = alone.run("list", "--url", url, "--token", "x", status=74)
        thread.join()
    assert err == f"longhaul: {url}: not an answer of the task API (HTTP status 502) (IO)\n"


def test_help_and_usage(alone):
    for args in ((), *((verb,) for verb in re.findall(r"^  ([a-z]+) +[a-z]", alone.run("--help").partition("With every")[0], re.M))):
        assert "longhaul" in alone.run(*args, "--help") and "Usage: " in alone.run(*args, "--help")
        assert not args or alone.run("help", *args) == alone.run(*args, "--help")
    assert alone.run("--version").startswith("longhaul ")
    assert "did you mean '--status'?" in alone.run("list", "--statsu=failed", status=64)
    assert "did you mean 'delete'?" in alone.run("help", "delte", status=64)
    assert alone.run("creat", status=64) == "longhaul: unknown verb 'creat', did you mean 'create'? (USAGE)\n"
    for args in ((), ("frobnicate",), ("create",), ("result",), ("status",), ("result", "a", "b"), ("list", "a"), ("list", "--wait"),
                 ("list", "--nonsense"), ("list", "--page"), ("--nonsense", "list"), ("create", "a", "1", "2"),
                 ("create", "a", "1", "--file", "x"), ("list", "--size=1", "--size=2"), ("list", "-x"), ("limit", "a"), ("edit", "a")):
        assert alone.run(*args, status=64, env={"AUTH_TOKEN": "x", "LONGHAUL_URL": "http://127.0.0.1:1"}).endswith("(USAGE)\n")


OK = b'{"result":"ok","task_id":"ts_echo_1","data":[],"total":0}'


class Script:
    """A server that answers the requests in turn; it keeps what was asked."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        for answer in self.answers:
            peer, _ = self.server.accept()
            with peer:
                head, _, body = peer.recv(65536).partition(b"\r\n\r\n")
                while len(body) < int(re.search(rb"Content-Length: (\d+)", head).group(1)):
                    body += peer.recv(65536)
                self.asked.append(json.loads(body))
                if answer:
                    status, text = answer
                    peer.sendall(b"HTTP/1.1 %d X\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
                                 % (status, len(text), text))
        self.server.close()


def refusal(status, code):
    return status, json.dumps({"result": "exception", "code": code, "message": "no"}).encode()


@pytest.mark.parametrize("answer", [refusal(503, "DRAINING"), refusal(429, "QUEUE_FULL")])
def test_a_busy_api_is_asked_again(alone, answer):
    api = Script(answer, (200, OK))
    assert alone.run("create", "echo", "--url", api.url, "--token", "x") == "ts_echo_1\n"
    first, second = api.asked
    assert first == second and first["data"]["idempotency_key"]
    api = Script(answer)
    assert "no (" in alone.run("create", "echo", "--url", api.url, "--token", "x", "--patience", "0.5", status=69 if answer[0] == 503 else 75)


def test_a_create_whose_answer_is_lost_is_said_again_with_its_key(alone):
    api = Script(refusal(503, "DRAINING"), None, refusal(504, "OUTCOME_UNKNOWN"), (200, OK))
    assert alone.run("create", "echo", "--key", "k1", "--url", api.url, "--token", "x") == "ts_echo_1\n"
    assert [asked["data"]["idempotency_key"] for asked in api.asked] == ["k1"] * 4


def test_a_change_whose_answer_is_lost_is_not_made_again(alone):
    api = Script(refusal(503, "DRAINING"), None)
    alone.run("cancel", "ts_echo_1", "--url", api.url, "--token", "x", status=74)
    assert len(api.asked) == 2
