"""Reading as the specification says it, on both stores, without a consumer: calls that wait for a change, lists.

How long a call waited has a lower bound alone: that it was woken shows by its coming back before its own wait_s was over.
"""
import json
import threading
import time
import uuid
from pathlib import Path

import pytest

from tests.system.stack import PATIENCE_S, TOKEN, connect, wait_until

NOWHERE = "ts_echo_00000000-0000-0000-0000-000000000000"
LONG_S = 60
STORES = ["sqlite", pytest.param("mongodb", marks=pytest.mark.cluster)]


@pytest.fixture(scope="module", params=STORES)
def stack(request, tmp_path_factory):
    from tests.system.stack import Stack
    mongo = request.getfixturevalue("mongo_server") if request.param == "mongodb" else None
    stack = Stack(tmp_path_factory.mktemp("reading"), store=request.param, mongo=mongo,
                  services=("echo", "other", "deep"), config={"max_status_task": 1000})
    yield stack
    stack.close()
    if mongo:
        stack.collection().database.client.drop_database(stack.db)
        stack.mongo_client.close()


def new_run():
    return str(uuid.uuid4())


def refused(stack, route, body, names=""):
    got = stack.call(route, body, 400, "INVALID_PARAMETER")
    assert names in got["message"], got
    return got


class Waiting:
    """A call in a thread of its own."""

    def __init__(self, stack, route, body, **more):
        self.answer, self.seconds = None, None
        began = time.monotonic()

        def run():
            self.answer = stack.post(route, body, **more)
            self.seconds = time.monotonic() - began
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def over(self):
        return self.seconds is not None

    def get(self, status=200):
        wait_until(self.over, "for the call to be answered", timeout_s=LONG_S + PATIENCE_S)
        assert self.answer.status == status, self.answer
        return self.answer.json


class Toggle:
    """Claims a task and hands it back, in turns: whenever a call begins to wait, a change is still to come."""

    def __init__(self, stack, task_id, api=0):
        self.stack, self.task_id, self.api, self.run = stack, task_id, api, None

    def turn(self):
        if self.run:
            self.stack.update(self.task_id, "waiting", run_id=self.run, api=self.api)
            self.run = None
        else:
            self.run = new_run()
            self.stack.update(self.task_id, "running", run_id=self.run, api=self.api)

    def until(self, waiting):
        wait_until(lambda: waiting.over() or self.turn(), "for the call to be woken", every_s=0.1)
        assert waiting.seconds < LONG_S


# ---- calls that wait


def test_a_change_of_any_of_the_tasks_answers(stack):
    tasks = [stack.create() for _ in range(3)]
    waiting = Waiting(stack, "status_task", {"data": [{"task_id": task_id} for task_id in [*tasks, NOWHERE]], "wait_s": LONG_S})
    toggle = Toggle(stack, tasks[2])
    toggle.until(waiting)
    got = waiting.get()["status"]
    assert [item["status"] for item in got[:2]] == ["waiting", "waiting"]
    assert got[2]["attempt"] >= 1 and got[3]["status"] == "Invalid"


def test_until_final_waits_for_all(stack):
    tasks = [stack.create() for _ in range(2)]
    waiting = Waiting(stack, "status_task", {"data": [{"task_id": task_id} for task_id in tasks], "wait_s": LONG_S, "until": "final"})
    for task_id in tasks:
        run = new_run()
        stack.update(task_id, "running", run_id=run)
        assert not waiting.over()
        stack.update(task_id, "finished", run_id=run)
    assert [item["status"] for item in waiting.get()["status"]] == ["finished", "finished"]
    assert waiting.seconds < LONG_S


def test_one_id_in_an_object_and_beside_it(stack):
    for place in (lambda task_id: {"task_id": task_id, "wait_s": LONG_S}, lambda task_id: {"data": {"task_id": task_id, "wait_s": LONG_S}},
                  lambda task_id: {"data": {"task_id": task_id}, "wait_s": LONG_S}):
        task_id = stack.create()
        waiting = Waiting(stack, "status_task", place(task_id))
        Toggle(stack, task_id).until(waiting)
        assert waiting.get()["status"][0]["attempt"] >= 1


def test_when_the_time_is_up_it_says_what_stands(stack):
    task_id = stack.create()
    for until in ("change", "final"):
        waiting = Waiting(stack, "status_task", {"data": [{"task_id": task_id}], "wait_s": 0.3, "until": until})
        assert waiting.get()["status"][0]["status"] == "waiting"
        assert waiting.seconds >= 0.3
    waiting = Waiting(stack, "result_task", {"data": {"task_id": task_id, "wait_s": 0.3}})
    assert waiting.get(409)["code"] == "NOT_FINISHED" and waiting.seconds >= 0.3


def test_what_changes_no_more_is_told_at_once(stack):
    task_id = stack.create()
    stack.update(task_id, "finished")
    for more in ({}, {"until": "final"}):
        for ids in ([task_id], [NOWHERE], [task_id, NOWHERE], []):
            waiting = Waiting(stack, "status_task", {"data": [{"task_id": one} for one in ids], "wait_s": LONG_S, **more})
            assert len(waiting.get()["status"]) == len(ids) and waiting.seconds < LONG_S
    assert stack.call("result_task", {"task_id": NOWHERE, "wait_s": LONG_S}, 404)["code"] == "UNKNOWN_TASK"


def test_result_waits_for_the_end(stack):
    for word, status, more in (("finished", 200, {"result": [1, 2]}), ("failed", 409, {"error": {"text": "no"}})):
        task_id, run = stack.create(), new_run()
        waiting = Waiting(stack, "result_task", {"data": {"task_id": task_id, "wait_s": LONG_S}})
        stack.update(task_id, "running", run_id=run)
        stack.update(task_id, word, run_id=run, **more)
        got = waiting.get(status)
        assert waiting.seconds < LONG_S
        assert got["data"] == [1, 2] if status == 200 else got["code"] == "TASK_FAILED"


def test_many_wait_for_one_task(stack):
    task_id = stack.create()
    waiting = [Waiting(stack, "status_task", {"data": [{"task_id": task_id}] * 3, "wait_s": LONG_S, "until": "final"})
               for _ in range(40)]
    stack.update(task_id, "finished")
    for one in waiting:
        assert [item["status"] for item in one.get()["status"]] == ["finished"] * 3
        assert one.seconds < LONG_S


def test_wrong_waits_are_refused_by_name(stack):
    task_id = stack.create()
    for wait in (-1, 61, "5", None, True, []):
        refused(stack, "status_task", {"data": [{"task_id": task_id}], "wait_s": wait}, "wait_s must be a number from 0 to 60")
        refused(stack, "result_task", {"task_id": task_id, "wait_s": wait}, "wait_s must be a number from 0 to 60")
    for until in ("never", "", 1, None):
        refused(stack, "status_task", {"data": [{"task_id": task_id}], "wait_s": 1, "until": until}, "until must be")
    for name in ("wait_s", "until"):
        refused(stack, "status_task", {"data": [{"task_id": task_id, name: 1}]}, f"{name} must stand beside data")


def raw_wait(stack, task_id, wait_s):
    connection = connect(stack.api)
    body = json.dumps({"data": [{"task_id": task_id}], "wait_s": wait_s})
    connection.sendall(f"POST /api/status_task HTTP/1.1\r\nHost: x\r\nAuthorization: {TOKEN}\r\n"
                       f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
    return connection


def sockets_of(api):
    """Connections that the API has not closed."""
    port = f"{api.host_port[1]:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port}") and row[3] in ("01", "08") for row in rows)  # established, closed by the client


def test_a_client_that_goes_away_frees_its_waiter(stack):
    task_id = stack.create()
    connections = [raw_wait(stack, task_id, LONG_S) for _ in range(20)]
    wait_until(lambda: sockets_of(stack.api) >= 20, "for the connections to be accepted")
    for connection in connections:
        connection.close()
    wait_until(lambda: sockets_of(stack.api) == 0, "for the connections to be closed")
    assert stack.status(task_id)["status"] == "waiting"


def test_a_stop_releases_those_that_wait(make_stack, any_store):
    stack = make_stack(store=any_store, services=("echo",), api_args=["--log-level=debug"])
    task_id = stack.create()
    waiting = [Waiting(stack, "status_task", {"data": [{"task_id": task_id}], "wait_s": LONG_S, "until": "final"}) for _ in range(5)]
    waiting.append(Waiting(stack, "result_task", {"data": {"task_id": task_id, "wait_s": LONG_S}}))
    wait_until(lambda: len(stack.api.find(msg="request", path="/api/status_task")) >= 5 and
               stack.api.find(msg="request", path="/api/result_task"), "for the calls to be taken")
    stack.api.terminate()
    for one in waiting[:-1]:
        assert one.get()["status"][0]["status"] == "waiting"
    assert waiting[-1].get(409)["code"] == "NOT_FINISHED"
    assert all(one.seconds < LONG_S for one in waiting)
    stack.api.ended()


@pytest.mark.cluster
def test_a_change_through_another_process_answers(make_stack):
    stack = make_stack(store="mongodb", services=("echo",), apis=2)
    task_id = stack.create()
    waiting = Waiting(stack, "status_task", {"data": [{"task_id": task_id}], "wait_s": LONG_S})
    Toggle(stack, task_id, api=1).until(waiting)
    assert waiting.get()["status"][0]["attempt"] >= 1
    task_id, run = stack.create(), new_run()
    waiting = Waiting(stack, "result_task", {"data": {"task_id": task_id, "wait_s": LONG_S}})
    stack.update(task_id, "running", run_id=run, api=1)
    stack.update(task_id, "finished", run_id=run, result="far", api=1)
    assert waiting.get()["data"] == "far" and waiting.seconds < LONG_S


# ---- lists


BASE = ["task_id", "service", "status", "condition", "create_time"]


def walk(stack, body, onward="next", param="after"):
    """All pages from this call on, by the cursors of the answers."""
    pages = [stack.call("tasks", body)]
    while pages[-1][onward]:
        more = {key: value for key, value in body.items() if key not in ("page", "after", "before")}
        pages.append(stack.call("tasks", {**more, param: pages[-1][onward]}))
    return pages


def ids(pages):
    return [row["task_id"] for page in pages for row in page["data"]]


@pytest.fixture(scope="module")
def deep(stack):
    """25 tasks, newest first: every third is held, every fifth finished, every seventh (else) failed."""
    tasks = []
    for number in range(25):
        task_id = stack.create("deep", {"n": number}, start=number % 3 != 0,
                               tags={"kind": "even" if number % 2 == 0 else "odd", "n": str(number)})
        if number % 3 and number % 5 == 0:
            stack.update(task_id, "finished", result={"n": number})
        elif number % 3 and number % 7 == 0:
            stack.update(task_id, "failed", error={"class": "fatal", "text": "no"})
        tasks.insert(0, task_id)
    return tasks


def test_cursors_walk_down_and_up(stack, deep):
    for size in (1, 4, 25, 30):
        pages = walk(stack, {"service": "deep", "p_size": size})
        assert ids(pages) == deep
        assert [page["total"] for page in pages] == [25] * len(pages) and "total_is" not in pages[0]
        assert [page["count"] for page in pages] == [len(page["data"]) for page in pages]
        assert pages[0]["prev"] is None and pages[-1]["next"] is None
        assert all(list(row) == BASE for page in pages for row in page["data"])
        last = pages[-1]["data"][-1]
        if len(pages) > 1:
            up = walk(stack, {"service": "deep", "p_size": size, "before": pages[-1]["prev"]}, "prev", "before")
            assert ids(reversed(up)) == ids(pages[:-1])
            assert up[0]["next"] and last["task_id"] == deep[-1]


def test_a_page_has_cursors_too(stack, deep):
    page = stack.call("tasks", {"service": "deep", "p_size": 5, "page": 2})
    assert ids([page]) == deep[5:10]
    assert ids([stack.call("tasks", {"service": "deep", "p_size": 5, "after": page["next"]})]) == deep[10:15]
    assert ids([stack.call("tasks", {"service": "deep", "p_size": 5, "before": page["prev"]})]) == deep[:5]


def test_filters_by_state(stack, deep):
    status = {task_id: stack.status(task_id) for task_id in deep}
    for wanted in ("ready", ["ready"], ["ready", "finished"], ["finished", "failed", "waiting"]):
        names = [wanted] if isinstance(wanted, str) else wanted
        expect = [task_id for task_id in deep if status[task_id]["status"] in names]
        pages = walk(stack, {"service": ["deep"], "status": wanted, "p_size": 3})
        assert ids(pages) == expect and pages[0]["total"] == len(expect)
    for wanted in ("held", ["held", "error"], ["queued"], "dead"):
        names = [wanted] if isinstance(wanted, str) else wanted
        expect = [task_id for task_id in deep if status[task_id]["sub_status"] in names]
        pages = walk(stack, {"service": "deep", "sub_status": wanted, "p_size": 3})
        assert ids(pages) == expect and pages[0]["total"] == len(expect)
    other = stack.create("other")
    page = stack.call("tasks", {"service": ["deep", "other", "nobody"], "p_size": 1000})
    assert page["data"][0]["task_id"] == other and ids([page])[-25:] == deep


def test_filters_by_time(stack, deep):
    rows = stack.call("tasks", {"service": "deep", "p_size": 100})["data"]
    first, last = rows[20]["create_time"], rows[5]["create_time"]
    for body, expect in (({"from": first}, lambda at: at >= first), ({"to": last}, lambda at: at < last),
                         ({"from": first, "to": last}, lambda at: first <= at < last), ({"from": last, "to": first}, lambda at: False),
                         ({"to": "1970-01-01T00:00:00Z"}, lambda at: False)):
        wanted = [row["task_id"] for row in rows if expect(row["create_time"])]
        pages = walk(stack, {"service": "deep", "p_size": 4, **body})
        assert ids(pages) == wanted and pages[0]["total"] == len(wanted), body


def test_filters_by_tags_and_prefix(stack, deep):
    rows = {row["task_id"]: row for row in stack.call("tasks", {"service": "deep", "p_size": 100, "fields": ["task_id", "tags"]})["data"]}
    odd = [task_id for task_id in deep if rows[task_id]["tags"]["kind"] == "odd"]
    pages = walk(stack, {"service": "deep", "tags": {"kind": "odd"}, "p_size": 5})
    assert ids(pages) == odd and pages[0]["total"] == len(odd)
    assert ids(walk(stack, {"tags": {"kind": "odd", "n": "7"}, "service": "deep"})) == [deep[17]]
    assert ids(walk(stack, {"tags": {"kind": "none"}, "service": "deep"})) == []
    assert ids(walk(stack, {"task_id": deep[3]})) == [deep[3]]
    assert ids(walk(stack, {"task_id": "ts_deep_", "p_size": 7})) == deep
    assert ids(walk(stack, {"task_id": "ts_deep_", "status": "finished"})) == [one for one in deep if stack.status(one)["status"] == "finished"]
    assert stack.call("tasks", {"task_id": "ts_nobody"})["total"] == 0


def test_fields(stack, deep):
    done = next(task_id for task_id in deep if stack.status(task_id)["status"] == "finished")
    failed = next(task_id for task_id in deep if stack.status(task_id)["status"] == "failed")
    names = ["task_id", "service", "status", "condition", "create_time", "sub_status", "source_name", "message", "start_time", "end_time",
             "spend_time", "attempt", "run_id", "lease_until", "worker", "progress", "deadline", "priority", "max_attempts", "run_at",
             "tags", "idempotency_key", "error", "result"]
    (row,) = stack.call("tasks", {"task_id": done, "fields": names})["data"]
    assert sorted(row) == sorted(names)
    assert row["result"] == {"n": row["condition"]["n"]} and row["attempt"] == 1 and row["priority"] == 4 and row["error"] is None
    assert row["start_time"] and row["end_time"] and row["spend_time"] >= 0 and row["progress"] is None
    (row,) = stack.call("tasks", {"task_id": failed, "fields": ["error", "sub_status"]})["data"]
    assert row == {"error": {"class": "fatal", "text": "no"}, "sub_status": "error"}
    task_id = stack.create("other", 1, priority=9, delay_s=3000, idempotency_key=f"k{uuid.uuid4()}", max_attempts=3)
    (row,) = stack.call("tasks", {"task_id": task_id, "fields": ["run_at", "priority", "idempotency_key", "max_attempts", "sub_status"]})["data"]
    assert row["run_at"] and row["priority"] == 9 and row["idempotency_key"] and row["max_attempts"] == 3 and row["sub_status"] == "delayed"


@pytest.mark.parametrize("body, names", [
    ({"status": "gone"}, "status"), ({"status": []}, "status"), ({"status": ["ready", 1]}, "status"), ({"status": {}}, "status"),
    ({"sub_status": "waiting"}, "sub_status"), ({"sub_status": ""}, "sub_status"), ({"service": []}, "service"), ({"service": [5]}, "service"),
    ({"from": "yesterday"}, "from"), ({"to": 5}, "to"), ({"from": "2026-13-01T00:00:00Z"}, "from"),
    ({"tags": []}, "tags"), ({"tags": {"a": 1}}, "tags"), ({"tags": {"a": "b\u0000"}}, "tags"), ({"task_id": ""}, "task_id"),
    ({"task_id": "x" * 256}, "task_id"), ({"fields": []}, "fields"), ({"fields": "task_id"}, "fields"), ({"fields": ["colour"]}, "colour"),
    ({"fields": [1]}, "fields"), ({"after": ""}, "after"), ({"after": "x"}, "after"), ({"before": "s0"}, "before"), ({"before": 1}, "before"),
    ({"after": "a", "before": "b"}, "before"), ({"after": "a", "page": 1}, "page"), ({"after": "f" * 1001}, "after")])
def test_wrong_lists_are_refused_by_name(stack, body, names):
    refused(stack, "tasks", body, names)


def test_deep_pages_want_a_cursor(stack, deep):
    assert stack.call("tasks", {"service": "deep", "p_size": 1000, "page": 100})["data"] == []
    for body in ({"p_size": 1000, "page": 101}, {"p_size": 1, "page": 100001}, {"page": 2147483647, "p_size": 1000}):
        got = stack.call("tasks", {"service": "deep", **body}, 400, "USE_CURSOR")
        assert got["message"].startswith("Invalid parameter") and "after" in got["message"]


def test_what_waits_for_a_paused_service_is_paused(stack):
    held, queued = stack.create("other", start=False), stack.create("other")
    for names in ("paused", ["paused", "held"], "queued"):
        assert (queued in ids(walk(stack, {"service": "other", "sub_status": names}))) == (names == "queued")
    stack.call("pause_service_task", {"data": {"service": "other"}})
    try:
        for names in ("paused", ["paused", "held"], "queued"):
            assert (queued in ids(walk(stack, {"service": "other", "sub_status": names}))) == (names != "queued")
        assert held in ids(walk(stack, {"sub_status": ["paused", "held"], "service": "other"}))
        (row,) = stack.call("tasks", {"task_id": queued, "fields": ["sub_status"]})["data"]
        assert row == {"sub_status": "paused"}
    finally:
        stack.call("resume_service_task", {"data": {"service": "other"}})


# ---- timeline_task


RUN = ["attempt", "run_id", "worker", "queued_time", "produced_time", "message", "claimed_time", "started_time", "first_output_time", "ended_time", "silent", "end", "error"]


def timeline(stack, task_id):
    return stack.call("timeline_task", {"data": {"task_id": task_id}})


def test_timeline_tells_every_run(stack):
    task_id = stack.create(max_attempts=5, retry={"kind": "fixed", "base_s": 0})
    got = timeline(stack, task_id)
    assert got["data"] == [] and got["status"] == "waiting" and got["next"]["queued_time"] and got["next"]["message"] is None
    runs = [new_run() for _ in range(3)]
    stack.update(task_id, "running", run_id=runs[0], worker="w1")
    stack.call("heartbeat_task", {"data": [{"task_id": task_id, "run_id": runs[0]}]})
    got = timeline(stack, task_id)
    assert got["next"] is None and got["data"][0]["ended_time"] is None and got["data"][0]["started_time"]
    stack.update(task_id, "failed", run_id=runs[0], error={"class": "retryable", "text": "not yet"})
    wait_until(lambda: stack.status(task_id)["sub_status"] == "queued", "for the retry")
    stack.update(task_id, "running", run_id=runs[1])
    stack.update(task_id, "waiting", run_id=runs[1])
    stack.update(task_id, "running", run_id=runs[2])
    stack.update(task_id, "finished", run_id=runs[2])
    got = timeline(stack, task_id)
    assert [list(run) for run in got["data"]] == [RUN] * 3
    assert [run["run_id"] for run in got["data"]] == runs and [run["attempt"] for run in got["data"]] == [1, 2, 3]
    assert [run["end"] for run in got["data"]] == ["error", "handed_back", "finished"]
    assert got["data"][0]["error"] == "not yet" and got["data"][0]["worker"] == "w1" and got["data"][1]["worker"] is None
    for run in got["data"]:
        assert run["queued_time"] <= run["claimed_time"] <= run["ended_time"] and run["message"] is None
    assert got["create_time"] <= got["stored_time"] <= got["data"][0]["claimed_time"]
    stack.call("start_task", {"task_id": task_id})
    again = timeline(stack, task_id)
    assert again["data"] == got["data"] and again["next"]["queued_time"]


def test_timeline_of_nothing(stack):
    stack.call("timeline_task", {"task_id": NOWHERE}, 404, "UNKNOWN_TASK")
    refused(stack, "timeline_task", {}, "task_id")


@pytest.mark.cluster
def test_timeline_names_the_message(make_stack, any_store):
    stack = make_stack(store=any_store, broker="kafka", services=("echo",))
    task_id, run = stack.create(), new_run()
    place = wait_until(lambda: (timeline(stack, task_id)["next"] or {}).get("message"), "for the delivery report")
    (message,) = stack.messages("echo", at_least=1)
    assert place == {"topic": stack.topic("echo"), "partition": message.partition, "offset": message.offset}
    stack.update(task_id, "running", run_id=run)
    (first,) = timeline(stack, task_id)["data"]
    assert first["message"] == place and first["produced_time"]
