"""Faults from outside and inside: the store away, the disk full, processes killed. Nothing is acknowledged that is not kept."""
import ctypes
import itertools
import os
import threading
import uuid

import pytest

from tests.system.stack import PATIENCE_S, in_threads, module, wait_until

MS_NOSUID = 2


def refused_for_now(answer):
    """503: surely not stored, and when to come back."""
    assert answer.status == 503, answer
    got = answer.json
    assert got["result"] == "exception" and got["code"] in ("STORE_UNAVAILABLE", "OVERLOADED", "DRAINING"), got
    assert int(answer.headers["Retry-After"]) > 0
    return got


# ---- the store away


@pytest.mark.cluster
def test_mongodb_down_is_503_and_nothing_is_acknowledged(own_mongo, make_stack):
    stack = make_stack(store="mongodb", mongo=own_mongo)
    kept = stack.create(condition="kept")
    own_mongo.halt()
    # The first may have been under way on a connection that nobody knew to be dead.
    assert stack.post("create_task", {"service": "echo", "condition": "unknown"}).status in (503, 504)
    calls = [("create_task", {"service": "echo", "condition": f"refused {number}"}) for number in range(3)]
    calls += [("status_task", [{"task_id": kept}]), ("result_task", {"task_id": kept}), ("tasks", {}), ("start_task", {"task_id": kept}),
              ("update_status_task", {"task_id": kept, "status": "running"}), ("update_task", {"task_id": kept, "condition": 1})]
    for answer in in_threads([lambda route=route, data=data: stack.post(route, {"data": data}) for route, data in calls]):
        refused_for_now(answer)
    assert stack.request("GET", "/readyz", token=None).status == 503
    assert stack.request("GET", "/healthz", token=None).status == 200
    own_mongo.restart()
    wait_until(lambda: stack.request("GET", "/readyz", token=None).status == 200, "for readyz")
    wait_until(lambda: stack.post("tasks", {}).status == 200, "for the list")
    page = stack.call("tasks", {})
    assert [row["condition"] for row in page["data"]] == ["kept"] and page["total"] == 1
    assert stack.status(kept)["status"] == "waiting"
    stack.update(kept, "finished")


@pytest.mark.cluster
def test_mongodb_that_hangs_is_503_or_504(own_mongo, make_stack):
    stack = make_stack(store="mongodb", mongo=own_mongo)
    stack.create(condition="kept")
    own_mongo.pause()
    answers = in_threads([lambda number=number: stack.post("create_task", {"service": "echo", "condition": number}, timeout_s=150)
                          for number in range(4)])
    own_mongo.resume()
    wait_until(lambda: stack.post("tasks", {}).status == 200, "for the store")
    stored = {row["condition"]: row["task_id"] for row in stack.call("tasks", {"p_size": 100})["data"]}
    for number, answer in enumerate(answers):
        if answer.status == 504:
            got = answer.json
            assert got["code"] == "OUTCOME_UNKNOWN" and got["result"] == "exception"
            assert got["task_id"] == stored.get(number, got["task_id"])
        elif answer.status == 200:
            assert answer.json["task_id"] == stored[number]
        else:
            refused_for_now(answer)
            assert number not in stored, "503 means surely not stored"
    stack.create(condition="after")


@pytest.mark.cluster
def test_the_api_starts_without_mongodb(own_mongo, make_stack):
    own_mongo.halt()
    stack = make_stack(store="mongodb", mongo=own_mongo, apis=0)
    stack.start_api()
    refused_for_now(stack.post("create_task", {"service": "echo", "condition": 1}))
    own_mongo.restart()
    wait_until(lambda: stack.request("GET", "/readyz", token=None).status == 200, "for readyz")
    assert stack.status(stack.create())["status"] == "waiting"


@pytest.mark.cluster
def test_tasks_go_on_after_mongodb_was_away(own_mongo, make_stack, kafka):
    stack = make_stack(store="mongodb", mongo=own_mongo, broker="kafka", kafka=kafka, services={"script": module("script", slots=2)}, consumers=1)
    ids = stack.create_many("script", [[["out", "1\n"]]] * 10)
    own_mongo.restart()
    wait_until(lambda: stack.post("tasks", {}).status == 200, "for the store")
    stack.wait_finished(ids)
    assert stack.call("tasks", {"status": "finished"})["total"] == 10


# ---- the disk full


def mount_tmpfs(folder, size):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", MS_NOSUID, f"size={size}".encode()) != 0:
        return os.strerror(ctypes.get_errno())
    return None


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    error = mount_tmpfs(folder, 4 << 20)
    if error:
        pytest.skip(f"no file system can be mounted here ({error}); the store's faults are tested by --store-fault")
    yield folder
    ctypes.CDLL(None).umount2(os.fsencode(folder), 2)


def test_a_full_disk_acknowledges_nothing_and_passes(make_stack, small_disk):
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (1 << 20))
    stack = make_stack(config={"store": f"sqlite:{small_disk}/longhaul.db"})
    acked, refused = {}, 0
    for number in itertools.count():
        answer = stack.post("create_task", {"service": "echo", "condition": {"n": number, "fill": "x" * 60000}})
        if answer.status == 200:
            acked[answer.json["task_id"]] = number
        else:
            refused_for_now(answer)
            refused += 1
            if refused == 3:
                break
        assert number < 500, "a disk of 4 MiB took 30 MB"
    assert acked
    count_of = lambda: stack.call("tasks", {})["total"]  # noqa: E731
    assert count_of() == len(acked), "reads go on, and what was refused is not there"
    filler.unlink()
    after = stack.create(condition={"n": "after"})
    assert count_of() == len(acked) + 1
    stack.api.kill()
    stack.api.restart()
    assert count_of() == len(acked) + 1 and stack.status(after)["status"] == "waiting"
    stored = {row["task_id"]: row["condition"]["n"] for page in range(1, 10)
              for row in stack.call("tasks", {"p_size": 10, "page": page})["data"]}
    assert {task_id: number for task_id, number in stored.items() if task_id != after} == acked
    stack.update(after, "finished")


# ---- faults from inside


def test_a_slow_store_is_not_asked_twice_to_take_a_task_back(make_stack):
    """Of a store that takes longer than a sweep the next change is the next caller's, not the same lost lease once more."""
    stack = make_stack(config={"lease_s": 0.5, "sweep_s": 0.02},
                       api_args=("--store-fault", "apply:3=delay:1500,apply:4=unavailable"))
    task_id = stack.create()
    stack.update(task_id, "running", run_id=str(uuid.uuid4()))
    stack.wait_status(task_id, "waiting")
    stack.call("create_task", {"data": {"service": "echo", "condition": None}}, 503, "STORE_UNAVAILABLE")


def test_the_store_fails_once(make_stack, any_store):
    stack = make_stack(store=any_store, api_args=("--store-fault", "apply:2=unavailable"))
    first = stack.create(condition=1)
    refused_for_now(stack.post("create_task", {"service": "echo", "condition": 2}))
    third = stack.create(condition=3)
    assert {row["task_id"] for row in stack.call("tasks", {})["data"]} == {first, third}


def test_an_unknown_outcome_is_504_and_carries_the_ids(make_stack):
    stack = make_stack(api_args=("--store-fault", "apply:1=unknown,apply:2=unknown"))
    got = stack.call("create_task", {"service": "echo", "condition": 1}, 504, "OUTCOME_UNKNOWN")
    assert got["task_id"].startswith("ts_echo_")
    answer = stack.post("create_task", {"data": [{"service": "echo", "condition": 1}, {"service": "echo", "condition": 2}]})
    items = answer.json.get("data", [])
    assert len(items) == 2 and all(item.get("task_id", "").startswith("ts_echo_") for item in items), answer


def test_the_api_dies_in_the_store(make_stack, any_store):
    stack = make_stack(store=any_store, api_args=("--store-fault", "apply:4=kill"))
    stack.api.expect_exit = None
    acked = [stack.create(condition=number) for number in range(3)]
    with pytest.raises(OSError):
        stack.post("create_task", {"service": "echo", "condition": 3})
    stack.api.wait()
    stack.api.restart()
    rows = {row["task_id"]: row["condition"] for row in stack.call("tasks", {})["data"]}
    assert [rows[task_id] for task_id in acked] == [0, 1, 2] and len(rows) in (3, 4)


# ---- kill -9


def create_until_it_dies(stack, acked, lock, number):
    for count in itertools.count():
        try:
            answer = stack.post("create_task", {"data": [{"service": "echo", "condition": [number, count, part]} for part in range(3)]})
        except (OSError, Exception) as error:  # the connection died with the process
            if isinstance(error, AssertionError):
                raise
            return
        assert answer.status == 200, answer
        with lock:
            acked.extend(item["task_id"] for item in answer.json["data"])


def test_what_was_acknowledged_survives_kill_9(make_stack, any_store):
    stack = make_stack(store=any_store, config={"max_status_task": 1000})
    everything = []
    for _ in range(3):
        acked, lock = [], threading.Lock()
        threads = [threading.Thread(target=create_until_it_dies, args=(stack, acked, lock, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(acked) >= 60, "for creates")
        stack.api.kill()
        for thread in threads:
            thread.join(PATIENCE_S)
        everything += acked
        stack.api.restart()
        for at in range(0, len(everything), 1000):
            assert {item["status"] for item in stack.status_of(*everything[at:at + 1000])} == {"waiting"}
    ids = [row["task_id"] for page in range(1, 1000) for row in page_of(stack, page)]
    assert len(ids) == len(set(ids)) == stack.call("tasks", {})["total"] >= len(everything)


def page_of(stack, page):
    return stack.call("tasks", {"p_size": 1000, "page": page})["data"] if page <= 20 else []


@pytest.mark.cluster
def test_kill_9_between_store_and_kafka_loses_nothing(make_stack):
    stack = make_stack(store="mongodb", broker="kafka", services={"script": module("script", slots=4)},
                       config={"sweep_s": 0.2, "max_status_task": 1000}, mq={"librdkafka": {"message.timeout.ms": "2000"}})
    acked = []
    for _ in range(3):
        ids = stack.create_many("script", [[["out", "1\n"]]] * 10)
        stack.api.kill()
        acked += ids
        stack.api.restart()
    stack.start_consumer()
    stack.wait_finished(acked)
    assert stack.call("tasks", {})["total"] == len(acked)


def test_kill_9_of_the_api_under_a_consumer(make_stack, tmp_path, any_store):
    notes = tmp_path / "notes"
    stack = make_stack(store=any_store, services={"script": module("script", slots=3)}, consumers=1,
                       config={"max_status_task": 1000, "lease_s": 5})
    ids = stack.create_many("script", [[["note", str(notes)], ["out", "1\n"]]] * 40)
    for wanted in (5, 15):
        wait_until(lambda: notes.exists() and len(notes.read_text().splitlines()) >= wanted, "for runs")
        stack.api.kill()
        stack.api.restart()
    # A claim_task whose answer was lost leaves its tasks with a run that never begins, until its lease runs out.
    stack.wait_finished(ids)
    ran = [line.split()[2] for line in notes.read_text().splitlines()]
    assert len(ran) == len(set(ran)), "a task ran twice"


def test_creates_by_run_id_are_repeatable_over_a_restart(make_stack, any_store):
    stack = make_stack(store=any_store)
    task_id, run_id = stack.create(condition=[1]), str(uuid.uuid4())
    first = stack.update(task_id, "running", run_id=run_id)
    stack.api.kill()
    stack.api.restart()
    assert stack.update(task_id, "running", run_id=run_id) == first
    stack.update(task_id, "running", 409, "ALREADY_CLAIMED", run_id=str(uuid.uuid4()))
    stack.update(task_id, "finished", run_id=run_id, result="r")
    stack.api.kill()
    stack.api.restart()
    stack.update(task_id, "finished", run_id=run_id, result="r")
    assert stack.result(task_id)["data"] == "r"
