"""Tokens: scopes, services, expiry, rotation, rates, runs that only their own token speaks for, on both stores."""
import hashlib
import json
import signal
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.system.stack import BUILD, TOKEN, module, wait_until

DATE = "2099-01-01"


def entry(name, secret, scopes, **more):
    return {"name": name, "hash": "sha256:" + hashlib.sha256(secret.encode()).hexdigest(), "scopes": scopes, **more}


LIST = [
    entry("maker", "s-maker", ["create"]),
    entry("reader", "s-reader", ["read"]),
    entry("runner", "s-runner", ["run"]),
    entry("runner2", "s-runner2", ["run"]),
    entry("boss", "s-boss", ["admin", "run"]),
    entry("echo", "s-echo", ["create", "read", "run", "admin"], services=["echo"]),
    entry("old", "s-old", ["read"], expires="2001-01-01"),
    entry("late", "s-late", ["read"], expires=DATE),
    entry("slow", "s-slow", ["read"], rate=0.01, burst=2),
]

# Each route by the scope that it needs.
ROUTES = {
    "create": ["create_task", "start_task", "cancel_task", "update_task"],
    "read": ["status_task", "result_task", "tasks", "timeline_task", "service_task", "history_task", "logs_task", "worker_task"],
    "run": ["claim_task", "update_status_task", "heartbeat_task", "log_task"],
    "admin": ["delete_task", "pause_service_task", "resume_service_task", "limit_service_task"],
}


@pytest.fixture
def stack(make_stack, any_store):
    return make_stack(store=any_store, services=("echo", "other"), config={"tokens": LIST})


@pytest.fixture
def embedded(make_stack):
    return make_stack(services=("echo", "other"), config={"tokens": LIST})


def test_scopes(embedded):
    """Every route answers FORBIDDEN to a token without its scope, by name, and something else to one that has it."""
    owners = {"create": "s-maker", "read": "s-reader", "run": "s-runner", "admin": "s-boss"}
    for scope, routes in ROUTES.items():
        for route in routes:
            for other, secret in owners.items():
                answer = embedded.post(route, {"data": {}}, token=secret)
                allowed = other == scope or (other == "admin" and scope == "run")
                assert (answer.status != 403) == allowed, (route, other, answer)
                if not allowed:
                    assert answer.json["code"] == "FORBIDDEN" and f"lacks the scope {scope}" in answer.json["message"]


def test_unauthorized(embedded):
    for token in (None, "", "nobody", "s-old", "Bearer s-old", TOKEN + "x"):
        answer = embedded.post("tasks", {"data": {}}, token=token)
        assert answer.status == 401 and answer.json["code"] == "UNAUTHORIZED", (token, answer)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "the token old has expired" in embedded.post("tasks", {}, token="s-old").json["message"]
    for token in (TOKEN, "Bearer " + TOKEN, "s-reader", "Bearer s-reader", "s-late"):
        assert embedded.post("tasks", {"data": {}}, token=token).status == 200, token


def test_metrics_tell_of_all_services(embedded):
    ask = lambda token: embedded.request("GET", "/metrics", token=token)
    assert [ask(token).status for token in (None, "s-maker", "s-echo", "s-reader", TOKEN)] == [401, 403, 403, 200, 200]
    assert "not for all services" in ask("s-echo").json["message"]


def test_services(stack):
    mine = stack.create("echo", 1)
    theirs = stack.create("other", 2)
    at = {"token": "s-echo"}
    assert "not for the service other" in \
        stack.call("create_task", {"data": {"service": "other", "condition": 1}}, 403, "FORBIDDEN", **at)["message"]
    items = stack.call("create_task", {"data": [{"service": "other", "condition": 1}, {"service": "echo", "condition": 1}]},
                       **at)["data"]
    assert items[0]["code"] == "FORBIDDEN" and "task_id" in items[1]
    for data in ({"services": ["other"]}, {"services": ["echo", "other"]}):
        stack.call("claim_task", {"data": data}, 403, "FORBIDDEN", **at)
    for route in ("pause_service_task", "resume_service_task"):
        stack.call(route, {"data": {"service": "other"}}, 403, "FORBIDDEN", **at)
    stack.call("limit_service_task", {"data": {"service": "other", "max_running": 1}}, 403, "FORBIDDEN", **at)

    # What is of another service does not exist.
    states = stack.call("status_task", {"data": [{"task_id": mine}, {"task_id": theirs}]}, **at)["status"]
    assert [state["status"] for state in states] == ["waiting", "Invalid"]
    for route in ("result_task", "timeline_task", "logs_task", "cancel_task", "start_task"):
        stack.call(route, {"data": {"task_id": theirs}}, 404, "UNKNOWN_TASK", **at)
    stack.call("result_task", {"data": {"task_id": theirs, "wait_s": 5}}, 404, "UNKNOWN_TASK", **at)
    stack.call("update_task", {"data": {"task_id": theirs, "condition": 3}}, 404, "UNKNOWN_TASK", **at)
    run = str(uuid.uuid4())
    stack.call("update_status_task", {"data": {"task_id": theirs, "status": "running", "run_id": run}}, 404, "UNKNOWN_TASK", **at)
    assert stack.status(theirs)["status"] == "waiting"

    # A task that has ended and is removed leaves nothing to see either.
    stack.update(theirs, "running", run_id=run)
    stack.call("log_task", {"data": {"task_id": theirs, "run_id": run, "stream": "stdout", "offset": 0, "text": "x"}}, 404,
               "UNKNOWN_TASK", **at)
    beats = stack.call("heartbeat_task", {"data": [{"task_id": theirs, "run_id": run}]}, **at)["data"]
    assert beats[0]["code"] == "UNKNOWN_TASK"
    stack.update(theirs, "finished", run_id=run, result=1)
    stack.call("delete_task", {"data": {"task_id": theirs}}, 404, "UNKNOWN_TASK", **at)
    stack.call("delete_task", {"data": {"task_id": theirs}})
    stack.call("delete_task", {"data": {"task_id": theirs}}, 404, "UNKNOWN_TASK", **at)
    stack.call("delete_task", {"data": {"task_id": theirs}}, 410, "TASK_REMOVED")
    assert stack.call("status_task", {"data": [{"task_id": theirs}]}, **at)["status"][0]["status"] == "Invalid"


def test_lists_show_the_services_of_the_token(stack):
    for service in ("echo", "other", "echo"):
        stack.create(service, 1)
    at = {"token": "s-echo"}
    page = stack.call("tasks", {"data": {"p_size": 10}}, **at)
    assert page["total"] == 2 and {task["service"] for task in page["data"]} == {"echo"}
    assert stack.call("tasks", {"data": {"service": "echo"}}, **at)["total"] == 2
    stack.call("tasks", {"data": {"service": ["echo", "other"]}}, 403, "FORBIDDEN", **at)
    assert stack.call("tasks", {"data": {}}, token="s-reader")["total"] == 3
    assert stack.call("service_task", {}, **at) == {"result": "ok", "count": 1, "data": ["echo"]}
    assert list(stack.call("history_task", {}, **at)["services"]) == ["echo"]
    stack.call("history_task", {"data": {"service": "other"}}, 403, "FORBIDDEN", **at)
    detail = stack.call("service_task", {"data": {"detail": True}}, **at)
    assert detail["scopes"] == ["create", "read", "run", "admin"]
    assert stack.call("service_task", {"data": {"detail": True}}, token="s-reader")["scopes"] == ["read"]
    assert stack.call("service_task", {"data": {"detail": True}})["scopes"] == ["create", "read", "run", "admin"]
    assert [one["service"] for one in detail["data"]] == ["echo"] and detail["data"][0]["counts"]["waiting"] == 2

    for name, services in (("both", ["echo", "other"]), ("neither", ["other"])):
        stack.call("heartbeat_task", {"data": [], "worker": {"id": name, "host": "h", "pid": 1, "services": services}})
    workers = stack.call("worker_task", {}, **at)
    assert workers["count"] == 1 and workers["data"][0]["id"] == "both" and workers["data"][0]["services"] == ["echo"]
    assert stack.call("worker_task", {})["count"] == 2


def test_a_run_belongs_to_its_token(stack):
    """Another token with the scope run alone cannot speak for it; admin and AUTH_TOKEN can."""
    task = stack.create("echo", 1)
    got = stack.call("claim_task", {"data": {"services": ["echo"]}}, token="s-runner")["data"][0]
    run = {"task_id": task, "run_id": got["run_id"]}
    report = {"data": {**run, "status": "finished", "result": 1}}
    log = {"data": {**run, "stream": "stdout", "offset": 0, "text": "line\n"}}
    refused = stack.call("update_status_task", report, 403, "FORBIDDEN", token="s-runner2")
    assert "another token claimed the run" in refused["message"]
    stack.call("update_status_task", {"data": {**run, "status": "running"}}, 403, "FORBIDDEN", token="s-runner2")
    stack.call("update_status_task", {"data": {**run, "status": "waiting"}}, 403, "FORBIDDEN", token="s-runner2")
    stack.call("log_task", log, 403, "FORBIDDEN", token="s-runner2")
    beats = stack.call("heartbeat_task", {"data": [run]}, token="s-runner2")["data"]
    assert beats[0]["code"] == "FORBIDDEN" and beats[0]["lease_until"] is None
    assert stack.call("timeline_task", {"data": {"task_id": task}})["data"][0]["token"] == "runner"

    assert stack.call("heartbeat_task", {"data": [run]}, token="s-runner")["data"][0]["lease_until"]
    stack.call("log_task", log, token="s-runner")
    stack.call("heartbeat_task", {"data": [run]}, token="s-boss")
    stack.call("log_task", {"data": {**log["data"], "offset": 5}}, token=TOKEN)
    stack.call("update_status_task", report, token="s-runner")

    # The log of an earlier run is its token's, too.
    stack.call("start_task", {"data": {"task_id": task}})
    again = stack.call("claim_task", {"data": {"services": ["echo"]}}, token="s-runner2")["data"][0]
    late = {"data": {**run, "stream": "stdout", "offset": 10, "text": "late\n"}}
    stack.call("log_task", late, 403, "FORBIDDEN", token="s-runner2")
    stack.call("log_task", late, token="s-runner")
    stack.call("update_status_task", {"data": {"task_id": task, "run_id": again["run_id"], "status": "failed"}}, 403,
               "FORBIDDEN", token="s-runner")
    stack.call("update_status_task", {"data": {"task_id": task, "run_id": again["run_id"], "status": "failed"}}, token=TOKEN)


def test_a_claim_id_brings_its_own_runs_only(stack):
    """Whoever knows the id of another token's call learns nothing by it."""
    claim_id = str(uuid.uuid4())
    task = stack.create("other", "secret")
    first = stack.call("claim_task", {"data": {"services": ["other"], "claim_id": claim_id}}, token="s-runner")["data"]
    assert first[0]["Task"]["task_id"] == task
    for secret, services in (("s-runner2", ["other"]), ("s-echo", ["echo"])):
        assert stack.call("claim_task", {"data": {"services": services, "claim_id": claim_id}}, token=secret)["data"] == []
    again = stack.call("claim_task", {"data": {"services": ["other"], "claim_id": claim_id}}, token="s-runner")["data"]
    assert [run["run_id"] for run in again] == [first[0]["run_id"]]


def test_a_worker_id_is_the_tokens(embedded):
    """A poll ends the one before of the same worker, not that of another token's worker of that name."""
    poll = lambda secret, wait_s: embedded.call("claim_task", {"data": {"services": ["echo"], "wait_s": wait_s, "worker": {"id": "w"}}},
                                                token=secret)["data"]
    waits = lambda: [row for row in embedded.call("worker_task", {})["data"] if row["id"] == "w"]
    with ThreadPoolExecutor() as pool:
        ours = pool.submit(poll, "s-runner", 30)
        wait_until(waits, "for the poll to be there")
        assert poll("s-runner2", 0) == [] and not ours.done()
        embedded.create("echo", 1)
        assert len(ours.result()) == 1


def test_a_workers_entry_is_the_tokens(stack):
    """Another token cannot write over what a consumer says of itself, neither by heartbeats nor by polls."""
    said = {"id": "w-same", "host": "ours", "pid": 1, "services": ["echo"], "slots": 3}
    rows = lambda: {row.get("token"): row["host"] for row in stack.call("worker_task", {})["data"] if row["id"] == "w-same"}
    stack.call("heartbeat_task", {"data": [], "worker": said}, token="s-runner")
    stack.call("heartbeat_task", {"data": [], "worker": {**said, "host": "theirs"}}, token="s-runner2")
    assert rows() == {"runner": "ours", "runner2": "theirs"}
    stack.call("claim_task", {"data": {"services": ["echo"], "worker": {**said, "host": "polls"}}}, token="s-runner2")
    stack.call("heartbeat_task", {"data": [], "worker": {**said, "host": "all"}})
    wait_until(lambda: rows() == {"runner": "ours", "runner2": "polls", None: "all"}, "for the poll's entry")
    refused = stack.call("heartbeat_task", {"data": [], "worker": {**said, "token": "runner"}}, 400, "INVALID_PARAMETER", token="s-runner2")
    assert "token" in refused["message"]


def test_a_claim_without_run_id_belongs_to_its_token(stack):
    task = stack.create("echo", 1)
    say = lambda status, token, *more: stack.call("update_status_task", {"data": {"task_id": task, "status": status}}, *more,
                                                  token=token)
    say("running", "s-runner")
    say("finished", "s-runner2", 403, "FORBIDDEN")
    say("failed", "s-runner2", 403, "FORBIDDEN")
    say("finished", "s-runner")
    # Of the one that may do all, nobody else's.
    stack.call("start_task", {"data": {"task_id": task}})
    say("running", TOKEN)
    say("finished", "s-runner", 403, "FORBIDDEN")
    say("finished", "s-boss")


def test_rate(embedded):
    ask = lambda body="{}": embedded.post("tasks", body, token="s-slow")
    assert [ask().status for _ in range(2)] == [200, 200]
    refused = ask()
    assert refused.status == 429 and refused.json["code"] == "RATE_LIMITED" and 1 <= int(refused.headers["Retry-After"]) <= 100
    assert ask("this is no JSON").status == 429  # not looked at
    assert embedded.post("tasks", "{}", token="s-reader").status == 200


def rewrite(api, tokens):
    """The configuration of an API with other tokens."""
    rows = [row for row in api.config_file.read_text().splitlines() if not row.startswith('"tokens"')]
    api.config_file.write_text("\n".join([*rows, f'"tokens": {json.dumps(tokens)}']) + "\n")


def reload(api, **line):
    before = len(api.find(**line))
    api.process.send_signal(signal.SIGHUP)
    return wait_until(lambda: api.find(**line)[before:], f"for {line}:\n{api.text()[-2000:]}")[0]


def test_rotation(embedded):
    """Old and new are valid at once; then the old one goes. A broken list changes nothing."""
    ok = lambda secret: embedded.post("tasks", {}, token=secret).status
    assert ok("s-reader") == 200 and ok("s-new") == 401
    rewrite(embedded.api, [*LIST, entry("reader", "s-new", ["read"])])
    assert reload(embedded.api, msg="tokens read again")["count"] == len(LIST) + 1
    assert ok("s-reader") == 200 and ok("s-new") == 200
    rewrite(embedded.api, [*LIST, entry("reader", "s-new", ["read"]), entry("reader", "s-3", ["read"])])
    line = reload(embedded.api, msg="tokens not read again: those of before hold")
    assert f"{embedded.api.config_file}:" in line["error"] and "at most 2 tokens may have one name" in line["error"]
    assert ok("s-reader") == 200 and ok("s-new") == 200
    rewrite(embedded.api, [entry("reader", "s-new", ["read"])])
    reload(embedded.api, msg="tokens read again")
    assert ok("s-reader") == 401 and ok("s-new") == 200


def test_a_call_that_waits_outlives_its_token(embedded):
    """The list goes while a claim is parked: what it then gets is still its token's."""
    from tests.system.stack import in_threads
    claimed = []

    def claim():
        claimed.extend(embedded.call("claim_task", {"data": {"services": ["echo"], "wait_s": 30, "worker": {"id": "w"}}},
                                     token="s-runner")["data"])

    def change():
        wait_until(lambda: embedded.call("worker_task", {})["count"] == 1)
        rewrite(embedded.api, [entry("reader", "s-new", ["read"])])
        reload(embedded.api, msg="tokens read again")
        embedded.create("echo", 1)
    in_threads([claim, change])
    timeline = embedded.call("timeline_task", {"data": {"task_id": claimed[0]["Task"]["task_id"]}})
    assert timeline["data"][0]["token"] == "runner"
    assert embedded.post("tasks", {}, token="s-runner").status == 401


def test_tokens_file_and_no_auth_token(make_stack):
    stack = make_stack(apis=0, config={"tokens_file": "tokens.yaml"})
    made = subprocess.run([BUILD / "api" / "longhaul-api", "--make-token", "all"], stdout=subprocess.PIPE, text=True, check=True)
    secret, line = made.stdout.splitlines()
    (stack.dir / "tokens.yaml").write_text("tokens:\n" + line.replace("[read]", "[create, read]") + "\n")
    stack.env = lambda env=stack.env(): {name: value for name, value in env.items() if name != "AUTH_TOKEN"}
    stack.start_api()
    task = stack.call("create_task", {"data": {"service": "echo", "condition": 1}}, token=secret)["task_id"]
    assert stack.call("status_task", {"data": [{"task_id": task}]}, token=secret)["status"][0]["status"] == "waiting"
    assert stack.post("tasks", {}, token=TOKEN).status == 401


@pytest.mark.parametrize("tokens, words", [
    ("- {name: a}", "tokens.a: hash is missing"), ("[]", None), ("5", "tokens: expected a list of tokens")])
def test_a_wrong_list_stops_the_start(make_stack, tokens, words):
    stack = make_stack(apis=0, config={"tokens_file": "tokens.yaml"})
    (stack.dir / "tokens.yaml").write_text(f"tokens:\n  {tokens}\n")
    api = stack.start_api(wait=False)
    if words is None:  # AUTH_TOKEN is there
        api.ready()
        return
    api.expect_exit = 78
    assert api.wait() == 78
    assert any(words in line.get("error", "") and "tokens.yaml:2" in line["error"] for line in api.lines())


def test_a_consumer_with_a_token_of_its_own(make_stack):
    """A whole run with the scope run alone: claim, heartbeat, log, result."""
    secret = "s-consumer"
    stack = make_stack(services={"echo": module("echo")},
                       config={"tokens": [entry("consumer", secret, ["run"], services=["echo"])], "lease_s": 1})
    stack.start_consumer(env={"AUTH_TOKEN": secret})
    task = stack.create("echo", {"say": "hello"})
    assert stack.wait_final(task)["status"] == "finished"
    run = stack.call("timeline_task", {"data": {"task_id": task}})["data"][0]
    assert run["token"] == "consumer" and run["end"] == "finished"


@pytest.mark.parametrize("mended", [True, False])
def test_a_consumer_whose_token_is_renamed(make_stack, mended):
    """It keeps the end of the run while that can be mended, and drops it when the task has gone on without the run."""
    stack = make_stack(services={"echo": module("script")}, config={"tokens": [entry("before", "s-consumer", ["run"])]})
    consumer = stack.start_consumer(env={"AUTH_TOKEN": "s-consumer"})
    kept, go = lambda: list((stack.dir / "data" / "spool").glob("*/*.json")), stack.dir / "go"
    task = stack.create("echo", [["until", str(go)]])
    wait_until(lambda: stack.status(task)["sub_status"] == "started", "for the run's first heartbeat")
    rewrite(stack.api, [entry("after", "s-consumer", ["run"])])
    reload(stack.api, msg="tokens read again")
    go.touch()
    line = consumer.wait_line(level="error", code="FORBIDDEN", task_id=task)
    assert "another token claimed the run" in line["error"] and line["run_id"]
    wait_until(kept, "for the report on disk")
    assert stack.status(task)["status"] == "running"
    if mended:
        rewrite(stack.api, [entry("before", "s-consumer", ["run"])])
        reload(stack.api, msg="tokens read again")
    else:
        stack.call("update_status_task", {"data": {"task_id": task, "run_id": line["run_id"], "status": "waiting"}})
    consumer.process.send_signal(signal.SIGHUP)
    assert stack.wait_final(task)["status"] == "finished"
    wait_until(lambda: not kept(), "for the spool to be empty")
    runs = [(run.get("token"), run["end"]) for run in stack.call("timeline_task", {"data": {"task_id": task}})["data"]]
    assert runs == ([("before", "finished")] if mended else [("before", "handed_back"), ("after", "finished")])
    assert len(consumer.find(code="FORBIDDEN", level="error")) == 1
    assert bool(consumer.find(code="STALE_RUN", task_id=task)) != mended


def audits(api, **fields):
    return api.find(msg="audit", **fields)


def test_audit(stack):
    """Every change has its line, with who asked and what became of it; what is no change has none."""
    task = stack.call("create_task", {"data": {"service": "echo", "condition": 1, "idempotency_key": "k"}}, token="s-maker",
                      headers={"X-Request-Id": "request-1"})["task_id"]
    line = stack.api.wait_line(msg="audit", path="/api/create_task")
    assert (line["token"], line["task_id"], line["service"], line["code"], line["request_id"], line["level"]) == \
        ("maker", task, "echo", "OK", "request-1", "info")
    assert line["address"].startswith("127.0.0.1:")
    stack.call("create_task", {"data": {"service": "echo", "condition": 1, "idempotency_key": "k"}}, token="s-maker")
    assert stack.api.wait_line(msg="audit", detail="duplicate")["task_id"] == task
    stack.create_many("echo", [1, 2, 3])
    bulk = stack.api.wait_line(msg="audit", count=3)
    assert bulk["token"] == "AUTH_TOKEN" and bulk["service"] == "echo" and "task_id" not in bulk

    stack.call("update_task", {"data": {"task_id": task, "condition": 2}}, token="s-maker")
    stack.call("cancel_task", {"data": {"task_id": task}}, token="s-maker")
    stack.call("start_task", {"data": {"task_id": task}}, token="s-maker")
    stack.call("start_task", {"data": {"task_id": "ts_nobody"}}, 404, "UNKNOWN_TASK", token="s-maker")
    stack.call("delete_task", {"data": {"task_id": task}}, 409, "NOT_FINAL", token="s-boss")
    for route in ("pause_service_task", "resume_service_task"):
        stack.call(route, {"data": {"service": "echo"}}, token="s-boss")
    stack.call("limit_service_task", {"data": {"service": "echo", "max_running": 3}}, token="s-boss")
    stack.call("delete_task", {"data": {"task_id": task}}, 403, "FORBIDDEN", token="s-maker")
    stack.call("create_task", {"data": {"service": "other", "condition": 1}}, 403, "FORBIDDEN", token="s-echo")
    stack.api.wait_line(msg="audit", path="/api/create_task", code="FORBIDDEN", token="echo")
    seen = [(line["path"].removeprefix("/api/"), line["token"], line["code"]) for line in audits(stack.api)][3:]
    assert seen == [
        ("update_task", "maker", "OK"), ("cancel_task", "maker", "OK"), ("start_task", "maker", "OK"),
        ("start_task", "maker", "UNKNOWN_TASK"), ("delete_task", "boss", "NOT_FINAL"), ("pause_service_task", "boss", "OK"),
        ("resume_service_task", "boss", "OK"), ("limit_service_task", "boss", "OK"), ("delete_task", "maker", "FORBIDDEN"),
        ("create_task", "echo", "FORBIDDEN")]
    assert audits(stack.api, path="/api/pause_service_task")[0]["service"] == "echo"

    lines = len(audits(stack.api))
    run = stack.take()[0]
    stack.call("heartbeat_task", {"data": [{"task_id": run["Task"]["task_id"], "run_id": run["run_id"]}]})
    stack.update(run["Task"]["task_id"], "finished", run_id=run["run_id"])
    stack.call("tasks", {})
    stack.create("echo", "the last")
    wait_until(lambda: len(audits(stack.api)) > lines)
    assert len(audits(stack.api)) == lines + 1


def test_audit_of_arrays(stack):
    """Items that were refused count, and that one was FORBIDDEN has a line of its own."""
    foreign, own = {"service": "other", "condition": 1}, {"service": "echo", "condition": 1}
    stack.call("create_task", {"data": [foreign, foreign]}, token="s-echo")
    line = stack.api.wait_line(msg="audit", code="FORBIDDEN", path="/api/create_task")
    assert line["token"] == "echo" and "not for the service other" in line["error"]
    stack.call("create_task", {"data": [own, foreign, foreign]}, token="s-echo")
    stack.api.wait_line(msg="audit", code="OK", path="/api/create_task", count=1, refused=2)
    task = stack.create("other", 1)
    run = stack.call("claim_task", {"data": {"services": ["other"]}}, token="s-runner")["data"][0]
    report = {"task_id": task, "run_id": run["run_id"], "status": "finished"}
    stack.call("update_status_task", {"data": [report]}, token="s-runner2")
    assert stack.api.wait_line(msg="audit", code="FORBIDDEN", path="/api/update_status_task")["token"] == "runner2"
    assert stack.request("GET", "/metrics", token="s-echo").status == 403
    assert stack.api.wait_line(msg="audit", code="FORBIDDEN", path="/metrics")["token"] == "echo"


def test_audit_of_what_is_forbidden(stack):
    """Each such call has one line: for want of a scope, for a service, for another token's run. What is refused otherwise before it
    comes to the store has none."""
    told = lambda: [(line["path"].removeprefix("/api/"), line["token"], line.get("task_id"), line["error"]) for line in
                    audits(stack.api, code="FORBIDDEN")]
    want = []

    def forbidden(route, data, secret, words, task=None, status=403):
        stack.call(route, {"data": data}, status, "FORBIDDEN" if status == 403 else None, token=secret)
        path, token, task_id, error = wait_until(lambda: told()[len(want):])[0]
        want.append((path, token, task_id, error))
        assert (path, token, task_id) == (route, secret.removeprefix("s-"), task) and words in error, want[-1]
    for scope, routes in ROUTES.items():
        for route in routes:
            forbidden(route, {}, "s-maker" if scope != "create" else "s-reader", f"lacks the scope {scope}")
    service = {"service": "other"}
    for route, data in (("create_task", {**service, "condition": 1}), ("tasks", service), ("history_task", service),
                        ("claim_task", {"services": ["echo", "other"]}), ("pause_service_task", service),
                        ("resume_service_task", service), ("limit_service_task", {**service, "max_running": 1})):
        forbidden(route, data, "s-echo", "not for the service other")
    task = stack.create("echo", 1)
    run = {"task_id": task, "run_id": stack.call("claim_task", {"data": {"services": ["echo"]}}, token="s-runner")["data"][0]["run_id"]}
    log = {**run, "stream": "stdout", "offset": 0, "text": "x"}
    for route, data, status in (("update_status_task", {**run, "status": "finished"}, 403),
                                ("update_status_task", [{"task_id": "ts_none", "status": "failed"}, {**run, "status": "failed"}] * 2, 200),
                                ("heartbeat_task", [run], 200), ("log_task", log, 403), ("log_task", [log, log], 200)):
        forbidden(route, data, "s-runner2", "another token claimed the run", task, status)

    lines = len(audits(stack.api))
    stack.call("create_task", {"data": {"service": "nobody", "condition": 1}}, 400, "SERVICE_NOT_SUPPORT", token="s-maker")
    stack.call("cancel_task", {"data": {"task_id": 5}}, 400, "INVALID_PARAMETER", token="s-maker")
    stack.call("create_task", {"data": {"service": "echo"}}, 401, "UNAUTHORIZED", token="s-nobody")
    for status in (200, 200, 429):
        assert stack.post("tasks", {}, token="s-slow").status == status
    stack.create("echo", "the last")
    wait_until(lambda: len(audits(stack.api)) > lines)
    assert len(audits(stack.api)) == lines + 1 and told() == want


def test_an_audit_file_that_takes_nothing_is_told_once(make_stack):
    stack = make_stack(config={"audit_file": "/dev/full"})
    stack.create()
    line = stack.api.wait_line(msg="audit lines are lost")
    assert line["file"] == "/dev/full" and line["error"] == "No space left on device"
    stack.create()
    assert len(stack.api.find(msg="audit lines are lost")) == 1


def test_audit_file_and_none(make_stack):
    """Into a file of its own, which is opened again on SIGHUP; the level of the log does not count for it."""
    stack = make_stack(config={"audit_file": "audit.log"}, apis=0)
    stack.start_api(wait=False, more_args=["--log-level", "warning"])
    wait_until(lambda: (stack.dir / "audit.log").exists())
    api = stack.api
    api.address = "http://" + json.loads([row for row in api.config_file.read_text().splitlines()
                                          if row.startswith('"listen"')][0].partition(": ")[2])
    wait_until(lambda: connects(stack))
    file = stack.dir / "audit.log"
    task = stack.create()
    assert json.loads(wait_until(file.read_text))["task_id"] == task and not audits(api)
    file.rename(stack.dir / "audit.old")
    api.process.send_signal(signal.SIGHUP)
    wait_until(file.exists)
    task = stack.create()
    assert json.loads(wait_until(file.read_text))["task_id"] == task

    silent = make_stack(config={"audit": False})
    silent.create()
    silent.call("create_task", {"data": {"service": "nobody", "condition": 1}}, 400)
    assert not audits(silent.api)


def connects(stack):
    try:
        return stack.request("GET", "/healthz").status == 200
    except OSError:
        return False
