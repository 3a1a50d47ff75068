"""Old final tasks are removed by themselves, and old tombstones after them; on both stores.

Nobody waits for tasks to grow old: their times are set back in the store.
"""
import datetime
import sqlite3
import uuid

import pytest

from tests.system.stack import in_threads, wait_until

HOUR = 3600
KEPT = {"finished_s": 2 * HOUR, "failed_s": 4 * HOUR}


def retaining(make_stack, any_store, apis=1, **retention):
    return make_stack(store=any_store, services=("echo", "other"), apis=apis,
                      config={"sweep_s": 0.1, "max_status_task": 1000, "retention": {**KEPT, **retention}})


def set_back(stack, seconds, task_ids, table="task"):
    """Makes tasks, or tombstones, older."""
    times = {"task": ("create", "start", "end"), "gone": ("removed",)}[table]
    if stack.store == "sqlite":
        stack.api.stop()
        with sqlite3.connect(stack.dir / "longhaul.db") as db:
            for name in times:
                db.executemany(f"UPDATE {table} SET {name}_at = {name}_at - ? WHERE task_id = ? AND {name}_at > 0",
                               [(seconds * 1000, task_id) for task_id in task_ids])
        db.close()
        stack.api.restart()
        return
    fields = [f"{name}_time" for name in times]
    for doc in list(docs := stack.collection("dev_task" if table == "task" else "dev_task_gone").find({"task_id": {"$in": task_ids}})):
        docs.collection.update_one({"_id": doc["_id"]}, {"$set": {
            name: doc[name] - datetime.timedelta(seconds=seconds) for name in fields if doc.get(name)}})


def log_rows(stack):
    """How many pieces of logs the store holds."""
    if stack.store == "mongodb":
        return stack.collection("dev_task_log").count_documents({})
    with sqlite3.connect(f"file:{stack.dir}/longhaul.db?mode=ro", uri=True) as db:
        rows = db.execute("SELECT (SELECT count(*) FROM log) + (SELECT count(*) FROM log_chunk)").fetchone()[0]
    db.close()
    return rows


def finished(stack, **more):
    task_id, run = stack.create(**more), str(uuid.uuid4())
    stack.update(task_id, "running", run_id=run)
    stack.call("log_task", {"data": {"task_id": task_id, "run_id": run, "stream": "stdout", "offset": 0, "text": "hello"}})
    stack.update(task_id, "finished", run_id=run, result=[1])
    return task_id


def failed(stack):
    task_id = stack.create()
    stack.update(task_id, "failed", error={"text": "no"})
    return task_id


def cancelled(stack):
    task_id = stack.create()
    stack.call("cancel_task", {"data": {"task_id": task_id}})
    return task_id


def sub_status(stack, *task_ids):
    return [item.get("sub_status") for item in stack.status_of(*task_ids)]


def wait_removed(stack, *task_ids):
    wait_until(lambda: set(sub_status(stack, *task_ids)) == {"removed"}, "for old tasks to be removed")


def test_old_tasks_go_and_others_stay(make_stack, any_store):
    stack = retaining(make_stack, any_store)
    old = finished(stack), failed(stack), cancelled(stack)
    failed_later, held, waiting, running = failed(stack), stack.create(start=False), stack.create(), stack.create()
    stack.update(running, "running", run_id=str(uuid.uuid4()))
    young = finished(stack)
    before = stack.status_of(*old)
    stay = [held, waiting, running, young, failed_later]
    words = [item["status"] for item in stack.status_of(*stay)]
    set_back(stack, 3 * HOUR, [failed_later])
    set_back(stack, 5 * HOUR, [held, waiting, *old])
    wait_removed(stack, *old)
    for was, now in zip(before, stack.status_of(*old)):
        assert now["status"] == was["status"] and now["sub_status"] == "removed" and now["end_time"]
    for task_id in old:
        stack.call("result_task", {"task_id": task_id}, 410, "RESULT_EXPIRED")
        stack.call("start_task", {"task_id": task_id}, 410, "TASK_REMOVED")
    assert [item["status"] for item in stack.status_of(*stay)] == words and "removed" not in sub_status(stack, *stay)
    assert stack.result(young)["data"] == [1]
    assert stack.call("logs_task", {"data": {"task_id": young}})["text"] == "hello"
    page = stack.call("tasks", {"service": "echo", "p_size": 100})
    assert {row["task_id"] for row in page["data"]} == set(stay) and page["total"] == len(stay)
    assert stack.call("tasks", {"status": "failed"})["total"] == 1


def test_logs_go_with_their_task(make_stack, any_store):
    stack = retaining(make_stack, any_store)
    old = finished(stack)
    assert log_rows(stack) > 0
    set_back(stack, 3 * HOUR, [old])
    wait_removed(stack, old)
    assert log_rows(stack) == 0


def test_zero_keeps_for_ever(make_stack, any_store):
    stack = retaining(make_stack, any_store, finished_s=0)
    kept, old = finished(stack), failed(stack)
    set_back(stack, 10000 * HOUR, [kept, old])
    wait_removed(stack, old)
    assert stack.status(kept)["status"] == "finished" and stack.result(kept)["data"] == [1]


def backlog(stack, size):
    """So many old finished tasks of two services."""
    ids = []
    for at in range(0, size, 500):
        service = ("echo", "other")[at // 500 % 2]
        made = stack.create_many(service, range(500))
        stack.call("update_status_task", {"data": [{"task_id": task_id, "status": "finished"} for task_id in made]})
        ids += made
    return ids


def removed_by(api):
    return sum(line["count"] for line in api.find(msg="old tasks removed"))


@pytest.mark.parametrize("store, apis", [("sqlite", 1), pytest.param("mongodb", 2, marks=pytest.mark.cluster)])
def test_creates_go_on_meanwhile(make_stack, store, apis):
    """Each old task is removed by one process, and counted once."""
    stack = retaining(make_stack, store, apis)
    old = backlog(stack, 2000)
    set_back(stack, 3 * HOUR, old)
    made = []

    def create(number):
        while "removed" not in sub_status(stack, old[-1]) or len(made) < 50:
            made.append(stack.create("other", condition=number, api=number % apis))
    in_threads([lambda number=number: create(number) for number in range(4)])
    wait_removed(stack, *old[:1000])
    wait_removed(stack, *old[1000:])
    wait_until(lambda: sum(map(removed_by, stack.apis)) == len(old), "for all removals to be logged once")
    assert {item["status"] for at in range(0, len(made), 1000) for item in stack.status_of(*made[at:at + 1000])} == {"waiting"}
    for service, count in (("echo", 0), ("other", len(made))):
        assert stack.call("tasks", {"service": service})["total"] == count
    rows = {row["service"]: row for row in stack.call("service_task", {"detail": True})["data"]}
    assert rows["other"]["counts"]["waiting"] == len(made) and rows["other"]["counts"]["finished"] == 0


def test_tombstones_go_and_free_their_key(make_stack, any_store):
    stack = retaining(make_stack, any_store, tombstone_s=24 * HOUR)
    key = f"k{uuid.uuid4()}"
    again = {"data": {"service": "echo", "condition": 5, "idempotency_key": key}}
    old, newer = finished(stack, condition=5, idempotency_key=key), finished(stack)
    set_back(stack, 3 * HOUR, [old, newer])
    wait_removed(stack, old, newer)
    got = stack.call("create_task", again)
    assert got["task_id"] == old and got["duplicate"] is True
    set_back(stack, 25 * HOUR, [old], table="gone")
    wait_until(lambda: stack.status(old)["status"] == "Invalid", "for the tombstone to go")
    stack.call("result_task", {"task_id": old}, 404, "UNKNOWN_TASK")
    assert sub_status(stack, newer) == ["removed"]
    got = stack.call("create_task", again)
    assert got["task_id"] != old and "duplicate" not in got


def foreign(stack, task_id, status, age_s=0):
    """A document as a service of the base contract writes it."""
    now = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=age_s)
    end = now if status in ("finished", "failed") else None
    stack.collection().insert_one({
        "task_id": task_id, "status": status, "service": "echo", "source_name": "", "condition": {"x": 1}, "create_time": now,
        "start_time": end, "end_time": end, "status_message": {"failed": None, "running": None, "finished": None}})


@pytest.mark.cluster
def test_a_task_that_lives_hides_its_tombstone(make_stack):
    stack = retaining(make_stack, "mongodb")
    task_id = finished(stack)
    set_back(stack, 3 * HOUR, [task_id])
    wait_removed(stack, task_id)
    foreign(stack, task_id, "waiting")
    got = stack.status(task_id)
    assert got["status"] == "waiting" and got["sub_status"] == "queued"
    assert task_id in [row["task_id"] for row in stack.call("tasks", {"service": "echo"})["data"]]
    stack.update(task_id, "running", run_id=str(uuid.uuid4()))
    stack.call("update_task", {"task_id": task_id, "condition": 2}, 409, "TASK_RUNNING")
    stack.call("result_task", {"task_id": task_id}, 409, "NOT_FINISHED")


@pytest.mark.cluster
def test_documents_of_others_are_left_in_peace(make_stack):
    stack = retaining(make_stack, "mongodb")
    ids = [f"ts_echo_{uuid.uuid4()}" for _ in range(250)]
    for task_id in ids:
        foreign(stack, task_id, "finished", age_s=10 * HOUR)
    ours = finished(stack)
    set_back(stack, 3 * HOUR, [ours])
    wait_removed(stack, ours)
    assert {item["status"] for item in stack.status_of(*ids)} == {"finished"} and stack.collection().count_documents({}) == len(ids)
