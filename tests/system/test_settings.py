"""What the configuration changes in the API, and how the programs start, refuse to start, and stop."""
import json
import os
import subprocess

import pytest

from tests.system.stack import BUILD, TOKEN, api_document, in_threads

PROGRAMS = {"api": BUILD / "api" / "longhaul-api", "consumer": BUILD / "consumer" / "longhaul-consumer"}
BASE = "service: [echo]\nlisten: 127.0.0.1:0\nstore: sqlite:x.db\nmodule:\n  echo: {kind: command, command: [cat]}\n"


def run(program, *args, env=None):
    done = subprocess.run([PROGRAMS[program], *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=60, env={**os.environ, "AUTH_TOKEN": TOKEN, **(env or {})})
    return done


def config(folder, text):
    file = folder / "config.yaml"
    file.write_text(text)
    return file


def test_legacy_http_status_answers_200(make_stack):
    stack = make_stack(config={"legacy_http_status": True, "limits": {"waiting_per_service": 1}})
    task_id = stack.create()
    for route, data, code in (("create_task", {"service": "nobody", "condition": 1}, "SERVICE_NOT_SUPPORT"),
                              ("result_task", {"task_id": task_id}, "NOT_FINISHED"), ("result_task", {"task_id": "x"}, "UNKNOWN_TASK"),
                              ("start_task", {"task_id": task_id}, "ALREADY_QUEUED"), ("tasks", {"page": 0}, "INVALID_PARAMETER"),
                              ("create_task", {"service": "echo", "condition": 1}, "QUEUE_FULL")):
        got = stack.call(route, {"data": data}, 200, code)
        assert got["result"] == "exception"
    assert stack.post("tasks", {}, token="wrong").status == 401


# An error of every route: what is asked, the HTTP status and the code.
ERRORS = {
    "create_task": ({"service": "nobody", "condition": 1}, 400, "SERVICE_NOT_SUPPORT"),
    "status_task": ({"data": 5}, 400, "INVALID_PARAMETER"),
    "update_status_task": ({"task_id": "x", "status": "finished"}, 404, "UNKNOWN_TASK"),
    "result_task": ({"task_id": "x"}, 404, "UNKNOWN_TASK"),
    "tasks": ({"p_size": 1000, "page": 1000}, 400, "USE_CURSOR"),
    "delete_task": ({"task_id": "x"}, 404, "UNKNOWN_TASK"),
    "timeline_task": ({"task_id": "x"}, 404, "UNKNOWN_TASK"),
    "start_task": ({"task_id": "x"}, 404, "UNKNOWN_TASK"),
    "cancel_task": ({"task_id": "x"}, 404, "UNKNOWN_TASK"),
    "update_task": ({"task_id": "x", "condition": 1}, 404, "UNKNOWN_TASK"),
    "service_task": ({"detail": 5}, 400, "INVALID_PARAMETER"),
    "pause_service_task": ({"service": "nobody"}, 400, "SERVICE_NOT_SUPPORT"),
    "resume_service_task": ({"service": "nobody"}, 400, "SERVICE_NOT_SUPPORT"),
    "limit_service_task": ({"service": "nobody", "max_running": 1}, 400, "SERVICE_NOT_SUPPORT"),
    "claim_task": ({"services": ["nobody"]}, 400, "SERVICE_NOT_SUPPORT"),
    "heartbeat_task": ({"data": 5}, 400, "INVALID_PARAMETER"),
    "log_task": ({"task_id": "x", "stream": "stdout", "offset": 0, "text": "y"}, 404, "UNKNOWN_TASK"),
    "logs_task": ({"task_id": "x"}, 404, "UNKNOWN_TASK"),
    "worker_task": ("{", 400, "INVALID_PARAMETER"),
    "watch": ({"types": "log"}, 400, "INVALID_PARAMETER"),
    "history_task": ({"span_s": 5}, 400, "INVALID_PARAMETER"),
}


def test_every_route_has_an_error_here():
    routes = api_document().document["paths"].items()
    assert {path for path, methods in routes if path.startswith("/api/") and "post" in methods} == {f"/api/{name}" for name in ERRORS}


def test_legacy_http_status_is_all_that_changes(make_stack):
    """Both settings, every route: an error, another method, no token, and the route's own answer to nothing wrong."""
    plain, legacy = make_stack(), make_stack(config={"legacy_http_status": True})
    for route, (body, status, code) in ERRORS.items():
        for wrong, then, word in ((lambda stack: stack.post(route, body), status, code),
                                  (lambda stack: stack.request("PUT" if route == "watch" else "GET", f"/api/{route}"), 405, "METHOD_NOT_ALLOWED")):
            told, always = wrong(plain), wrong(legacy)
            assert (told.status, told.json["code"], always.status) == (then, word, 200), (route, told, always)
            assert told.json["result"] == "exception" and told.json["message"]
            assert told.body == always.body and told.headers["Allow"] == always.headers["Allow"]
            assert told.headers["Content-Type"] == always.headers["Content-Type"] == "application/json"
        for stack in (plain, legacy):
            answer = stack.post(route, body, token="wrong")
            assert answer.status == 401 and answer.json["code"] == "UNAUTHORIZED", (route, answer)
    for path in ("/healthz", "/readyz", "/nothing"):
        assert len({stack.request("POST", path, b"{}").status for stack in (plain, legacy)} & {404, 405}) == 1, "not the API's"


def test_a_full_queue_is_429(make_stack, any_store):
    stack = make_stack(store=any_store, services=("echo", "other"), config={"limits": {"waiting_per_service": 3}})
    ids = [stack.create(), stack.create()]
    got = stack.call("create_task", {"data": [{"service": "echo", "condition": number} for number in range(3)]})
    assert "task_id" in got["data"][0] and [item["code"] for item in got["data"][1:]] == ["QUEUE_FULL"] * 2
    answer = stack.post("create_task", {"service": "echo", "condition": 1})
    assert answer.status == 429 and answer.json["code"] == "QUEUE_FULL" and int(answer.headers["Retry-After"]) > 0
    stack.create("other")
    stack.update(ids[0], "running")
    stack.create()
    assert stack.call("tasks", {"service": "echo"})["total"] == 4


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_and_version(program):
    for option in ("--help", "--version"):
        done = run(program, option)
        assert done.returncode == 0 and done.stdout and not done.stderr
    assert run(program, "--nonsense").returncode == 64


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("text, line, key", [
    ("service: [echo]\nnonsense: 1\n", 2, "nonsense"), ("service: [echo]\nlease_s: 0\n", 2, "lease_s"),
    ("service: [echo]\nretention: {tombstone_s: 60}\n", 2, "retention.tombstone_s"), ("service: [echo]\nmax_status_task: many\n", 2, "max_status_task"),
    ("service: [echo]\nlimits:\n  body_kb: 0\n", 3, "body_kb"), ("service: [echo]\nstore: paper\n", 2, "store"),
    ("service: [echo]\nbroker: pigeon\n", 2, "broker"), ("service: ['a b']\n", 1, "service"),
    ("service: [echo]\nmodule:\n  echo: {kind: thread, command: [x]}\n", 3, "kind"),
    ("service: [echo]\nmodule:\n  echo: {kind: command, command: [x], timeout_s: -5}\n", 3, "timeout_s"),
    ("service: [echo\n", 2, "")])
def test_a_wrong_file_stops_the_start_and_is_named(tmp_path, program, text, line, key):
    file = config(tmp_path, text)
    for args in (("--config", file), ("--config", file, "--check-config")):
        done = run(program, *args)
        said = done.stdout + done.stderr
        assert done.returncode == 78, said
        assert f"config.yaml:{line}:" in said or key == "", said
        assert key in said, said


@pytest.mark.parametrize("program", PROGRAMS)
def test_check_and_print_config(tmp_path, program):
    file = config(tmp_path, BASE + "mq_conf: {bootstrap_servers: ['127.0.0.1:1'], sasl_plain_username: user-a, "
                  "sasl_plain_password: secret-a}\nbroker: none\nTEST: {MONGO_HOST: 127.0.0.1, MONGO_PASSWORD: secret-b}\n")
    assert run(program, "--config", file, "--check-config").returncode == 0
    done = run(program, "--config", file, "--print-config", env={"MONGO_PASSWORD": "secret-c", "AUTH_TOKEN": "secret-d"})
    assert done.returncode == 0 and "user-a" in done.stdout
    assert "secret" not in done.stdout + done.stderr and "***" in done.stdout
    printed = config(tmp_path / ".." / tmp_path.name, done.stdout)
    assert run(program, "--config", printed, "--check-config").returncode == 0
    assert run(program, "--config", tmp_path / "none.yaml").returncode != 0


def test_the_api_refuses_to_start_without_a_token(tmp_path):
    file = config(tmp_path, BASE)
    done = run("api", "--config", file, env={"AUTH_TOKEN": ""})
    assert done.returncode == 78 and "AUTH_TOKEN" in done.stderr


def test_the_token_may_stand_in_a_file(make_stack, work_dir):
    stack = make_stack(apis=0, config={"auth_token_file": "token"})
    (stack.dir / "token").write_text("from-the-file\n")
    stack.env = lambda env=stack.env(): {name: value for name, value in env.items() if name != "AUTH_TOKEN"}
    stack.start_api()
    stack.call("service_task", {}, token="from-the-file")
    stack.call("service_task", {}, 401, "UNAUTHORIZED")


def test_a_second_api_on_the_same_file_is_refused(make_stack):
    stack = make_stack()
    second = stack.start_api(wait=False)
    second.expect_exit = 75
    assert second.wait() == 75 and "longhaul.db" in second.text()
    stack.create()


def test_a_port_in_use_stops_the_start(make_stack, tmp_path):
    stack = make_stack()
    host, port = stack.api.host_port
    done = run("api", "--config", config(tmp_path, BASE.replace(":0", f":{port}")))
    assert done.returncode != 0 and str(port) in done.stderr


def test_the_log_is_json_and_holds_no_secret(make_stack):
    stack = make_stack()
    stack.call("create_task", {"service": "nobody", "condition": 1}, 400)
    stack.post("tasks", {}, token="wrong-token-" + TOKEN)
    assert stack.api.stop() == 0
    for line in stack.api.lines():
        assert "raw" not in line and {"ts", "level", "component", "msg"} <= set(line), line
        assert line["component"] == "api"
    assert TOKEN not in stack.api.text()


def test_the_api_answers_what_is_in_flight_and_stops(make_stack):
    stack = make_stack()
    stack.create()
    answers = in_threads([lambda: stack.post("claim_task", {"data": {"services": ["echo"], "max": 1, "wait_s": 50}})])
    assert answers[0].json["count"] == 1
    import threading
    got = []
    waiting = threading.Thread(target=lambda: got.append(stack.post("claim_task", {"data": {"services": ["echo"], "wait_s": 50}})))
    waiting.start()
    stack.call("service_task", {})
    assert stack.api.stop() == 0
    waiting.join(60)
    # It was answered empty, or told that the service is stopping, or refused before it was read.
    assert not waiting.is_alive()
    assert not got or got[0].status in (200, 503), got


def test_everything_stays_over_a_restart(make_stack, any_store):
    stack = make_stack(store=any_store)
    waiting, held, running, done = (stack.create(condition={"n": number}, start=number != 1) for number in range(4))
    stack.update(running, "running", message="on it")
    stack.update(done, "finished", result={"x": "ü"})
    ids = (waiting, held, running, done)
    before, page, result = stack.status_of(*ids), stack.call("tasks", {}), stack.result(done)
    stack.api.restart()
    assert stack.status_of(*ids) == before and stack.call("tasks", {}) == page and stack.result(done) == result
    assert json.dumps(result["data"], ensure_ascii=False) == '{"x": "ü"}'
