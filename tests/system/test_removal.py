"""Tasks that are removed, on both stores: what goes, and what is still told of them."""
import uuid

import pytest

from tests.system.stack import in_threads

NOWHERE = "ts_echo_00000000-0000-0000-0000-000000000000"


@pytest.fixture(scope="module", params=["sqlite", pytest.param("mongodb", marks=pytest.mark.cluster)])
def stack(request, tmp_path_factory):
    from tests.system.stack import Stack
    mongo = request.getfixturevalue("mongo_server") if request.param == "mongodb" else None
    stack = Stack(tmp_path_factory.mktemp("removal"), store=request.param, mongo=mongo, services=("echo", "other"))
    yield stack
    stack.close()
    if mongo:
        stack.collection().database.client.drop_database(stack.db)
        stack.mongo_client.close()


def ended(stack, word, **more):
    task_id = stack.create(**more)
    stack.update(task_id, word, **({"result": [1]} if word == "finished" else {"error": {"text": "no"}}))
    return task_id


@pytest.mark.parametrize("word", ["finished", "failed"])
def test_delete_leaves_a_tombstone(stack, word):
    task_id, run = ended(stack, word, service="other"), str(uuid.uuid4())
    before = stack.status(task_id)
    assert stack.call("delete_task", {"data": {"task_id": task_id}}) == {"result": "ok", "task_id": task_id}
    got = stack.status(task_id)
    assert got["status"] == word and got["sub_status"] == "removed"
    assert (got["start_time"], got["end_time"]) == (before["start_time"], before["end_time"])
    stack.call("result_task", {"task_id": task_id}, 410, "RESULT_EXPIRED")
    for route, more in (("start_task", {}), ("update_task", {"condition": 1}), ("delete_task", {}), ("timeline_task", {}), ("cancel_task", {}),
                        ("logs_task", {}), ("logs_task", {"attempt": 1, "wait_s": 60})):
        stack.call(route, {"task_id": task_id, **more}, 410, "TASK_REMOVED")
    for status in ("running", "finished", "failed"):
        stack.update(task_id, status, 410, "TASK_REMOVED", run_id=run)
    page = stack.call("tasks", {"service": "other"})
    assert task_id not in [row["task_id"] for row in page["data"]] and page["total"] == len(page["data"])


def test_what_has_not_ended_stays(stack):
    held, queued = stack.create(start=False), stack.create()
    running = stack.create()
    stack.update(running, "running", run_id=str(uuid.uuid4()))
    for task_id in (held, queued, running):
        before = stack.status(task_id)
        stack.call("delete_task", {"task_id": task_id}, 409, "NOT_FINAL")
        assert stack.status(task_id) == before
    for route in ("delete_task", "logs_task", "timeline_task"):
        stack.call(route, {"task_id": NOWHERE}, 404, "UNKNOWN_TASK")
    stack.call("delete_task", {}, 400, "INVALID_PARAMETER")


def test_one_who_follows_a_log_is_told_that_it_goes(stack):
    task_id = ended(stack, "failed")
    in_threads([lambda: stack.call("logs_task", {"task_id": task_id, "wait_s": 60}, 410, "TASK_REMOVED"),
                lambda: stack.call("delete_task", {"data": {"task_id": task_id}})])


def test_a_tombstone_keeps_the_idempotency_key(stack):
    key = f"k{uuid.uuid4()}"
    task_id = ended(stack, "finished", condition=5, idempotency_key=key)
    stack.call("delete_task", {"task_id": task_id})
    again = {"data": {"service": "echo", "condition": 5, "idempotency_key": key}}
    got = stack.call("create_task", again)
    assert got["task_id"] == task_id and got["duplicate"] is True
    again["data"]["condition"] = 6
    stack.call("create_task", again, 409, "IDEMPOTENCY_CONFLICT")


def test_a_wait_for_what_is_removed_ends_at_once(stack):
    task_id = ended(stack, "finished")
    stack.call("delete_task", {"task_id": task_id})
    got = stack.call("status_task", {"data": [{"task_id": task_id}], "wait_s": 60, "until": "final"})
    assert got["status"][0]["sub_status"] == "removed"
    stack.call("result_task", {"task_id": task_id, "wait_s": 60}, 410, "RESULT_EXPIRED")
