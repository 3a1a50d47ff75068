"""A create that is repeated with its idempotency key makes one task, whatever happens between."""
import pytest

from tests.system.runs import STORES, claim, new_run, refused, running, shared_stack
from tests.system.stack import in_threads


@pytest.fixture(scope="module", params=STORES)
def stack(request, tmp_path_factory):
    yield from shared_stack(request, tmp_path_factory, ("echo", "other", "counted"), {"sweep_s": 0.05})


def ask(stack, key, service="echo", condition=1, header=None, **more):
    """The answer's JSON."""
    data = {"service": service, "condition": condition, **({"idempotency_key": key} if key is not None else {}), **more}
    return stack.call("create_task", {"data": data}, headers={"Idempotency-Key": header} if header else {})


def conflict(stack, data, headers=None):
    return stack.call("create_task", {"data": data}, 409, "IDEMPOTENCY_CONFLICT", headers=headers or {})


def test_the_same_key_and_data_are_the_same_task(stack):
    key = new_run()
    first = ask(stack, key, condition={"x": [1, 2.5, "ü"], "y": None}, priority=7, tags={"a": "b"})
    assert "duplicate" not in first
    before = stack.call("tasks", {"service": "echo"})["total"]
    for _ in range(3):
        again = ask(stack, key, condition={"x": [1, 2.5, "ü"], "y": None}, priority=7, tags={"a": "b"})
        assert again["task_id"] == first["task_id"] and again["duplicate"] is True
    assert stack.call("tasks", {"service": "echo"})["total"] == before


def test_data_is_compared_as_parsed(stack):
    key = new_run()
    text = '{"data": {"service": "echo", "idempotency_key": "%s", "condition": {"a": 1, "b": "\\u00fc"}}}' % key
    first = stack.call("create_task", text)["task_id"]
    other = '{"data":{"condition":{"b":"ü","a":1},"idempotency_key":"%s","service":"echo"}}' % key
    assert stack.call("create_task", other) == {"result": "ok", "task_id": first, "duplicate": True}
    bare = '{"condition":{"b":"ü","a":1},"idempotency_key":"%s","service":"echo"}' % key
    assert stack.call("create_task", bare)["task_id"] == first


@pytest.mark.parametrize("other", [{"condition": 2}, {"condition": 1.0}, {"condition": "1"}, {"condition": 1, "priority": 5},
                                   {"condition": 1, "max_attempts": 2}, {"condition": 1, "tags": {"a": "b"}}])
def test_other_data_is_a_conflict_and_changes_nothing(stack, other):
    key = new_run()
    first = ask(stack, key)["task_id"]
    before = stack.call("tasks", {"service": "echo"})["total"]
    conflict(stack, {"service": "echo", "idempotency_key": key, **other})
    assert stack.call("tasks", {"service": "echo"})["total"] == before
    assert ask(stack, key)["task_id"] == first


def test_the_header_is_the_key_too(stack):
    key = new_run()
    first = ask(stack, None, header=key)["task_id"]
    assert ask(stack, None, header=key) == {"result": "ok", "task_id": first, "duplicate": True}
    assert ask(stack, key) == {"result": "ok", "task_id": first, "duplicate": True}
    assert ask(stack, key, header=key)["task_id"] == first
    got = stack.call("create_task", {"data": {"service": "echo", "condition": 1, "idempotency_key": key}}, 400, "INVALID_PARAMETER",
                     headers={"Idempotency-Key": new_run()})
    assert "idempotency" in got["message"].lower()


def test_a_key_is_of_its_service(stack):
    key = new_run()
    ids = {ask(stack, key, service=service)["task_id"] for service in ("echo", "other")}
    assert len(ids) == 2 and {ask(stack, key, service=service)["task_id"] for service in ("echo", "other")} == ids


@pytest.mark.parametrize("key", ["", "k" * 256, 5, None, [], "nul\0inside"])
def test_wrong_keys_are_refused_by_name(stack, key):
    refused(stack, "create_task", {"data": {"service": "echo", "condition": 1, "idempotency_key": key}}, "idempotency_key")


@pytest.mark.parametrize("key", ["k", "k" * 255, "ü.$ \"'\\/ключ", "Key", "kEY"])
def test_any_text_is_a_key(stack, key):
    first = ask(stack, key, service="other", condition=key)["task_id"]
    assert ask(stack, key, service="other", condition=key) == {"result": "ok", "task_id": first, "duplicate": True}


def test_a_key_is_remembered_whatever_becomes_of_the_task(stack):
    key = new_run()
    first = ask(stack, key)["task_id"]
    run_id, _ = claim(stack, first)
    assert ask(stack, key) == {"result": "ok", "task_id": first, "duplicate": True}
    stack.update(first, "finished", run_id=run_id, result=1)
    before = stack.status(first)
    assert ask(stack, key) == {"result": "ok", "task_id": first, "duplicate": True}
    assert stack.status(first) == before
    stack.call("start_task", {"task_id": first})
    stack.call("update_task", {"task_id": first, "condition": 2})
    assert ask(stack, key)["task_id"] == first, "the data is the first request's"


def test_tasks_without_a_key_are_all_different(stack):
    assert len({ask(stack, None)["task_id"] for _ in range(5)}) == 5


# ---- many at once


def test_an_array_has_keys_of_its_items(stack):
    keys = [new_run() for _ in range(3)]
    known = ask(stack, keys[0])["task_id"]
    before = stack.call("tasks", {"service": "echo"})["total"]
    items = [{"service": "echo", "condition": 1, "idempotency_key": key} for key in (keys[0], keys[1], keys[1], keys[2])]
    items += [{"service": "echo", "condition": 2, "idempotency_key": keys[2]}, {"service": "echo", "condition": 1}]
    got = stack.call("create_task", {"data": items})["data"]
    assert got[0] == {"task_id": known, "duplicate": True}
    assert got[1]["task_id"] == got[2]["task_id"] != known and "duplicate" not in got[1] and got[2]["duplicate"] is True
    assert got[4]["code"] == "IDEMPOTENCY_CONFLICT" and "duplicate" not in got[3] and "duplicate" not in got[5]
    assert stack.call("tasks", {"service": "echo"})["total"] == before + 3
    refused(stack, "create_task", {"data": items[:1]}, "Idempotency-Key", headers={"Idempotency-Key": keys[0]})


def test_thirty_two_at_once_are_one_task(stack):
    for number in range(3):
        key = new_run()
        got = in_threads([lambda: ask(stack, key, service="counted", condition=number)] * 32)
        assert len({item["task_id"] for item in got}) == 1
        assert sum("duplicate" not in item for item in got) == 1
        assert stack.call("tasks", {"service": "counted"})["total"] == number + 1


@pytest.mark.cluster
def test_thirty_two_through_two_apis_are_one_task(make_stack):
    stack = make_stack(store="mongodb", apis=2)
    for number in range(3):
        data = {"service": "echo", "condition": number, "idempotency_key": new_run()}
        got = in_threads([lambda api=api % 2: stack.call("create_task", {"data": data}, api=api) for api in range(32)])
        assert len({item["task_id"] for item in got}) == 1
        assert sum("duplicate" not in item for item in got) == 1
        assert stack.call("tasks", {}, api=1)["total"] == number + 1


# ---- a full queue, and a process that dies


def test_a_duplicate_needs_no_room(make_stack, any_store):
    stack = make_stack(store=any_store, config={"limits": {"waiting_per_service": 2}})
    key = new_run()
    first = ask(stack, key)["task_id"]
    stack.create()
    stack.call("create_task", {"data": {"service": "echo", "condition": 1}}, 429, "QUEUE_FULL")
    stack.call("create_task", {"data": {"service": "echo", "condition": 1, "idempotency_key": new_run()}}, 429, "QUEUE_FULL")
    assert ask(stack, key) == {"result": "ok", "task_id": first, "duplicate": True}
    conflict(stack, {"service": "echo", "condition": 2, "idempotency_key": key})


def test_a_refused_create_leaves_its_key_free(make_stack, any_store):
    stack = make_stack(store=any_store, config={"limits": {"waiting_per_service": 1}})
    held, run_id = running(stack)
    stack.create()
    key = new_run()
    stack.call("create_task", {"data": {"service": "echo", "condition": 1, "idempotency_key": key}}, 429, "QUEUE_FULL")
    (item,) = stack.take()
    assert "duplicate" not in ask(stack, key), "there is room now, and no task of that key yet"
    stack.update(item["Task"]["task_id"], "finished", run_id=item["run_id"])
    stack.update(held, "finished", run_id=run_id)


def test_twins_in_an_array_need_room_for_one(make_stack, any_store):
    stack = make_stack(store=any_store, config={"limits": {"waiting_per_service": 2}})
    key, other = new_run(), new_run()
    items = [{"service": "echo", "condition": 1, "idempotency_key": name} for name in (key, key, other)]
    got = stack.call("create_task", {"data": items})["data"]
    assert got[0]["task_id"] == got[1]["task_id"] and got[1]["duplicate"] is True, got
    assert "task_id" in got[2] and "duplicate" not in got[2], got


@pytest.mark.cluster
def test_a_repeated_create_sends_no_second_message(make_stack, any_store):
    stack = make_stack(store=any_store, broker="kafka")
    key, other = new_run(), new_run()
    first = ask(stack, key)["task_id"]
    assert ask(stack, key)["duplicate"] is True
    items = [{"service": "echo", "condition": 1, "idempotency_key": name} for name in (key, other, other, key)]
    got = stack.call("create_task", {"data": items})["data"]
    last = stack.create()
    assert [message.key.decode() for message in stack.messages("echo", 3)] == [first, got[1]["task_id"], last]


@pytest.mark.cluster
def test_a_claim_beside_repeated_creates_finds_its_task(make_stack):
    """One batch of the store may hold both."""
    stack = make_stack(store="mongodb", broker="kafka")
    key = new_run()
    task_id = ask(stack, key)["task_id"]
    stack.update(task_id, "running", run_id=new_run())

    def repeat():
        return ask(stack, key)["task_id"]

    def claims():
        return [stack.update(task_id, "running", 409, "ALREADY_CLAIMED", run_id=new_run())["code"] for _ in range(40)]
    got = in_threads([claims, *[lambda: [repeat() for _ in range(20)]] * 4, claims])
    assert got == [["ALREADY_CLAIMED"] * 40, *[[task_id] * 20] * 4, ["ALREADY_CLAIMED"] * 40]


def test_a_key_survives_kill_9(make_stack, any_store):
    stack = make_stack(store=any_store)
    keys = [new_run() for _ in range(5)]
    ids = [ask(stack, key)["task_id"] for key in keys]
    stack.api.kill()
    stack.api.restart()
    for key, task_id in zip(keys, ids):
        assert ask(stack, key) == {"result": "ok", "task_id": task_id, "duplicate": True}
    conflict(stack, {"service": "echo", "condition": 2, "idempotency_key": keys[0]})
    assert stack.call("tasks", {})["total"] == 5
