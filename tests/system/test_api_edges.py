"""The edges of the task API: what a client may send that nobody expects, and how much of it."""
import json
import socket
import threading
import time
import urllib.parse
import uuid

import pytest

from tests.system.stack import TOKEN, connect, in_threads, wait_until

INSIDE = {"create_task": ("priority", "tags", "retry"), "update_status_task": ("progress", "timeout_s"),
          "claim_task": ("claim_id", "worker", "lease_s"), "service_task": ("detail",), "limit_service_task": ("max_running", "max_waiting")}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    from tests.system.stack import Stack
    stack = Stack(tmp_path_factory.mktemp("edges"), services=("echo", "poll", "big"))
    yield stack
    stack.close()


def refused(stack, route, body, names="", **more):
    got = stack.call(route, body, 400, "INVALID_PARAMETER", **more)
    assert got["message"].startswith("Invalid parameter") and names in got["message"], got
    return got


def form(**fields):
    return urllib.parse.urlencode(fields), {"Content-Type": "application/x-www-form-urlencoded"}


def raw_claim(stack, service, wait_s):
    """A claim_task call whose connection is the test's own."""
    client = connect(stack.api)
    body = json.dumps({"services": [service], "wait_s": wait_s})
    client.sendall(f"POST /api/claim_task HTTP/1.1\r\nHost: x\r\nAuthorization: {TOKEN}\r\n"
                   f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
    return client


# ---- bodies


@pytest.mark.parametrize("body", [b"\0", b"\0\0\0", b" \0", b"{}\0", b"\xef\xbb\xbf{}", b"[]", b"null", b'"x"', b"1", b"{", b"{}{}",
                                  b'{"data":null}', b'{"data":5}', b'{"data":"{}"}', b'{"data":{},"data":{}}',
                                  b'{"p_size":1,"p_size":1}', b'{"data":{"p_size":1,"p_size":1}}', b'{"data":{},"d\\u0061ta":{}}',
                                  b'{"x\\u0000":1}', b'{"p_size":01}', b"{'p_size':1}", b'{"p_size":1,}', b'{"x":1e400}', b'{"x":"\xff"}'])
def test_what_is_no_request_is_refused(stack, body):
    refused(stack, "tasks", body)


@pytest.mark.parametrize("body", [b"", b" \r\n\t", b"{}", b'{"data":{}}', b' {"d\\u0061ta":{}}'])
def test_an_empty_request(stack, body):
    stack.call("tasks", body)


def test_escaped_names_are_the_same_names(stack):
    task_id = stack.call("create_task", b'{"d\\u0061ta":{"s\\u0065rvice":"echo","conditio\\u006e":{"\\u0061":1.50}}}')["task_id"]
    rows = stack.post("tasks", {"p_size": 1}).body
    assert task_id.encode() in rows and b'"condition":{"\\u0061":1.50}' in rows


@pytest.mark.parametrize("route", INSIDE)
def test_fields_that_nobody_reads_beside_data_are_refused(stack, route):
    data = {"service": "echo", "condition": 1, "task_id": "x", "status": "running"}
    for name in INSIDE[route]:
        refused(stack, route, {"data": data, name: 1}, names=name)


# ---- forms


@pytest.mark.parametrize("condition", ['{"a":1,"a":2}', "1e400", "9223372036854775808", '{"a\\u0000":1}', "-1e-400"])
def test_a_form_value_that_json_refuses_is_no_text(stack, condition):
    body, headers = form(service="echo", condition=condition)
    refused(stack, "create_task", body, names="condition: ", headers=headers)


@pytest.mark.parametrize("text, value", [("1.0", 1.0), ('"1"', "1"), ("null", None), ("{draft} note", "{draft} note"), ("", ""),
                                         ("a\0b", "a\0b"), ("001", "001"), ("ü", "ü")])
def test_a_form_value_is_json_or_text(stack, text, value):
    body, headers = form(service="echo", condition=text)
    task_id = stack.call("create_task", body, headers=headers)["task_id"]
    row = stack.call("tasks", {"p_size": 1})["data"][0]
    assert row["task_id"] == task_id and row["condition"] == value and type(row["condition"]) is type(value)


def test_a_form_field_given_twice_is_refused(stack):
    refused(stack, "tasks", "p_size=1&p_size=2", headers=form()[1])
    refused(stack, "tasks", "data=%7B%7D&data=%7B%7D", headers=form()[1])


# ---- answers


def test_401_says_how_to_log_in(stack):
    answer = stack.post("tasks", {}, token=None)
    assert answer.status == 401 and answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_null_result_is_no_result(stack):
    task_id, run_id = stack.create(), str(uuid.uuid4())
    stack.update(task_id, "running", run_id=run_id, result=None)
    stack.update(task_id, "finished", run_id=run_id, result=None)
    stack.update(task_id, "finished", run_id=run_id)
    stack.update(task_id, "finished", run_id=run_id, result=None)
    assert stack.result(task_id)["data"] is None


def test_unknown_outcomes_of_an_array_carry_their_ids(make_stack):
    stack = make_stack(api_args=("--store-fault", "apply:1=unknown,apply:2=unknown"))
    answer = stack.post("create_task", {"data": [{"service": "echo", "condition": 1}, {"service": "nobody", "condition": 1}]})
    assert answer.status == 504 and answer.json["code"] == "OUTCOME_UNKNOWN"
    first, second = answer.json["data"]
    assert first["task_id"].startswith("ts_echo_") and first["code"] == "OUTCOME_UNKNOWN" and first["message"]
    assert second["code"] == "SERVICE_NOT_SUPPORT" and "task_id" not in second
    answer = stack.post("create_task", {"service": "echo", "condition": 1})
    assert answer.status == 504 and stack.status(answer.json["task_id"])["status"] == "waiting"


def test_legacy_status_is_for_those_who_may_and_ask_for_what_there_is(make_stack):
    stack = make_stack(config={"legacy_http_status": True}, api_args=("--store-fault", "apply:1=unavailable"))
    answer = stack.post("create_task", {"service": "echo", "condition": 1})
    assert answer.status == 200 and answer.json["code"] == "STORE_UNAVAILABLE" and int(answer.headers["Retry-After"]) > 0
    for body, headers in ((b"{", {}), (b"x", {"Content-Type": "text/plain"})):
        answer = stack.post("tasks", body, headers=headers)
        assert answer.status == 200 and answer.json["result"] == "exception"
    assert stack.post("tasks", {}, token="wrong").status == 401
    answer = stack.post("nothing", {})
    assert answer.status == 200 and answer.json["code"] == "NOT_FOUND"
    answer = stack.request("GET", "/api/tasks")
    assert answer.status == 200 and answer.json["code"] == "METHOD_NOT_ALLOWED" and answer.headers["Allow"] == "POST"
    assert stack.request("POST", "/nothing", b"{}").status == 404
    assert stack.request("POST", "/api/tasks", b"{}", headers={"Transfer-Encoding": "gzip"}).status in (400, 501)


# ---- how much


def test_a_page_has_a_bound_in_bytes(make_stack, any_store):
    stack = make_stack(store=any_store, services=("big",))
    text = "x" * 1_000_000
    for _ in range(20):
        stack.create("big", text)
    assert stack.call("tasks", {"p_size": 10})["count"] == 10
    got = stack.call("tasks", {"p_size": 1000}, 413, "TOO_LARGE")
    assert "p_size" in got["message"]
    assert stack.call("tasks", {"p_size": 10, "page": 2})["total"] == 20
    taken = stack.call("claim_task", {"services": ["big"], "max": 1000})["count"]
    assert 0 < taken <= 20


@pytest.mark.cluster
def test_a_changed_condition_fits_its_topic(make_stack):
    stack = make_stack(broker="kafka", mq={"librdkafka": {"message.max.bytes": "1000"}})
    task_id = stack.create(condition="x", start=False)
    stack.call("update_task", {"task_id": task_id, "condition": "y" * 300})
    stack.call("update_task", {"task_id": task_id, "condition": "y" * 1000}, 413, "TOO_LARGE")
    stack.call("create_task", {"service": "echo", "condition": "y" * 1000}, 413, "TOO_LARGE")
    assert stack.call("tasks", {})["data"][0]["condition"] == "y" * 300


# ---- waiting polls


def test_a_gone_client_does_not_swallow_the_bell_of_others(stack):
    gone = [raw_claim(stack, "poll", 50) for _ in range(3)]
    alive = raw_claim(stack, "poll", 50)
    stack.call("service_task", {})
    time.sleep(0.3)  # only makes sure that all four wait before the clients go; the test holds either way
    for client in gone:
        client.close()
    task_id = stack.create("poll", "bell")
    alive.settimeout(45)
    answer = alive.recv(65536).decode()
    alive.close()
    assert task_id in answer


def test_sigterm_in_the_middle_of_everything(make_stack):
    stack = make_stack(services=("echo", "poll"))
    stop, acknowledged, wrong = threading.Event(), [], []

    def create():
        while not stop.is_set():
            try:
                answer = stack.post("create_task", {"service": "echo", "condition": 1})
            except (OSError, socket.error, Exception):
                return
            if answer.status == 200:
                acknowledged.append(answer.json["task_id"])
            elif answer.status != 503:
                wrong.append(answer)

    def read():
        while not stop.is_set():
            try:
                for route, body in (("tasks", {}), ("status_task", {"data": [{"task_id": "x"}]})):
                    answer = stack.post(route, body)
                    if answer.status not in (200, 503):
                        wrong.append(answer)
                stack.request("GET", "/readyz")
            except Exception:
                return

    began = time.monotonic()
    parked = [raw_claim(stack, "poll", 60) for _ in range(8)]
    threads = [threading.Thread(target=work) for work in (create, create, create, create, read, read)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(acknowledged) > 50)
    parked[0].close()
    assert stack.api.stop() == 0
    stop.set()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 55, "the stop has waited for the polls"
    for client in parked[1:]:
        assert b'"count":0' in client.makefile("rb").read()
        client.close()
    assert not wrong
    assert not [line for line in stack.api.lines() if line["level"] == "error"]
    stack.api.restart()
    ids = list(acknowledged)
    for at in range(0, len(ids), 10):
        assert all(item["status"] == "waiting" for item in stack.status_of(*ids[at:at + 10]))


def waiting_ops(stack):
    page = stack.request("GET", "/metrics").body.decode()
    return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith("longhaul_executor_queue_length{"))


def test_what_waits_for_a_store_that_hangs_is_bounded(make_stack):
    """10000 operations; what a poll says of its worker is one."""
    stack = make_stack(api_args=("--store-fault", "apply:*=delay:600000"))
    nobody = [{"task_id": "ts_echo_00000000-0000-0000-0000-000000000000", "run_id": str(uuid.uuid4())}] * 1000
    calls = [("create_task", {"service": "echo", "condition": 1}), *[("heartbeat_task", {"data": nobody})] * 11]

    def call(route, body):
        try:
            stack.post(route, body)
        except OSError:
            pass  # the API is killed
    threads = [threading.Thread(target=call, args=one, daemon=True) for one in calls]
    for thread in threads:
        thread.start()
    wait_until(lambda: waiting_ops(stack) == 10000, "for the queue to be full")
    answers = [stack.post("claim_task", {"data": {"services": ["echo"], "worker": {"id": "a"}}}).json["code"] for _ in range(50)]
    waiting = waiting_ops(stack)
    stack.api.kill()
    for thread in threads:
        thread.join()
    assert set(answers) == {"OVERLOADED"} and waiting == 10000


# ---- the log


def test_an_outage_of_writing_is_logged_once(make_stack):
    stack = make_stack(api_args=("--store-fault", ",".join(f"apply:{n}=unavailable" for n in range(1, 6))))
    for _ in range(5):
        stack.call("create_task", {"service": "echo", "condition": 1}, 503, "STORE_UNAVAILABLE")
        stack.call("tasks", {})
    stack.create()
    assert len(stack.api.find(msg="store unavailable")) == 1 and len(stack.api.find(msg="store is back")) == 1


def test_a_failed_request_is_logged_with_its_id(make_stack):
    stack = make_stack(api_args=("--store-fault", "apply:1=unavailable"))
    stack.post("create_task", {"service": "echo", "condition": 1}, headers={"X-Request-Id": "r-1"})
    assert stack.api.find(msg="request failed", request_id="r-1")


# ---- readiness


@pytest.mark.parametrize("ms, status", [(1500, 200), (4000, 503)])
def test_readyz_compares_the_clocks(make_stack, ms, status):
    stack = make_stack(api_args=("--store-fault", f"query:*=clock:{ms}"))
    answer = stack.request("GET", "/readyz", token=None)
    assert answer.status == status, answer
    if status == 503:
        assert answer.json["code"] == "STORE_UNAVAILABLE" and "clocks" in answer.json["message"] and answer.headers["Retry-After"]
    stack.create()


@pytest.mark.cluster
def test_readyz_reads_the_clock_of_mongodb(make_stack):
    stack = make_stack(store="mongodb")
    assert stack.request("GET", "/readyz", token=None).status == 200


# ---- documents of other programs


@pytest.mark.cluster
@pytest.mark.parametrize("start, end, spent", [("2026-01-01T00:00:03.250Z", "2026-01-01T00:00:01Z", -2.25), (None, "2026-01-01T00:00:01Z", None)])
def test_odd_times_of_a_foreign_document_are_still_json(make_stack, start, end, spent):
    import datetime
    stack = make_stack(store="mongodb")
    at = [text and datetime.datetime.fromisoformat(text.replace("Z", "+00:00")) for text in (start, end)]
    task_id = f"ts_echo_{uuid.uuid4()}"
    stack.collection("dev_task").insert_one({
        "task_id": task_id, "status": "finished", "service": "echo", "source_name": "", "condition": {}, "create_time": at[1],
        "start_time": at[0], "end_time": at[1], "status_message": {"failed": None, "running": None, "finished": None}})
    assert stack.result(task_id)["spend_time"] == spent
