"""status_task from memory: it says what the store says after every kind of change, to those who may know, and never less than what
was told before."""
import itertools
import json
import random
import re
import time

import pytest

from tests.system.runs import beat, claim, running
from tests.system.stack import in_threads, wait_until
from tests.system.test_access import entry
from tests.system.test_metrics import page_of
from tests.system.test_services import pause, resume


def reads(stack, source):
    return page_of(stack).get("status_reads_total", source=source)


def stored(stack, *task_ids):
    """What the store says: a call that may wait always asks it."""
    body = {"data": [{"task_id": task_id} for task_id in task_ids], "wait_s": 0.001}
    return stack.call("status_task", body)["status"]


def from_memory(stack, *task_ids):
    """The answer, which took nobody to the store; kept by a call before."""
    before = stack.status_of(*task_ids)
    count = reads(stack, "memory")
    got = stack.status_of(*task_ids)
    assert reads(stack, "memory") == count + 1
    assert got == before == stored(stack, *task_ids)
    return got


def test_every_change_is_seen_at_once(make_stack):
    stack = make_stack(services=("echo", "other"), config={"sweep_s": 0.1, "lease_s": 60})
    task_id, bystander = stack.create(), stack.create("other")

    def now(status, sub, **more):
        got = stack.status(task_id)
        assert (got["status"], got["sub_status"]) == (status, sub), got
        assert got.items() >= more.items()
        assert [got, stack.status(bystander)] == from_memory(stack, task_id, bystander)

    now("waiting", "queued")
    run, _ = claim(stack, task_id)
    now("running", "claimed", attempt=1, progress=None)
    beat(stack, (task_id, run))
    now("running", "started")
    stack.call("heartbeat_task", {"data": [{"task_id": task_id, "run_id": run, "progress": 0.5}]})
    now("running", "started", progress=0.5)
    stack.update(task_id, "waiting", run_id=run)
    now("waiting", "queued")
    pause(stack)
    now("waiting", "paused")
    resume(stack)
    now("waiting", "queued")
    run = stack.take()[0]["run_id"]
    now("running", "claimed", attempt=2)
    stack.update(task_id, "failed", run_id=run, message="gone wrong")
    now("failed", "error", message="gone wrong", attempt=2)
    stack.call("start_task", {"data": {"task_id": task_id}})
    now("waiting", "queued")
    run, _ = claim(stack, task_id)
    stack.call("cancel_task", {"data": {"task_id": task_id}})
    now("running", "cancelling")
    stack.update(task_id, "failed", run_id=run)
    now("failed", "cancelled")
    stack.call("delete_task", {"data": {"task_id": task_id}})
    assert stack.status(task_id)["sub_status"] == "removed"
    assert [stack.status(task_id)] == stored(stack, task_id)


def test_what_happens_by_itself_is_seen(make_stack):
    """Lost leases, alarms, retention: nobody calls, the sweeper changes."""
    config = {"sweep_s": 0.1, "lease_s": 0.5, "retention": {"finished_s": 0.5}}
    stack = make_stack(config=config)
    lost, _ = running(stack)
    expiring = stack.create(expire_s=0.5)

    def finished():
        """A task that has been seen to be finished, before it is removed."""
        task_id, run = running(stack)
        stack.update(task_id, "finished", run_id=run, result=1)
        return task_id if stack.status(task_id)["sub_status"] is None else None
    done = wait_until(finished, "for a finished task")
    ids = (lost, expiring, done)
    wait_until(lambda: [got["sub_status"] for got in stack.status_of(*ids)] == ["queued", "expired", "removed"],
               "for the sweeper to change all three", every_s=0.01)
    assert stack.status_of(*ids) == stored(stack, *ids)


def test_memory_is_for_those_who_may_know(make_stack):
    tokens = [entry("theirs", "s-theirs", ["read"], services=["other"])]
    stack = make_stack(services=("echo", "other"), config={"tokens": tokens})
    mine = stack.create()
    from_memory(stack, mine)
    got = stack.call("status_task", {"data": {"task_id": mine}}, token="s-theirs")["status"]
    assert got[0]["status"] == "Invalid"
    from_memory(stack, mine)


def test_the_usual_form_is_answered_as_all_others_are(make_stack):
    """It is read without being parsed; the same body with an escape in a name is not."""
    stack = make_stack(config={"max_status_task": 3})
    known, other = stack.create(), stack.create()
    lists = [[known], [known, other], [other, "none", known], [known] * 3, [known] * 4, [], [""], ["x" * 255], ["x" * 256],
             ["\u00e4"], ["a\\b"], [known, 7], [None]]
    texts = [json.dumps({"data": [{"task_id": task_id} for task_id in ids]}) for ids in lists]
    texts += [json.dumps(shape) for ids in lists if ids for shape in ({"task_id": ids[0]}, {"data": {"task_id": ids[0]}})]
    texts += [text + end for text, end in itertools.product(texts[:2], ("}", " ", "\0", "x"))]
    columns = re.compile(rb", column \d+")  # the escape is longer
    for text in texts:
        escaped = text.replace("task_id", "task\\u005fid")
        assert escaped != text or "task_id" not in text
        for _ in range(2):  # from the store, from memory
            plain, parsed = stack.post("status_task", text), stack.post("status_task", escaped)
            assert plain.status == parsed.status, text
            assert columns.sub(b"", plain.body) == columns.sub(b"", parsed.body), text
    coded = stack.post("status_task", texts[0], headers={"Content-Encoding": "gzip"})
    assert coded.status == 415


def test_no_memory_where_none_is_configured(make_stack):
    stack = make_stack(config={"limits": {"status_cache_kb": 0}})
    task_id = stack.create()
    for _ in range(3):
        assert stack.status(task_id)["status"] == "waiting"
    assert (reads(stack, "memory"), reads(stack, "store")) == (0, 3)
    assert page_of(stack).get("status_cache_bytes") == 0


@pytest.mark.cluster
def test_no_memory_over_a_store_that_others_write(make_stack):
    stack = make_stack(store="mongodb")
    task_id = stack.create()
    for _ in range(3):
        assert stack.status(task_id)["status"] == "waiting"
    assert (reads(stack, "memory"), reads(stack, "store")) == (0, 3)


def test_its_size_has_a_bound(make_stack):
    stack = make_stack(config={"limits": {"status_cache_kb": 16}})
    ids = stack.create_many("echo", range(200))
    for task_id in ids:
        stack.status(task_id)
    page = page_of(stack)
    assert 4096 < page.get("status_cache_bytes") <= 16384
    assert reads(stack, "store") == 200
    from_memory(stack, ids[-1])


def test_nobody_is_told_less_than_before(make_stack):
    """Runs that count their progress, and readers: an answered change is seen by all who ask later."""
    stack = make_stack(config={"lease_s": 60})
    runs = [running(stack) for _ in range(6)]
    told = {task_id: 0 for task_id, _ in runs}
    end, faults, working = time.monotonic() + 3, [], set(told)

    def see(task_id):
        known = told[task_id]
        got = stack.status(task_id)["progress"]
        done = got["done"] if got else 0
        if done < known:
            faults.append((task_id, known, done))
        told[task_id] = max(told[task_id], done)

    def work(task_id, run):
        count = 0
        try:
            while (time.monotonic() < end or count <= 3) and not faults:
                count += 1
                progress = {"done": count, "total": 10**6, "text": ""}
                stack.call("heartbeat_task", {"data": [{"task_id": task_id, "run_id": run, "progress": progress}]})
                told[task_id] = max(told[task_id], count)
                see(task_id)
        finally:
            working.discard(task_id)

    def read(seed):
        dice = random.Random(seed)
        while working and not faults:
            see(dice.choice(runs)[0])

    in_threads([lambda pair=pair: work(*pair) for pair in runs] + [lambda n=n: read(n) for n in range(4)])
    assert not faults
    assert all(count > 3 for count in told.values())
    assert reads(stack, "memory") > 0

