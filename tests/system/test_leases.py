"""Leases as the specification says them, on both stores, without a consumer: the test is the run that claims, renews, is silent.

Time is asserted by order only: a lease that nobody renews is waited for, and how long something lasted has a lower bound alone.
"""
import json
import re
import time
import uuid
from datetime import datetime, timezone

import pytest

from tests.system.stack import BUILD, PATIENCE_S, SANITIZED, in_threads, wait_until

NOWHERE = "ts_echo_00000000-0000-0000-0000-000000000000"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
LEASE_S = 1
QUICK = {"lease_s": LEASE_S, "sweep_s": 0.1, "max_crashes": 2, "max_status_task": 1000}


def shared_stack(request, tmp_path_factory, **config):
    from tests.system.stack import Stack
    mongo = request.getfixturevalue("mongo_server") if request.param == "mongodb" else None
    stack = Stack(tmp_path_factory.mktemp("leases"), store=request.param, mongo=mongo,
                  services=("echo", "other", "bulk", "race"), config=config)
    yield stack
    stack.close()
    if mongo:
        stack.collection().database.client.drop_database(stack.db)
        stack.mongo_client.close()


STORES = ["sqlite", pytest.param("mongodb", marks=pytest.mark.cluster)]


@pytest.fixture(scope="module", params=STORES)
def calm(request, tmp_path_factory):
    """Leases of 30 s: none runs out in a test."""
    yield from shared_stack(request, tmp_path_factory)


@pytest.fixture(scope="module", params=STORES)
def quick(request, tmp_path_factory):
    """Leases of 1 s; two lost runs fail a task."""
    yield from shared_stack(request, tmp_path_factory, **QUICK)


def new_run():
    return str(uuid.uuid4())


def ms(text):
    """Unix milliseconds of a time in an answer."""
    assert TIME.match(text), text
    at = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    return round(at.timestamp() * 1000)


def claimed(stack, service="echo", condition=None):
    """A new task and the run that holds it."""
    task_id, run_id = stack.create(service, condition), new_run()
    stack.update(task_id, "running", run_id=run_id)
    return task_id, run_id


def beat(stack, *runs, api=0, **more):
    """heartbeat_task for (task_id, run_id) pairs; the answers of the items."""
    data = [{"task_id": task_id, "run_id": run_id} for task_id, run_id in runs]
    items = stack.call("heartbeat_task", {"data": data, **more}, api=api)["data"]
    assert [item["task_id"] for item in items] == [task_id for task_id, _ in runs]
    return items


def renew(stack, task_id, run_id, api=0):
    """A heartbeat that must be taken; its answer."""
    (item,) = beat(stack, (task_id, run_id), api=api)
    assert "code" not in item and item["cancel"] is False, item
    return item


def stale(stack, task_id, run_id, code="STALE_RUN"):
    (item,) = beat(stack, (task_id, run_id))
    assert item["code"] == code and item.get("lease_until") is None, item
    return item


def lapsed(stack, task_id, api=0):
    """Waits until no run holds the task any more; its status."""
    def look():
        status = stack.status(task_id, api)
        return status if status["status"] not in ("running", "ready") else None
    return wait_until(look, f"for the lease of {task_id} to run out")


def lose(stack, task_id):
    """A run that beats once and is never heard of again; the task's status after it, and the run."""
    run_id = new_run()
    stack.update(task_id, "running", run_id=run_id)
    renew(stack, task_id, run_id)
    return lapsed(stack, task_id), run_id


def refused(stack, route, body, names):
    got = stack.call(route, body, 400)
    assert got["message"].startswith("Invalid parameter") and names in got["message"], got
    return got


# ---- a lease, and its renewal


def test_a_claim_tells_its_lease(calm):
    task_id, run_id = calm.create(), new_run()
    before = time.time() * 1000
    got = calm.update(task_id, "running", run_id=run_id)
    after = time.time() * 1000
    assert before - 2 <= ms(got["lease_until"]) - 30000 <= after + 2
    assert calm.update(task_id, "running", run_id=run_id) == got, "the same claim has the same answer"
    assert calm.status(task_id)["sub_status"] == "claimed"


def test_claim_task_tells_its_leases(calm):
    task_ids = calm.create_many("bulk", [1, 2])
    before = time.time() * 1000
    got = calm.take("bulk", max=10)
    after = time.time() * 1000
    assert [item["Task"]["task_id"] for item in got] == task_ids
    for item in got:
        assert before - 2 <= ms(item["lease_until"]) - 30000 <= after + 2
        renew(calm, item["Task"]["task_id"], item["run_id"])
        calm.update(item["Task"]["task_id"], "finished", run_id=item["run_id"])


def test_a_heartbeat_extends_and_starts(calm):
    task_id, run_id = calm.create(), new_run()
    first = ms(calm.update(task_id, "running", run_id=run_id)["lease_until"])
    before = calm.status(task_id)
    wait_until(lambda: time.time() * 1000 > first - 30000 + 20, "for the clock")
    second = ms(renew(calm, task_id, run_id)["lease_until"])
    assert second > first
    status = calm.status(task_id)
    assert status["sub_status"] == "started"
    assert {**status, "sub_status": 0} == {**before, "sub_status": 0}, "a heartbeat changes nothing else"
    wait_until(lambda: time.time() * 1000 > second - 30000 + 20, "for the clock")
    assert ms(renew(calm, task_id, run_id)["lease_until"]) > second
    calm.update(task_id, "finished", run_id=run_id, result=1)
    assert calm.result(task_id)["data"] == 1


def test_heartbeats_are_answered_item_by_item_in_order(calm):
    held, other, ended, queued, legacy = claimed(calm), claimed(calm), claimed(calm), calm.create(), calm.create()
    calm.update(ended[0], "finished", run_id=ended[1])
    calm.update(legacy, "running")
    items = beat(calm, (NOWHERE, new_run()), held, (other[0], new_run()), ended, (queued, new_run()), (legacy, new_run()), other, held)
    assert [item.get("code") for item in items] == ["UNKNOWN_TASK", None, "STALE_RUN", "STALE_RUN", "STALE_RUN", "STALE_RUN", None, None]
    for item in items:
        if "code" in item:
            assert item.get("lease_until") is None, item
        else:
            assert item["cancel"] is False and TIME.match(item["lease_until"])
    assert [item["sub_status"] for item in calm.status_of(held[0], other[0], ended[0], queued, legacy)] == [
        "started", "started", None, "queued", "claimed"]


def test_an_empty_heartbeat_is_ok(calm):
    assert calm.call("heartbeat_task", {"data": []})["data"] == []
    assert calm.call("heartbeat_task", {"data": [], "worker": {"id": "idle"}})["data"] == []


def test_a_thousand_runs_are_renewed_in_one_call(calm):
    calm.create_many("bulk", list(range(1000)))
    got = []
    while len(got) < 1000:  # a claim is bounded by what fits in an answer
        more = calm.take("bulk", max=1000 - len(got))
        assert more
        got += more
    runs = [(item["Task"]["task_id"], item["run_id"]) for item in got]
    for item in beat(calm, *runs):
        assert "code" not in item and item["cancel"] is False
    answers = calm.call("update_status_task", {"data": [
        {"task_id": task_id, "status": "finished", "run_id": run_id, "result": number}
        for number, (task_id, run_id) in enumerate(runs)]})["status"]
    assert [item["task_id"] for item in answers] == [task_id for task_id, _ in runs]
    assert all("code" not in item for item in answers)
    assert calm.result(runs[999][0])["data"] == 999


@pytest.mark.parametrize("body, names", [
    ({"data": 5}, "data"), ({"data": "x"}, "data"), ({"data": [5]}, ""), ({"data": [{}]}, "task_id"),
    ({"data": [{"task_id": 5, "run_id": NOWHERE[8:]}]}, "task_id"), ({"data": [{"task_id": NOWHERE}]}, "run_id"),
    ({"data": [{"task_id": NOWHERE, "run_id": "no uuid"}]}, "run_id"), ({"data": [{"task_id": NOWHERE, "run_id": 5}]}, "run_id"),
    ({"data": [], "worker": 5}, "worker"), ({"data": [], "worker": {}}, "id"), ({"data": [], "worker": {"id": 5}}, "id"),
    ({"data": [], "worker": {"id": ""}}, "id"), ({"data": [], "worker": {"id": "w" * 1000}}, "id"),
    ({"data": [], "worker": {"id": "w", "host": 5}}, "host"), ({"data": [], "worker": {"id": "w", "pid": "1"}}, "pid"),
    ({"data": [], "worker": {"id": "w", "pid": -1}}, "pid"), ({"data": [], "worker": {"id": "w", "services": "echo"}}, "services"),
    ({"data": [], "worker": {"id": "w", "services": [5]}}, "services"), ({"data": [], "worker": {"id": "w", "slots": "1"}}, "slots"),
    ({"data": [], "worker": {"id": "w", "slots": -1}}, "slots")])
def test_wrong_heartbeats_are_refused_by_name(calm, body, names):
    refused(calm, "heartbeat_task", body, names)


def test_a_wrong_heartbeat_renews_nothing(calm):
    task_id, run_id = claimed(calm)
    refused(calm, "heartbeat_task", {"data": [{"task_id": task_id, "run_id": run_id}, {"task_id": task_id}]}, "run_id")
    assert calm.status(task_id)["sub_status"] == "claimed"


def test_a_wrong_progress_is_its_own_item_s_fault(calm):
    runs = [claimed(calm) for _ in range(3)]
    data = [{"task_id": task_id, "run_id": run_id, "progress": progress} for (task_id, run_id), progress in zip(runs, (0.4, 1.5, 0.1))]
    first, wrong, last = calm.call("heartbeat_task", {"data": data})["data"]
    assert "code" not in first and "code" not in last
    assert wrong["code"] == "INVALID_PARAMETER" and wrong["message"].startswith("Invalid parameter: progress must be ")
    assert (wrong["task_id"], wrong["lease_until"], wrong["cancel"]) == (runs[1][0], None, False)
    stands = [calm.status(task_id) for task_id, _ in runs]
    assert [(stand["sub_status"], stand["progress"]) for stand in stands] == [("started", 0.4), ("claimed", None), ("started", 0.1)]


def test_progress_is_told_as_it_was_sent(calm):
    task_id, run_id = claimed(calm)
    calm.call("heartbeat_task", {"data": [{"task_id": task_id, "run_id": run_id, "progress": 0.4}]})
    assert b'"progress":0.4}' in calm.post("status_task", {"data": [{"task_id": task_id}]}).body
    calm.update(task_id, "running", run_id=run_id, progress={"done": 0.7, "total": 1})
    assert b'"progress":{"done":0.7,"total":1}}' in calm.post("status_task", {"data": [{"task_id": task_id}]}).body


# ---- workers


def worker_of(stack, worker_id, api=0):
    rows = [row for row in stack.call("worker_task", {}, api=api)["data"] if row["id"] == worker_id]
    assert len(rows) <= 1
    return rows[0] if rows else None


def test_a_consumer_is_known_by_its_heartbeats(calm):
    worker_id = f"w-{new_run()}"
    assert worker_of(calm, worker_id) is None
    said = {"id": worker_id, "host": "höst", "pid": 4711, "services": ["echo", "other"], "slots": 3}
    beat(calm, worker=said)
    got = worker_of(calm, worker_id)
    assert {key: got[key] for key in said} == said
    beat(calm, claimed(calm), worker={**said, "slots": 5, "services": ["other"]})
    got = worker_of(calm, worker_id)
    assert got["slots"] == 5 and got["services"] == ["other"]
    answer = calm.call("worker_task", {})
    assert answer["count"] == len(answer["data"]) and len({row["id"] for row in answer["data"]}) == answer["count"]


def test_a_worker_that_only_polls_is_known_too(calm):
    said = {"id": f"p-{new_run()}", "host": "beta", "pid": 12, "services": ["other"], "slots": 2}
    assert calm.take("other", worker=said) == []
    got = worker_of(calm, said["id"])
    assert {key: got[key] for key in said} == said
    seen = got["seen_time"]
    wait_until(lambda: calm.take("other", worker=said) == [] and worker_of(calm, said["id"])["seen_time"] > seen, "for it to be seen again")


def test_the_timeline_knows_who_runs_a_task(calm):
    """The claim says so, or else the run's first heartbeat."""
    told, silent = {"id": f"t-{new_run()}"}, {"id": f"s-{new_run()}"}
    by_claim, by_beat = calm.create("bulk"), claimed(calm)
    (run,) = calm.take("bulk", worker=told)
    beat(calm, (by_claim, run["run_id"]), by_beat, worker=silent)
    beat(calm, by_beat, worker=told)
    workers = [calm.call("timeline_task", {"task_id": task_id})["data"][0]["worker"] for task_id in (by_claim, by_beat[0])]
    assert workers == [told["id"], silent["id"]]
    calm.update(by_claim, "finished", run_id=run["run_id"])


# ---- arrays of updates


def updates(stack, *items, **more):
    got = stack.call("update_status_task", {"data": list(items)}, **more)["status"]
    assert isinstance(got, list) and len(got) == len(items)
    return got


def word(task_id, status, run_id=None, **more):
    return {"task_id": task_id, "status": status, **({"run_id": run_id} if run_id else {}), **more}


def test_updates_are_answered_item_by_item_in_order(calm):
    fresh, held, ended, failing = calm.create(condition=[1.0]), claimed(calm), claimed(calm), claimed(calm)
    calm.update(ended[0], "finished", run_id=ended[1])
    run_id = new_run()
    got = updates(calm, word(fresh, "running", run_id), word(NOWHERE, "running", new_run()), word(held[0], "finished", new_run()),
                  word(held[0], "running", new_run()), word(ended[0], "failed", ended[1]),
                  word(failing[0], "failed", failing[1], error={"class": "fatal", "text": "broken"}), word(held[0], "finished", held[1], result="r"))
    assert [item.get("code") for item in got] == [None, "UNKNOWN_TASK", "STALE_RUN", "ALREADY_CLAIMED", "ALREADY_FINAL", None, None]
    assert got[0]["status"] == got[0]["now"] == "running" and got[0]["run_id"] == run_id and got[0]["attempt"] == 1
    assert got[0]["task_id"] == fresh and got[0]["condition"] == [1.0] and TIME.match(got[0]["lease_until"])
    assert got[5]["task_id"] == failing[0] and got[5]["status"] == "failed"
    assert all(isinstance(item["message"], str) and item["message"] for item in got if "code" in item)
    assert calm.result(held[0])["data"] == "r" and calm.status(failing[0])["error"]["text"] == "broken"


def test_updates_of_one_task_take_effect_in_order(calm):
    task_id, run_id, other = calm.create(), new_run(), new_run()
    got = updates(calm, word(task_id, "running", run_id), word(task_id, "waiting", run_id), word(task_id, "running", other),
                  word(task_id, "finished", run_id), word(task_id, "finished", other, result=2))
    assert [item.get("code") for item in got] == [None, None, None, "STALE_RUN", None]
    assert calm.status(task_id)["attempt"] == 2 and calm.result(task_id)["data"] == 2


def test_an_update_that_is_wrong_does_not_stop_the_others(calm):
    first, second = calm.create(), calm.create()
    got = updates(calm, word(first, "running"), {"task_id": second}, word(second, "running", "no uuid"), 5, word(second, "running"))
    assert [item.get("code") for item in got] == [None, "INVALID_PARAMETER", "INVALID_PARAMETER", "INVALID_PARAMETER", None]
    assert "status" in got[1]["message"] and "run_id" in got[2]["message"]
    assert [item["status"] for item in calm.status_of(first, second)] == ["running", "running"]


def test_an_array_of_no_updates_is_answered_by_none(calm):
    answer = calm.post("update_status_task", {"data": []})
    assert (answer.status == 200 and answer.json["status"] == []) or (
        answer.status == 400 and answer.json["message"].startswith("Invalid parameter")), answer


def test_more_than_a_thousand_updates_are_refused_and_change_nothing(calm):
    task_id = calm.create()
    got = calm.call("update_status_task", {"data": [word(task_id, "running")] + [word(NOWHERE, "running")] * 1000}, 400, "TOO_MANY")
    assert got["message"].startswith("Invalid parameter")
    assert calm.status(task_id)["status"] == "waiting"


# ---- hand-back


def test_a_run_hands_its_task_back(calm):
    task_id, run_id = claimed(calm, condition="c")
    assert calm.update(task_id, "waiting", run_id=run_id) == calm.update(task_id, "waiting", run_id=run_id)
    status = calm.status(task_id)
    assert (status["status"], status["sub_status"], status["end_time"], status["error"]) == ("waiting", "queued", None, None)
    calm.update(task_id, "running", 409, "STALE_RUN", run_id=run_id)
    calm.update(task_id, "finished", 409, "STALE_RUN", run_id=run_id)
    calm.update(task_id, "failed", 409, "STALE_RUN", run_id=run_id)
    stale(calm, task_id, run_id)
    other = new_run()
    got = calm.update(task_id, "running", run_id=other)
    assert got["attempt"] == 2 and got["condition"] == "c"
    calm.update(task_id, "waiting", 409, "STALE_RUN", run_id=run_id)
    calm.update(task_id, "finished", run_id=other)


def test_handing_back_counts_as_nothing(calm):
    task_id = calm.create()
    for number in range(1, 26):
        run_id = new_run()
        assert calm.update(task_id, "running", run_id=run_id)["attempt"] == number
        if number % 2:
            renew(calm, task_id, run_id)
        calm.update(task_id, "waiting", run_id=run_id)
    assert calm.status(task_id)["status"] == "waiting"


def test_handing_back_as_a_crash_counts(quick):
    task_id = quick.create()
    first, second = new_run(), new_run()
    quick.update(task_id, "running", run_id=first)
    for _ in range(3):
        quick.update(task_id, "waiting", run_id=first, cause="crash")
        assert quick.status(task_id)["status"] == "waiting", "a repeated hand-back counts once"
    quick.update(task_id, "running", run_id=second)
    quick.update(task_id, "waiting", run_id=second, cause="crash")
    status = quick.status(task_id)
    assert (status["status"], status["sub_status"]) == ("failed", "crash") and status["end_time"]
    quick.call("result_task", {"data": {"task_id": task_id}}, 409, "TASK_FAILED")


def test_who_may_hand_back(calm):
    task_id, run_id = claimed(calm)
    calm.update(task_id, "waiting", 409, "STALE_RUN", run_id=new_run())
    refused(calm, "update_status_task", {"data": word(task_id, "waiting")}, "run_id")
    refused(calm, "update_status_task", {"data": word(task_id, "waiting", run_id, cause="timeout")}, "cause")
    refused(calm, "update_status_task", {"data": word(task_id, "waiting", run_id, cause=5)}, "cause")
    assert calm.status(task_id)["status"] == "running"
    calm.update(NOWHERE, "waiting", 404, "UNKNOWN_TASK", run_id=new_run())
    calm.update(calm.create(), "waiting", 409, "STALE_RUN", run_id=run_id)
    calm.update(task_id, "finished", run_id=run_id)
    calm.update(task_id, "waiting", 409, "STALE_RUN", run_id=new_run())
    calm.update(task_id, "waiting", 409, run_id=run_id)
    assert calm.status(task_id)["status"] == "finished"


# ---- a lease that runs out


def test_a_silent_run_loses_its_task(quick):
    task_id, silent = claimed(quick, condition={"x": 1})
    status = lapsed(quick, task_id)
    assert (status["status"], status["sub_status"], status["end_time"], status["error"]) == ("waiting", "queued", None, None)
    assert status["attempt"] == 1
    other = new_run()
    got = quick.update(task_id, "running", run_id=other)
    assert got["attempt"] == 2 and got["condition"] == {"x": 1}
    stale(quick, task_id, silent)
    for final in ("finished", "failed", "waiting"):
        quick.update(task_id, final, 409, "STALE_RUN", run_id=silent)
    quick.update(task_id, "running", 409, run_id=silent)
    quick.update(task_id, "finished", run_id=other, result="other")
    quick.update(task_id, "finished", 409, "STALE_RUN", run_id=silent, result="silent")
    assert quick.result(task_id)["data"] == "other"


def test_a_lost_task_is_taken_by_claim_task(quick):
    task_id = quick.create("other")
    (first,) = quick.take("other")
    second = wait_until(lambda: quick.take("other", wait_s=2), "for the lost task")[0]
    assert second["Task"]["task_id"] == task_id and second["attempt"] == 2 and second["run_id"] != first["run_id"]
    stale(quick, task_id, first["run_id"])
    quick.update(task_id, "finished", run_id=second["run_id"])


@pytest.mark.parametrize("lease_s", [0.3, 3 * LEASE_S])
def test_a_claim_may_ask_for_a_lease(quick, lease_s):
    """Each heartbeat renews by what the claim asked for, and the task comes back when that is over, not before."""
    task_id, claim_id = quick.create("other"), new_run()

    def about(lease_until, before, after):
        return before - 2 <= ms(lease_until) - 1000 * lease_s <= after + 2
    before = time.time() * 1000
    (run,) = quick.take("other", lease_s=lease_s, claim_id=claim_id)
    assert about(run["lease_until"], before, time.time() * 1000)
    again = quick.take("other", lease_s=lease_s, claim_id=claim_id)
    if again != [run]:  # on a slow machine the lease is over, and this call is the task's second claim
        assert time.time() * 1000 >= ms(run["lease_until"]) and again[0]["attempt"] == 2, "the same call has the same answer"
        (run,) = again
    for _ in range(2):
        before = time.time() * 1000
        until = renew(quick, task_id, run["run_id"])["lease_until"]
        assert about(until, before, time.time() * 1000)
    lapsed(quick, task_id)
    assert time.time() * 1000 >= ms(until)
    before = time.time() * 1000
    assert about(renew(quick, task_id, run["run_id"])["lease_until"], before, time.time() * 1000), "taken back, as long as before"
    quick.update(task_id, "finished", run_id=run["run_id"])


def test_a_lease_that_was_asked_for_outlives_kill_9(make_stack, any_store):
    stack = make_stack(store=any_store, config=QUICK)
    task_id = stack.create()
    (run,) = stack.take(lease_s=600)
    stack.api.kill()
    stack.api.start()
    stack.api.ready()
    before = time.time() * 1000
    until = ms(renew(stack, task_id, run["run_id"])["lease_until"])
    assert before + 600000 - 2 <= until <= time.time() * 1000 + 600000 + 2
    lapsed(stack, claimed(stack)[0])
    assert stack.status(task_id)["status"] == "running"


def test_a_lease_never_ends_before_its_time(quick):
    task_id, run_id = quick.create(), new_run()
    until = ms(quick.update(task_id, "running", run_id=run_id)["lease_until"])
    lapsed(quick, task_id)
    assert time.time() * 1000 >= until
    until = ms(renew(quick, task_id, run_id)["lease_until"])
    lapsed(quick, task_id)
    assert time.time() * 1000 >= until


def test_a_run_that_beats_keeps_its_task(quick):
    """Another run, silent since the same moment, is lost three times meanwhile."""
    task_id, run_id = claimed(quick)
    other = quick.create()
    for _ in range(3):
        quick.update(other, "running", run_id=new_run())

        def look():
            renew(quick, task_id, run_id)
            return quick.status(other)["status"] == "waiting"
        wait_until(look, "for the silent run to be lost", every_s=LEASE_S / 10)
    assert quick.status(task_id)["attempt"] == 1
    quick.update(task_id, "finished", run_id=run_id)


def test_a_claim_of_the_base_contract_has_no_lease(quick):
    legacy = quick.create()
    got = quick.update(legacy, "running")
    assert got.get("lease_until") is None
    for _ in range(2):
        lapsed(quick, claimed(quick)[0])
    assert quick.status(legacy)["status"] == "running"
    assert quick.update(legacy, "finished") == {"task_id": legacy, "status": "finished"}


def test_a_late_heartbeat_takes_the_task_back(quick):
    task_id, run_id = claimed(quick)
    start_time = quick.status(task_id)["start_time"]
    lapsed(quick, task_id)
    assert time.time() * 1000 < ms(renew(quick, task_id, run_id)["lease_until"]) + 1000 * PATIENCE_S
    status = quick.status(task_id)
    if status["status"] == "running":  # else it was lost again meanwhile, on a slow machine
        assert status["sub_status"] == "started" and status["attempt"] == 1 and status["start_time"] == start_time
    quick.update(task_id, "finished", run_id=run_id, result=1)
    assert quick.result(task_id)["data"] == 1 and quick.status(task_id)["attempt"] == 1


@pytest.mark.parametrize("final", ["finished", "failed"])
def test_a_late_final_report_is_taken(quick, final):
    task_id, run_id = claimed(quick)
    lapsed(quick, task_id)
    quick.update(task_id, final, run_id=run_id, message="late")
    status = quick.status(task_id)
    assert (status["status"], status["message"], status["attempt"]) == (final, "late", 1) and status["end_time"]
    quick.update(task_id, final, run_id=run_id)
    stale(quick, task_id, run_id)


def test_a_late_hand_back_ends_the_right_to_the_task(quick):
    task_id, run_id = claimed(quick)
    lapsed(quick, task_id)
    quick.update(task_id, "waiting", run_id=run_id)
    assert quick.status(task_id)["status"] == "waiting"
    stale(quick, task_id, run_id)


def test_a_changed_condition_ends_the_right_to_the_task(quick):
    task_id, run_id = claimed(quick, condition=1)
    lapsed(quick, task_id)
    quick.call("update_task", {"task_id": task_id, "condition": 2})
    stale(quick, task_id, run_id)
    quick.update(task_id, "finished", 409, "STALE_RUN", run_id=run_id)
    other = new_run()
    assert quick.update(task_id, "running", run_id=other)["condition"] == 2
    quick.update(task_id, "finished", run_id=other)


def test_a_task_whose_runs_are_lost_fails_as_crash(quick):
    task_id = quick.create()
    status, first = lose(quick, task_id)
    assert status["status"] == "waiting"
    status, second = lose(quick, task_id)
    assert (status["status"], status["sub_status"], status["attempt"]) == ("failed", "crash", 2)
    assert status["end_time"] and status["start_time"] <= status["end_time"]
    quick.call("result_task", {"data": {"task_id": task_id}}, 409, "TASK_FAILED")
    for run_id in (first, second):
        stale(quick, task_id, run_id)
    quick.update(task_id, "finished", 409, run_id=second)
    assert quick.status(task_id) == status
    # Started by hand it has its runs anew, and attempt goes on.
    quick.call("start_task", {"task_id": task_id})
    assert quick.status(task_id)["error"] is None
    status, _ = lose(quick, task_id)
    assert (status["status"], status["attempt"]) == ("waiting", 3)
    status, _ = lose(quick, task_id)
    assert (status["status"], status["sub_status"], status["attempt"]) == ("failed", "crash", 4)


def test_taking_back_undoes_the_crash(quick):
    task_id, run_id = claimed(quick)
    for _ in range(4):
        renew(quick, task_id, run_id)
        assert lapsed(quick, task_id)["status"] == "waiting"
    status, _ = lose(quick, task_id)
    assert (status["status"], status["sub_status"], status["attempt"]) == ("failed", "crash", 2)


def test_runs_that_never_began_are_no_crashes(quick):
    task_id = quick.create()
    for _ in range(3):
        quick.update(task_id, "running", run_id=new_run())
        assert lapsed(quick, task_id)["status"] == "waiting"
    status, _ = lose(quick, task_id)
    assert status["status"] == "waiting", "the first crash"


@pytest.mark.heavy
def test_after_twenty_runs_that_never_began_it_is_a_crash(make_stack, any_store):
    stack = make_stack(store=any_store, config={**QUICK, "lease_s": 1})
    task_id = stack.create()
    for number in range(1, 21):
        assert stack.update(task_id, "running", run_id=new_run())["attempt"] == number
        status = lapsed(stack, task_id)
        assert status["status"] == ("waiting" if number < 20 else "failed"), number
    assert status["sub_status"] == "crash"


# ---- races


def test_reports_at_the_end_of_the_lease_are_all_taken(quick):
    quick.create_many("race", list(range(60)))
    got = quick.take("race", max=60)
    until = max(ms(item["lease_until"]) for item in got)
    wait_until(lambda: time.time() * 1000 >= until - 100, "for the end of the leases", every_s=0.005)

    def report(items):
        for item in items:
            quick.update(item["Task"]["task_id"], "finished", run_id=item["run_id"], result=item["Task"]["condition"])
            time.sleep(0.01)
    in_threads([lambda part=part: report(got[part::4]) for part in range(4)])
    for item in got:
        status = quick.status(item["Task"]["task_id"])
        assert status["status"] == "finished" and status["attempt"] == 1
        assert quick.result(item["Task"]["task_id"])["data"] == item["Task"]["condition"]


def test_taking_back_against_a_new_claim(quick):
    task_ids = quick.create_many("race", list(range(20)))
    old = {item["Task"]["task_id"]: item["run_id"] for item in quick.take("race", max=20)}
    for task_id in task_ids:
        lapsed(quick, task_id)
    new = {task_id: new_run() for task_id in task_ids}
    answers = in_threads([lambda task_id=task_id, how=how: how(task_id) for task_id in task_ids for how in (
        lambda task_id: beat(quick, (task_id, old[task_id]))[0],
        lambda task_id: updates(quick, word(task_id, "running", new[task_id]))[0])])
    for task_id, back, claim in zip(task_ids, answers[::2], answers[1::2]):
        if "code" in claim:
            assert claim["code"] == "ALREADY_CLAIMED" and "code" not in back, (back, claim)
            holder, loser = old[task_id], new[task_id]
        else:
            # A heartbeat may have come first, its lease run out again, and the claim then been taken.
            assert claim["attempt"] == 2
            holder, loser = new[task_id], old[task_id]
        quick.update(task_id, "finished", 409, "STALE_RUN", run_id=loser, result="loser")
        quick.update(task_id, "finished", run_id=holder, result="holder")
        assert quick.result(task_id)["data"] == "holder"


# ---- an API that was not there


def test_no_lease_ends_before_a_new_process_has_served_as_long(make_stack, any_store):
    lease_s = 2
    stack = make_stack(store=any_store, config={**QUICK, "lease_s": lease_s})
    kept, lost, until = claimed(stack), claimed(stack), time.time() + lease_s
    stack.api.kill()
    wait_until(lambda: time.time() > until + 0.2, "for the leases to be over")
    began = time.monotonic()
    stack.api.restart()
    first = stack.status(lost[0])["status"]
    assert first == "running" or time.monotonic() - began >= lease_s
    renew(stack, *kept)

    def look():
        renew(stack, *kept)
        return stack.status(lost[0])["status"] == "waiting"
    wait_until(look, "for the silent run to be lost")
    assert time.monotonic() - began >= lease_s
    assert stack.status(kept[0])["attempt"] == 1
    stack.update(kept[0], "finished", run_id=kept[1])


def test_no_lease_ends_at_once_after_the_api_was_stopped(make_stack, any_store):
    lease_s = 2
    stack = make_stack(store=any_store, config={**QUICK, "lease_s": lease_s})
    lost, until = claimed(stack), time.time() + lease_s
    stack.api.pause()
    wait_until(lambda: time.time() > until + 0.2, "for the lease to be over")
    began = time.monotonic()
    stack.api.resume()
    assert lapsed(stack, lost[0])["status"] == "waiting"
    assert time.monotonic() - began >= lease_s


@pytest.mark.cluster
def test_no_lease_ends_at_once_after_the_store_was_away(own_mongo, make_stack):
    lease_s = 2
    stack = make_stack(store="mongodb", mongo=own_mongo, config={**QUICK, "lease_s": lease_s})
    lost, until = claimed(stack), time.time() + lease_s
    own_mongo.pause()
    wait_until(lambda: time.time() > until + lease_s, "for the lease to be over")
    began = time.monotonic()
    own_mongo.resume()

    def look():
        answer = stack.post("status_task", {"data": [{"task_id": lost[0]}]})
        return answer.status == 200 and answer.json["status"][0]["status"] == "waiting"
    wait_until(look, "for the silent run to be lost")
    assert time.monotonic() - began >= lease_s


def test_what_is_known_of_a_lost_run_survives_kill_9(make_stack, any_store):
    stack = make_stack(store=any_store, config=QUICK)
    back, report, counted = claimed(stack), claimed(stack), stack.create()
    status, _ = lose(stack, counted)
    assert status["status"] == "waiting"
    for task_id, _ in (back, report):
        lapsed(stack, task_id)
    stack.api.kill()
    stack.api.restart()
    renew(stack, *back)
    stack.update(report[0], "finished", run_id=report[1], result=1)
    status, _ = lose(stack, counted)
    assert (status["status"], status["sub_status"]) == ("failed", "crash"), "the first crash is remembered"
    stack.update(back[0], "finished", run_id=back[1])
    assert stack.status(back[0])["attempt"] == stack.status(report[0])["attempt"] == 1


@pytest.mark.cluster
def test_two_apis_count_a_lost_run_once(make_stack):
    stack = make_stack(store="mongodb", apis=2, config={**QUICK, "max_crashes": 2})
    tasks = stack.create_many("echo", list(range(10)))
    runs = [(task_id, new_run()) for task_id in tasks]
    updates(stack, *(word(task_id, "running", run_id) for task_id, run_id in runs))
    assert all("code" not in item for item in beat(stack, *runs, api=1, worker={"id": "seen by the other"}))
    assert worker_of(stack, "seen by the other", api=0)
    for task_id in tasks:
        assert lapsed(stack, task_id)["status"] == "waiting"
    taken = stack.take(max=10, api=1)
    assert sorted(item["Task"]["task_id"] for item in taken) == sorted(tasks)
    assert {item["attempt"] for item in taken} == {2}


def test_many_long_leases_that_have_run_out_do_not_hide_a_short_one(make_stack, any_store):
    """A process that has just begun gives runs with a long lease as long to be heard again."""
    stack = make_stack(store=any_store, config={**QUICK, "lease_s": 1})
    many = stack.create_many("echo", list(range(500)))
    while stack.take(max=64, lease_s=3):
        pass
    stack.api.pause()
    time.sleep(3)
    stack.api.restart()
    short = stack.create()
    (taken,) = stack.take(lease_s=0.2)
    assert taken["Task"]["task_id"] == short
    assert lapsed(stack, short)["status"] == lapsed(stack, many[0])["status"] == "waiting"
    ended = [stack.call("timeline_task", {"task_id": task_id})["data"][0]["ended_time"] for task_id in (short, many[0])]
    assert ended[0] < ended[1]


# ---- bounded memory


def clock_of_its_own(stack, tmp_path):
    """Starts an API; the function that sets its clock an hour ahead."""
    step = tmp_path / "step"
    step.write_bytes(bytes(8))
    stack.start_api(env={"LD_PRELOAD": str(BUILD / "tests/system/clock_step.so"), "CLOCK_STEP": str(step)})

    def forward():
        with open(step, "r+b") as file:
            file.write((3600 * 1000).to_bytes(8, "little"))
    return forward


def peak_mb(stack):
    return next(int(line.split()[1]) for line in open(f"/proc/{stack.api.pid}/status") if line.startswith("VmHWM")) // 1024


@pytest.mark.heavy
@pytest.mark.skipif(SANITIZED, reason="a sanitizer's memory is not ours")
def test_many_claims_of_large_tasks_in_one_call_take_bounded_memory(make_stack):
    """What the answer has no room for is claimed all the same, and told when it is asked for again."""
    stack = make_stack()
    task_id, run_id = stack.create(condition="x" * 1000000), new_run()
    claim = {"task_id": task_id, "status": "running", "run_id": run_id}
    items = json.loads(stack.post("update_status_task", {"data": [claim] * 600}, described=False).body)["status"]
    told = [item for item in items if "code" not in item]
    assert 60 < len(told) < 70 and items[:len(told)] == told and told[0]["condition"] == "x" * 1000000
    assert {(item["task_id"], item["code"]) for item in items[len(told):]} == {(task_id, "OUTCOME_UNKNOWN")}
    assert stack.update(task_id, "running", run_id=run_id) == told[0]
    assert peak_mb(stack) < 500


def grown_mb(stack, tmp_path, number, size):
    """By how much the API's peak has grown when so many delayed tasks, of so many bytes, have fallen due at once."""
    forward = clock_of_its_own(stack, tmp_path)
    for _ in range(number):
        stack.create(condition="x" * size, delay_s=3000)
    before = peak_mb(stack)
    forward()
    wait_until(lambda: stack.call("tasks", {"sub_status": "queued"})["total"] == number, "for all to be due and told")
    return peak_mb(stack) - before


@pytest.mark.heavy
@pytest.mark.skipif(SANITIZED, reason="a sanitizer's memory is not ours, and it wants to be loaded first")
def test_many_large_tasks_that_are_due_at_once_take_bounded_memory(make_stack, tmp_path):
    assert grown_mb(make_stack(apis=0, config={"sweep_s": 1}), tmp_path, 120, 1000000) < 60


@pytest.mark.heavy
@pytest.mark.cluster
@pytest.mark.skipif(SANITIZED, reason="a sanitizer's memory is not ours, and it wants to be loaded first")
def test_many_large_tasks_that_are_told_at_once_take_bounded_memory(make_stack, tmp_path):
    """Where all were loaded, they and their messages would be twice as much as they are large."""
    assert grown_mb(make_stack(broker="kafka", apis=0, config={"sweep_s": 1}), tmp_path, 200, 950000) < 300


# ---- clocks


@pytest.mark.heavy
@pytest.mark.skipif(SANITIZED, reason="a sanitizer wants to be loaded first")
def test_a_clock_that_is_set_forward_ends_no_lease(make_stack, tmp_path):
    stack = make_stack(apis=0, config={"lease_s": 5, "sweep_s": 0.1})
    forward = clock_of_its_own(stack, tmp_path)
    task_id, run_id = claimed(stack)
    first = ms(renew(stack, task_id, run_id)["lease_until"])
    delayed = stack.create(delay_s=3606.5)
    set_up_at = time.monotonic()
    wait_until(lambda: time.monotonic() - set_up_at > 6 or renew(stack, task_id, run_id) and False, "for a steady while", every_s=0.3)
    forward()
    wait_until(lambda: stack.status(delayed)["sub_status"] == "queued", "for the sweep to go by the new time")
    assert ms(renew(stack, task_id, run_id)["lease_until"]) > first + 3600 * 1000
    assert stack.status(task_id)["status"] == "running" and not stack.api.find(msg="lease lost")
    assert stack.api.find(msg="the clock has been set forward: leases get time to be renewed by it")
    assert lapsed(stack, task_id)["status"] == "waiting", "a lease ends all the same when nobody renews it"


@pytest.mark.heavy
def test_a_clock_far_ahead_of_the_stores_ends_no_lease(make_stack):
    stack = make_stack(config=QUICK, api_args=("--store-fault", "query:*=clock:-600"))
    task_id, run_id = claimed(stack)
    stack.api.wait_line(msg="no lease is ended by this process: its clock is ahead of the store's")
    assert stack.status(task_id)["status"] == "running" and not stack.api.find(msg="lease lost")
    stack.update(task_id, "finished", run_id=run_id)
    stack.api.restart(("--store-fault", "query:*=clock:-400"))
    task_id, _ = claimed(stack)
    assert lapsed(stack, task_id)["status"] == "waiting"


# ---- over Kafka


def keys(stack, at_least):
    return [got.key.decode() for got in stack.messages("echo", at_least)]


@pytest.mark.cluster
@pytest.mark.parametrize("store", ["sqlite", "mongodb"])
def test_a_lost_task_is_told_again(make_stack, store):
    stack = make_stack(store=store, broker="kafka", config={**QUICK, "lease_s": 3 if SANITIZED else 2})  # that which is handed back keeps it
    lost, handed, crashed = stack.create(), stack.create(), stack.create()
    assert keys(stack, 3) == [lost, handed, crashed]
    for task_id in (lost, handed, crashed):
        stack.wait_status(task_id, "waiting")
    stack.update(lost, "running", run_id=new_run())
    assert lapsed(stack, lost)["sub_status"] == "queued"
    assert keys(stack, 4)[3:] == [lost]
    run_id = new_run()
    stack.update(handed, "running", run_id=run_id)
    stack.update(handed, "waiting", run_id=run_id)
    assert keys(stack, 5)[4:] == [handed]
    stack.wait_status(handed, "waiting")
    status, _ = lose(stack, crashed)
    assert status["status"] == "waiting"
    assert keys(stack, 6)[5:] == [crashed]
    status, _ = lose(stack, crashed)
    assert status["sub_status"] == "crash"
    stack.update(lost, "finished")
    stack.update(handed, "finished")
    assert len(keys(stack, 6)) == 6, "a failed task is not told again"
