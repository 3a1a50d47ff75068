"""The task API as its specification says it, on both stores, without a consumer: every answer is the API's own."""
import json
import re
import threading
import time
import urllib.parse
import uuid

import pytest

from tests.system.stack import TOKEN, connect, in_threads, wait_until

TASK_ID = re.compile(r"ts_echo_[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
NOWHERE = "ts_echo_00000000-0000-0000-0000-000000000000"


@pytest.fixture(scope="module", params=["sqlite", pytest.param("mongodb", marks=pytest.mark.cluster)])
def stack(request, tmp_path_factory):
    """One stack for the whole file: the tests leave each other alone by service and id."""
    from tests.system.stack import Stack
    mongo = request.getfixturevalue("mongo_server") if request.param == "mongodb" else None
    stack = Stack(tmp_path_factory.mktemp("contract"), store=request.param, mongo=mongo,
                  services=("echo", "other", "third", "paged", "poll", "poll2", "gone"), config={"limits": {"body_kb": 64}, "listen": "127.0.0.1:0"})
    yield stack
    stack.close()
    if mongo:
        stack.collection().database.client.drop_database(stack.db)
        stack.mongo_client.close()


def refused(stack, route, body, code="INVALID_PARAMETER", status=400, names="", **more):
    got = stack.call(route, body, status, code, **more)
    if code == "INVALID_PARAMETER":
        assert got["message"].startswith("Invalid parameter"), got
    assert names in got["message"], got
    return got


def new_run():
    return str(uuid.uuid4())


# ---- how a request may look


def test_bare_and_wrapped_bodies_mean_the_same(stack):
    for body in ({"data": {"service": "echo", "condition": {"x": 1}}}, {"service": "echo", "condition": {"x": 1}},
                 {"data": {"service": "echo", "condition": {"x": 1}}, "service": "nobody", "condition": 2}):
        task_id = stack.call("create_task", body)["task_id"]
        assert TASK_ID.match(task_id)
        assert stack.call("result_task", {"task_id": task_id}, 409)["code"] == "NOT_FINISHED"
        assert stack.call("tasks", {"data": {"p_size": 1}})["count"] == 1


def form(**fields):
    return urllib.parse.urlencode(fields)


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def test_form_bodies(stack):
    got = stack.call("create_task", form(data=json.dumps({"service": "echo", "condition": {"a b": "ä&="}})), headers=FORM)
    (row,) = [row for row in stack.call("tasks", {"p_size": 100})["data"] if row["task_id"] == got["task_id"]]
    assert row["condition"] == {"a b": "ä&="}
    task_id = stack.call("create_task", form(service="echo", condition='{"x": [1, "2"]}', start="false"), headers=FORM)["task_id"]
    assert stack.status(task_id)["status"] == "ready"
    assert stack.call("start_task", form(task_id=task_id), headers=FORM)["task_id"] == task_id
    page = stack.call("tasks", form(p_size="1", page="1", service="echo"), headers=FORM)
    assert page["count"] == 1 and page["data"][0]["condition"] == {"x": [1, "2"]}
    refused(stack, "create_task", form(data="{nothing"), headers=FORM)


def test_a_body_that_begins_with_a_brace_is_json_whatever_the_header_says(stack):
    body = json.dumps({"data": {"service": "echo", "condition": "a=b&c"}})
    for content_type in ("application/x-www-form-urlencoded", "text/plain", "application/json; charset=utf-8"):
        stack.call("create_task", body, headers={"Content-Type": content_type})


def test_an_empty_body_is_an_empty_object(stack):
    assert stack.call("service_task", b"")["data"] == ["echo", "other", "third", "paged", "poll", "poll2", "gone"]
    assert stack.call("tasks", b"")["result"] == "ok"
    refused(stack, "create_task", b"")


@pytest.mark.parametrize("body", [b"[1]", b"1", b"null", b"{", b'{"data": }', b'{"data": 5}', b'{"data": "x"}', b'{"data": null}',
                                  b'{"data": {"service": "echo", "condition": "\xff"}}', b"{} {}", b'{"a": 1'])
def test_what_is_no_request_is_refused(stack, body):
    for route in ("create_task", "result_task", "start_task", "update_task", "update_status_task", "status_task"):
        refused(stack, route, body, headers={"Content-Type": "application/json"})


def test_a_foreign_content_type_is_415(stack):
    refused(stack, "create_task", b"<task/>", "UNSUPPORTED_MEDIA_TYPE", 415, headers={"Content-Type": "text/xml"})


def test_a_body_over_the_limit_is_413_and_changes_nothing(stack):
    before = stack.call("tasks", {"service": "third"})["total"]
    refused(stack, "create_task", {"service": "third", "condition": "x" * 65536}, "TOO_LARGE", 413)
    assert stack.call("tasks", {"service": "third"})["total"] == before


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "QUERY"])
def test_other_methods_are_405(stack, method):
    answer = stack.request(method, "/api/create_task")
    assert answer.status == 405 and "POST" in answer.headers["Allow"]
    if method != "HEAD":
        assert answer.json["code"] == "METHOD_NOT_ALLOWED" and answer.json["result"] == "exception"


@pytest.mark.parametrize("path", ["/api/", "/api/nothing", "/nothing",
                                  "/api/create_task/x"])
def test_unknown_paths_and_routes_of_later_are_404(stack, path):
    answer = stack.request("POST", path, b"{}")
    assert answer.status == 404 and answer.json["code"] == "NOT_FOUND", answer


# ---- who may


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", TOKEN[:-1], "Bearer", "Bearer wrong", "Basic " + TOKEN])
def test_without_the_token_is_401(stack, token):
    for route in ("create_task", "service_task", "tasks"):
        answer = stack.post(route, {"service": "echo", "condition": 1}, token=token)
        assert answer.status == 401, answer
        got = answer.json
        assert got["result"] == "exception" and got["code"] == "UNAUTHORIZED" and got["message"].startswith("Unauthorized")
        assert set(got) == {"result", "message", "code"}


def test_bearer_means_the_same(stack):
    stack.call("service_task", {}, token=f"Bearer {TOKEN}")


def test_health_and_page_need_no_token(stack):
    for path in ("/healthz", "/readyz"):
        answer = stack.request("GET", path, token=None)
        assert answer.status == 200 and answer.json["result"] == "ok"
        assert stack.request("HEAD", path, token=None).status == 200
    page = stack.request("GET", "/", token=None)
    assert page.status == 200 and page.headers["Content-Type"].startswith("text/html") and b"<html" in page.body.lower()


def test_every_answer_carries_the_request_id(stack):
    for sent in ("abc", "x" * 128, "!~"):
        for token in (TOKEN, None):
            answer = stack.post("service_task", {}, headers={"X-Request-Id": sent}, token=token)
            assert answer.headers["X-Request-Id"] == sent
    given = {stack.post("service_task", {}).headers["X-Request-Id"] for _ in range(3)}
    assert len(given) == 3 and all(given)
    for bad in ("x" * 129, "a b", "ü"):
        answer = stack.post("service_task", {}, headers={"X-Request-Id": bad.encode("latin-1")})
        assert answer.status == 200 and answer.headers["X-Request-Id"] not in (bad, "", None)
    assert stack.request("GET", "/nothing", headers={"X-Request-Id": "n-1"}).headers["X-Request-Id"] == "n-1"


# ---- create_task


def test_create_answers_an_id_and_the_task_waits(stack):
    got = stack.call("create_task", {"data": {"service": "echo", "condition": {"x": "x"}}})
    assert set(got) == {"result", "task_id"} and TASK_ID.match(got["task_id"])
    status = stack.status(got["task_id"])
    assert (status["status"], status["message"], status["start_time"], status["end_time"]) == ("waiting", None, None, None)
    assert status["sub_status"] == "queued" and status["attempt"] == 0 and status["error"] is None


@pytest.mark.parametrize("data, names", [
    ({}, "service"), ({"service": "echo"}, "condition"), ({"condition": 1}, "service"),
    ({"service": 5, "condition": 1}, "service"), ({"service": None, "condition": 1}, "service"),
    ({"service": ["echo"], "condition": 1}, "service"), ({"service": "echo", "condition": 1, "start": "no"}, "start"),
    ({"service": "echo", "condition": 1, "start": 0}, "start"), ({"service": "echo", "condition": 1, "start": None}, "start")])
def test_wrong_creates_are_refused_by_name(stack, data, names):
    refused(stack, "create_task", {"data": data}, names=names)


@pytest.mark.parametrize("service", ["nobody", "ECHO", "echo ", " echo", "x" * 200, "ü"])
def test_a_service_that_is_not_configured(stack, service):
    got = refused(stack, "create_task", {"data": {"service": service, "condition": 1}}, "SERVICE_NOT_SUPPORT")
    assert got["message"].startswith("service not support")


@pytest.mark.parametrize("service", ["", "echo\0", "x" * 300])
def test_what_can_be_no_service_name(stack, service):
    refused(stack, "create_task", {"data": {"service": service, "condition": 1}}, names="service")


@pytest.mark.parametrize("name, values", [
    ("idempotency_key", (5, "", "k" * 256, "a\0")), ("priority", (10, -1, 4.0, "4", True)), ("delay_s", (-1, "1", True)),
    ("run_at", (5, "tomorrow", "2030-01-01")), ("timeout_s", (0, -1, "5")), ("expire_s", (0, "5")), ("max_attempts", (0, 1001, 1.5)),
    ("retry", ("fixed", [], 5)), ("tags", ([], "a", {"a": 5}, {"": "x"}, {"a": "x" * 257}, {str(n): "" for n in range(65)}))])
def test_wrong_options_of_creates_are_refused_by_name(stack, name, values):
    before = stack.call("tasks", {})["total"]
    for value in (*values, None):
        refused(stack, "create_task", {"data": {"service": "echo", "condition": 1, name: value}}, names=name)
    assert stack.call("tasks", {})["total"] == before


@pytest.mark.parametrize("retry, names", [
    ({"kind": "linear"}, "retry.kind"), ({"kind": 5}, "kind"), ({"base_s": -1}, "base_s"), ({"max_s": "1"}, "max_s"), ({"jitter": 1.5}, "jitter")])
def test_wrong_retries_are_refused_by_name(stack, retry, names):
    refused(stack, "create_task", {"data": {"service": "echo", "condition": 1, "retry": retry}}, names=names)


def test_options_that_contradict_one_another(stack):
    for more, names in (({"delay_s": 1, "run_at": "2030-01-01T00:00:00.000Z"}, "run_at"), ({"start": False, "delay_s": 1}, "start")):
        refused(stack, "create_task", {"data": {"service": "echo", "condition": 1, **more}}, names=names)
    refused(stack, "create_task", {"service": "echo", "condition": 1, "idempotency_key": "a"}, names="Idempotency-Key",
            headers={"Idempotency-Key": "b"})
    refused(stack, "create_task", {"data": [{"service": "echo", "condition": 1}]}, names="Idempotency-Key", headers={"Idempotency-Key": "b"})


def test_unknown_fields_are_ignored(stack):
    stack.call("create_task", {"data": {"service": "echo", "condition": 1, "colour": "green"}, "other": 1})
    stack.call("tasks", {"colour": 1})


def test_an_array_of_creates_is_answered_item_by_item(stack):
    data = [{"service": "echo", "condition": number} for number in range(5)]
    data[1] = {"service": "nobody", "condition": 1}
    data[3] = {"service": "echo"}
    data.append(7)
    got = stack.call("create_task", {"data": data})
    assert got["count"] == 6 and len(got["data"]) == 6
    for number in (0, 2, 4):
        assert set(got["data"][number]) == {"task_id"}
    assert got["data"][1]["code"] == "SERVICE_NOT_SUPPORT" and got["data"][1]["message"].startswith("service not support")
    for number in (3, 5):
        assert got["data"][number]["code"] == "INVALID_PARAMETER" and got["data"][number]["message"].startswith("Invalid parameter")
    ids = [got["data"][number]["task_id"] for number in (0, 2, 4)]
    assert [item["status"] for item in stack.status_of(*ids)] == ["waiting"] * 3


def test_an_array_takes_a_thousand_and_no_more(stack):
    ids = stack.create_many("other", range(1000))
    assert len(set(ids)) == 1000
    rows = stack.call("tasks", {"service": "other", "p_size": 1000})
    assert rows["total"] == 1000 and [row["condition"] for row in rows["data"]] == list(reversed(range(1000)))
    refused(stack, "create_task", {"data": [{"service": "other", "condition": 1}] * 1001}, "TOO_MANY")
    assert stack.call("tasks", {"service": "other"})["total"] == 1000


# ---- status_task


def test_status_keeps_the_order_and_knows_what_never_existed(stack):
    first, second = stack.create(condition=1), stack.create(condition=2, start=False)
    got = stack.status_of(second, NOWHERE, first, "whatever", first)
    assert [item["task_id"] for item in got] == [second, NOWHERE, first, "whatever", first]
    assert [item["status"] for item in got] == ["ready", "Invalid", "waiting", "Invalid", "waiting"]
    assert got[0]["sub_status"] == "held"
    for item in (got[1], got[3]):
        assert item["start_time"] is None and item["end_time"] is None and item["message"] is None


def test_status_takes_so_many_and_no_more(stack):
    ids = [stack.create(condition=number) for number in range(10)]
    assert len(stack.status_of(*ids)) == 10
    refused(stack, "status_task", {"data": [{"task_id": task_id} for task_id in ids + ids[:1]]}, "TOO_MANY")


@pytest.mark.parametrize("data", [[{}], [{"task_id": 5}], [{"task_id": None}], [5], ["x"], 5, [{"task_id": NOWHERE}, {}]])
def test_wrong_status_requests(stack, data):
    refused(stack, "status_task", {"data": data})


# ---- update_status_task: a module of the base contract


def test_a_base_contract_module(stack):
    task_id = stack.create(condition={"x": 1})
    assert stack.update(task_id, "running", message="begun")["status"] == "running"
    status = stack.status(task_id)
    assert (status["status"], status["message"], status["end_time"]) == ("running", "begun", None)
    assert TIME.match(status["start_time"]) and status["sub_status"] == "claimed" and status["attempt"] == 1
    stack.call("result_task", {"task_id": task_id}, 409, "NOT_FINISHED")
    assert stack.update(task_id, "finished", message="done") == {"task_id": task_id, "status": "finished"}
    status = stack.status(task_id)
    assert (status["status"], status["message"], status["sub_status"]) == ("finished", "done", None)
    assert TIME.match(status["end_time"]) and status["start_time"] <= status["end_time"]
    got = stack.result(task_id)
    assert got["data"] is None and got["start_time"] == status["start_time"] and got["end_time"] == status["end_time"]
    assert isinstance(got["spend_time"], (int, float)) and 0 <= got["spend_time"] < 600


def test_a_message_belongs_to_its_status(stack):
    task_id = stack.create()
    stack.update(task_id, "running", message="begun")
    stack.update(task_id, "failed")
    assert stack.status(task_id)["message"] is None


def test_a_second_running_is_refused_the_same_final_word_is_not(stack):
    task_id = stack.create()
    stack.update(task_id, "running")
    before = stack.status(task_id)
    stack.update(task_id, "running", 409, "ALREADY_CLAIMED")
    assert stack.status(task_id) == before
    stack.update(task_id, "finished", result={"n": 1})
    before = stack.status(task_id)
    assert stack.update(task_id, "finished", result={"n": 2})["status"] == "finished"
    stack.update(task_id, "failed", 409, "ALREADY_FINAL")
    stack.update(task_id, "running", 409, "ALREADY_FINAL")
    assert stack.status(task_id) == before and stack.result(task_id)["data"] == {"n": 1}


@pytest.mark.parametrize("word", ["finished", "failed"])
def test_a_final_word_on_a_waiting_task_claims_and_ends_it(stack, word):
    task_id = stack.create()
    assert stack.update(task_id, word, message="at once")["status"] == word
    status = stack.status(task_id)
    assert status["status"] == word and status["message"] == "at once" and status["attempt"] == 1
    assert status["start_time"] and status["end_time"]


def test_a_held_task_is_not_due(stack):
    task_id = stack.create(start=False)
    for word in ("running", "finished", "failed"):
        stack.update(task_id, word, 409, "NOT_DUE")
    stack.update(task_id, "running", 409, "NOT_DUE", run_id=new_run())
    assert stack.status(task_id)["sub_status"] == "held"


def test_a_failed_task_tells_why(stack):
    task_id = stack.create()
    run_id = new_run()
    stack.update(task_id, "running", run_id=run_id)
    stack.update(task_id, "failed", run_id=run_id, message="no luck", error={"class": "fatal", "text": "disk on fire"})
    status = stack.status(task_id)
    assert status["status"] == "failed" and status["message"] == "no luck"
    assert status["error"] == {"class": "fatal", "text": "disk on fire"}
    got = stack.call("result_task", {"task_id": task_id}, 409, "TASK_FAILED")
    assert "disk on fire" in json.dumps(got)


@pytest.mark.parametrize("data, names", [
    ({}, "task_id"), ({"task_id": 5, "status": "running"}, "task_id"), ({"task_id": NOWHERE}, "status"),
    ({"task_id": NOWHERE, "status": "ready"}, "status"), ({"task_id": NOWHERE, "status": "RUNNING"}, "status"),
    ({"task_id": NOWHERE, "status": "Invalid"}, "status"), ({"task_id": NOWHERE, "status": 1}, "status"),
    ({"task_id": NOWHERE, "status": "running", "message": 5}, "message"),
    ({"task_id": NOWHERE, "status": "running", "run_id": "no uuid"}, "run_id"),
    ({"task_id": NOWHERE, "status": "running", "run_id": 7}, "run_id"),
    ({"task_id": NOWHERE, "status": "failed", "error": "text"}, "error"),
    ({"task_id": NOWHERE, "status": "failed", "error": {"class": "odd", "text": "x"}}, "error"),
    ({"task_id": NOWHERE, "status": "failed", "error": {"class": "fatal", "text": 5}}, "text")])
def test_wrong_updates_are_refused_by_name(stack, data, names):
    refused(stack, "update_status_task", {"data": data}, names=names)


@pytest.mark.parametrize("status, name, value", [
    ("running", "progress", 1.5), ("running", "progress", {}), ("running", "progress", {"done": -1}), ("finished", "progress", 2),
    ("running", "cause", "timeout"), ("failed", "cause", "sorrow"), ("finished", "cause", "error"), ("failed", "cause", 5),
    ("running", "worker", 5), ("running", "worker", "w" * 129), ("running", "timeout_s", 0), ("running", "attempt", 0)])
def test_wrong_additions_to_updates_are_refused_by_name(stack, status, name, value):
    task_id = stack.create()
    refused(stack, "update_status_task", {"data": {"task_id": task_id, "status": status, name: value}}, names=name)
    assert stack.status(task_id)["status"] == "waiting"


def test_an_unknown_id_is_404(stack):
    for route, data in (("update_status_task", {"task_id": NOWHERE, "status": "running"}), ("result_task", {"task_id": NOWHERE}),
                        ("update_status_task", {"task_id": NOWHERE, "status": "finished", "run_id": new_run()}),
                        ("start_task", {"task_id": NOWHERE}), ("update_task", {"task_id": NOWHERE, "condition": 1})):
        got = stack.call(route, {"data": data}, 404, "UNKNOWN_TASK")
        assert got["message"].startswith("Invalid parameter: no such task")


@pytest.mark.parametrize("route", ["result_task", "start_task", "update_task", "update_status_task"])
@pytest.mark.parametrize("task_id", [None, 5, [], {}, True])
def test_a_task_id_must_be_text(stack, route, task_id):
    refused(stack, route, {"task_id": task_id, "condition": 1, "status": "running"}, names="task_id")


# ---- runs with an id


def test_a_claim_answers_all_that_a_run_needs(stack):
    task_id = stack.create(condition={"deep": [1.0, 1]})
    run_id = new_run()
    got = stack.update(task_id, "running", run_id=run_id)
    assert got["task_id"] == task_id and got["status"] == "running" and got["now"] == "running"
    assert got["run_id"] == run_id and got["attempt"] == 1 and got["service"] == "echo" and got["source_name"] == ""
    assert got["condition"] == {"deep": [1.0, 1]} and [type(n) for n in got["condition"]["deep"]] == [float, int]
    assert stack.update(task_id, "running", run_id=run_id) == got
    assert stack.status(task_id)["attempt"] == 1


def test_one_run_holds_a_task(stack):
    task_id = stack.create()
    mine, other = new_run(), new_run()
    stack.update(task_id, "running", run_id=mine)
    before = stack.status(task_id)
    stack.update(task_id, "running", 409, "ALREADY_CLAIMED", run_id=other)
    stack.update(task_id, "running", 409, "ALREADY_CLAIMED")
    stack.update(task_id, "finished", 409, "STALE_RUN", run_id=other)
    stack.update(task_id, "failed", 409, "STALE_RUN", run_id=other)
    stack.update(task_id, "finished", 409, "STALE_RUN")
    assert stack.status(task_id) == before
    stack.update(task_id, "finished", run_id=mine, result=[1, {"a": None}])
    assert stack.result(task_id)["data"] == [1, {"a": None}]
    assert stack.update(task_id, "finished", run_id=mine, result=[1, {"a": None}])["status"] == "finished"
    stack.update(task_id, "failed", 409, "ALREADY_FINAL", run_id=mine)
    stack.update(task_id, "running", 409, "STALE_RUN", run_id=mine)
    stack.update(task_id, "running", 409, "ALREADY_FINAL", run_id=other)
    stack.update(task_id, "finished", 409, "STALE_RUN", run_id=other)
    assert stack.result(task_id)["data"] == [1, {"a": None}]


def test_the_final_report_of_a_run_that_never_claimed_is_stale(stack):
    task_id = stack.create()
    stack.update(task_id, "finished", 409, "STALE_RUN", run_id=new_run())
    assert stack.status(task_id)["status"] == "waiting"


def test_sixteen_claims_at_once_one_wins(stack):
    for _ in range(5):
        task_id = stack.create()
        runs = [new_run() for _ in range(16)]
        answers = in_threads([lambda run=run: stack.post("update_status_task",
                                                         {"data": {"task_id": task_id, "status": "running", "run_id": run}})
                              for run in runs])
        won = [run for run, answer in zip(runs, answers) if answer.status == 200]
        assert len(won) == 1
        assert {answer.json["code"] for answer in answers if answer.status != 200} == {"ALREADY_CLAIMED"}
        stack.update(task_id, "finished", run_id=won[0])


# ---- result_task


def test_results_of_every_kind(stack):
    for result in ({}, [], None, 0, -1.5, "text", False, {"x": [None, {"y": "ü"}]}):
        task_id = stack.create()
        stack.update(task_id, "finished", result=result)
        assert stack.result(task_id)["data"] == result


# ---- tasks


def test_pages_newest_first_with_exact_totals(stack):
    ids = [stack.create("paged", number) for number in range(25)]
    stack.update(ids[3], "running")
    stack.update(ids[4], "finished")
    stack.update(ids[5], "failed")
    newest = list(reversed(ids))
    page = stack.call("tasks", {"service": "paged"})
    assert page["total"] == 25 and page["count"] == 10 and [row["task_id"] for row in page["data"]] == newest[:10]
    for row in page["data"]:
        assert set(row) >= {"task_id", "service", "status", "condition", "create_time"} and TIME.match(row["create_time"])
        assert row["service"] == "paged"
    page = stack.call("tasks", {"service": "paged", "p_size": 10, "page": 3})
    assert page["count"] == 5 and [row["task_id"] for row in page["data"]] == newest[20:] and page["total"] == 25
    page = stack.call("tasks", {"service": "paged", "p_size": 1000, "page": 2})
    assert page["count"] == 0 and page["data"] == [] and page["total"] == 25
    for status, total in (("waiting", 22), ("running", 1), ("finished", 1), ("failed", 1), ("ready", 0)):
        page = stack.call("tasks", {"service": "paged", "status": status})
        assert page["total"] == total and {row["status"] for row in page["data"]} <= {status}
    assert stack.call("tasks", {"status": "finished"})["total"] >= 1


@pytest.mark.parametrize("name", ["p_size", "page"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "ten", None, [], True])
def test_page_numbers_are_integers_in_range(stack, name, value):
    got = refused(stack, "tasks", {name: value}, names=name)
    if name == "p_size":
        assert got["message"] == "Invalid parameter: p_size must be an integer from 1 to 1000"


def test_wrong_filters(stack):
    refused(stack, "tasks", {"p_size": 1001}, names="p_size")
    for value in ("bogus", 5, "Invalid"):
        refused(stack, "tasks", {"status": value}, names="status")
    refused(stack, "tasks", {"service": 5}, names="service")


# ---- start_task


def test_start_queues_a_held_task(stack):
    task_id = stack.create(start=False, condition={"x": 1})
    assert stack.call("start_task", {"task_id": task_id}) == {"result": "ok", "task_id": task_id}
    assert stack.status(task_id)["status"] == "waiting"
    for _ in range(2):
        stack.call("start_task", {"task_id": task_id}, 409, "ALREADY_QUEUED")
    stack.update(task_id, "running")
    stack.call("start_task", {"task_id": task_id}, 409, "ALREADY_QUEUED")
    assert stack.status(task_id)["status"] == "running"


@pytest.mark.parametrize("word", ["finished", "failed"])
def test_start_runs_a_final_task_again(stack, word):
    task_id = stack.create(condition="again")
    old = new_run()
    stack.update(task_id, "running", run_id=old, message="one")
    more = {"result": {"n": 1}} if word == "finished" else {"error": {"class": "fatal", "text": "bad"}}
    stack.update(task_id, word, run_id=old, message="two", **more)
    stack.call("start_task", {"task_id": task_id})
    status = stack.status(task_id)
    assert (status["status"], status["message"], status["start_time"], status["end_time"], status["error"]) == (
        "waiting", None, None, None, None)
    stack.call("result_task", {"task_id": task_id}, 409, "NOT_FINISHED")
    stack.update(task_id, "running", 409, "STALE_RUN", run_id=old)
    run_id = new_run()
    got = stack.update(task_id, "running", run_id=run_id)
    assert got["attempt"] == 2 and got["condition"] == "again"
    assert stack.status(task_id)["message"] is None
    stack.update(task_id, "finished", run_id=run_id)
    assert stack.result(task_id)["data"] is None


# ---- update_task


def test_update_changes_the_condition_until_the_task_runs(stack):
    for more in ({}, {"start": False}):
        task_id = stack.create(condition={"x": 1}, **more)
        assert stack.call("update_task", {"task_id": task_id, "condition": {"x": 2}}) == {"result": "ok", "task_id": task_id}
        if more:
            assert stack.status(task_id)["sub_status"] == "held"
            stack.call("start_task", {"task_id": task_id})
        run_id = new_run()
        assert stack.update(task_id, "running", run_id=run_id)["condition"] == {"x": 2}
        stack.call("update_task", {"task_id": task_id, "condition": 3}, 409, "TASK_RUNNING")
        stack.update(task_id, "finished", run_id=run_id)
        stack.call("update_task", {"task_id": task_id, "condition": None})
        assert stack.status(task_id)["status"] == "finished"


def test_update_task_needs_a_condition(stack):
    task_id = stack.create()
    refused(stack, "update_task", {"task_id": task_id}, names="condition")


def test_services_by_name(stack):
    got = stack.call("service_task", {"data": {}})
    assert got["count"] == len(got["data"]) == 7


# ---- claim_task


def test_claim_task_gives_the_oldest_first(stack):
    ids = stack.create_many("third", [{"n": number} for number in range(5)])
    held = stack.create("third", start=False)
    got = stack.take("third", max=3)
    assert [item["Task"]["task_id"] for item in got] == ids[:3]
    for number, item in enumerate(got):
        assert item["Task"] == {"task_id": ids[number], "service": "third", "source_name": "", "condition": {"n": number}}
        assert uuid.UUID(item["run_id"]) and item["attempt"] == 1
    assert len({item["run_id"] for item in got}) == 3
    assert [item["status"] for item in stack.status_of(*ids)] == ["running"] * 3 + ["waiting"] * 2
    stack.update(ids[0], "finished", run_id=got[0]["run_id"], result=1)
    stack.update(ids[1], "finished", 409, "STALE_RUN", run_id=got[0]["run_id"])
    rest = stack.take("third", max=1000)
    assert [item["Task"]["task_id"] for item in rest] == ids[3:]
    assert stack.take("third") == []
    assert stack.status(held)["status"] == "ready"


def test_claim_task_of_several_services(stack):
    first, second = stack.create("poll", 1), stack.create("poll2", 2)
    got = stack.call("claim_task", {"data": {"services": ["poll2", "poll"], "max": 10}})
    assert got["count"] == 2
    assert [item["Task"]["task_id"] for item in got["data"]] == [first, second]


def test_a_waiting_claim_is_woken_by_a_create(stack):
    answers = []
    waiting = threading.Thread(target=lambda: answers.append((stack.take("poll", wait_s=50), time.monotonic())))
    waiting.start()
    # Nothing tells from outside that the call waits; creating a little later or at once must give the same.
    task_id = stack.create("poll", "bell")
    created = time.monotonic()
    waiting.join(60)
    assert answers, "the waiting call got no answer"
    got, answered = answers[0]
    assert [item["Task"]["task_id"] for item in got] == [task_id]
    assert answered - created < 45, "the call waited although there was a task"


def test_a_waiting_claim_ends_empty_after_its_time(stack):
    began = time.monotonic()
    assert stack.take("poll", wait_s=0.3) == []
    assert time.monotonic() - began > 0.25


def test_a_waiting_claim_whose_client_is_gone_takes_nothing(stack):
    body = json.dumps({"data": {"services": ["gone"], "max": 10, "wait_s": 50}})
    clients = [connect(stack.api) for _ in range(3)]
    for client in clients:
        client.sendall(f"POST /api/claim_task HTTP/1.1\r\nHost: x\r\nAuthorization: {TOKEN}\r\n"
                       f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    # A call that comes after theirs and finds nothing: by now they wait, and no claim of theirs is under way.
    for _ in range(3):
        assert stack.take("gone") == []
    for client in clients:
        client.close()
    task_id = stack.create("gone", 1)
    got = wait_until(lambda: stack.take("gone", wait_s=1), "for the task that nobody else may have taken")
    assert got[0]["Task"]["task_id"] == task_id


@pytest.mark.parametrize("data, names", [
    ({}, "services"), ({"services": "echo"}, "services"), ({"services": []}, "services"), ({"services": [5]}, "services"),
    ({"services": ["echo"], "max": 0}, "max"), ({"services": ["echo"], "max": 1001}, "max"), ({"services": ["echo"], "max": "1"}, "max"),
    ({"services": ["echo"], "wait_s": 61}, "wait_s"), ({"services": ["echo"], "wait_s": -1}, "wait_s"),
    ({"services": ["echo"], "wait_s": "1"}, "wait_s"), ({"services": ["echo"], "claim_id": "one"}, "claim_id"),
    ({"services": ["echo"], "lease_s": 0.09}, "lease_s must be a number from 0.1 to 86400"),
    ({"services": ["echo"], "lease_s": 86401}, "lease_s must be a number from 0.1 to 86400"),
    ({"services": ["echo"], "lease_s": "5"}, "lease_s must be a number from 0.1 to 86400")])
def test_wrong_claims_are_refused_by_name(stack, data, names):
    refused(stack, "claim_task", {"data": data}, names=names)


def test_a_claim_that_is_made_again_brings_the_same(make_stack, any_store):
    stack = make_stack(store=any_store, services=("echo",))
    stack.create_many("echo", range(5))
    one, other = str(uuid.uuid4()), str(uuid.uuid4())
    first = stack.take(max=2, claim_id=one)
    assert len(first) == 2
    assert stack.take(max=2, claim_id=one) == first
    assert stack.take(max=5, claim_id=one, wait_s=1) == first
    assert len(stack.take(max=1, claim_id=other)) == 1
    stack.api.restart()
    assert stack.take(max=2, claim_id=one) == first
    stack.update(first[0]["Task"]["task_id"], "finished", run_id=first[0]["run_id"])
    assert stack.take(max=2, claim_id=one) == first[1:]
    assert len(stack.take(max=9)) == 2


def test_claiming_for_an_unknown_service(stack):
    refused(stack, "claim_task", {"data": {"services": ["echo", "nobody"]}}, "SERVICE_NOT_SUPPORT")
