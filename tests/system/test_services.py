"""Services that are paused and limited: what begins to run, what waits, what is told, and who says so."""
import json
import threading
import time
import uuid

import pytest
from kafka import KafkaAdminClient

from tests.system.stack import PATIENCE_S, in_threads, module, wait_until

# A message that Kafka did not take counts as not sent after so long, and the sweeper looks so often.
QUICK = {"sweep_s": 0.2}
QUICK_MQ = {"librdkafka": {"message.timeout.ms": "10000"}}


def pause(stack, service="echo", **more):
    return stack.call("pause_service_task", {"data": {"service": service}}, **more)


def resume(stack, service="echo", **more):
    return stack.call("resume_service_task", {"data": {"service": service}}, **more)


def limit(stack, service="echo", api=0, **limits):
    return stack.call("limit_service_task", {"data": {"service": service, **limits}}, api=api)["limits"]


def detail(stack, service="echo", **more):
    rows = stack.call("service_task", {"data": {"detail": True}}, **more)["data"]
    return {row["service"]: row for row in rows}[service]


def claim(stack, task_id, **more):
    return stack.update(task_id, "running", run_id=str(uuid.uuid4()), **more)


# ---- paused


def test_a_paused_service_begins_nothing_and_ends_what_runs(make_stack, any_store):
    stack = make_stack(store=any_store, services=("echo", "other"))
    running = stack.create()
    run_id = str(uuid.uuid4())
    stack.update(running, "running", run_id=run_id)
    assert pause(stack) == {"result": "ok", "service": "echo", "paused": True, "limits": {"max_running": None, "max_waiting": None}}
    task_id, done = stack.create(), stack.create()
    answer = stack.post("update_status_task", {"data": {"task_id": task_id, "status": "running", "run_id": str(uuid.uuid4())}})
    assert answer.status == 409 and answer.json["code"] == "SERVICE_PAUSED"
    assert "echo" in answer.json["message"]
    stack.update(task_id, "running", http=409, code="SERVICE_PAUSED")
    assert stack.take(max=10) == []
    other = stack.create("other")
    got = stack.call("claim_task", {"data": {"services": ["echo", "other"], "max": 10}})["data"]
    assert [item["Task"]["task_id"] for item in got] == [other]
    assert stack.update(running, "running", run_id=run_id)["now"] == "running"
    stack.update(running, "finished", run_id=run_id)
    stack.update(done, "finished")
    resume(stack)
    assert claim(stack, task_id)["now"] == "running"


def test_nothing_begins_behind_the_answer_to_a_pause(make_stack, any_store):
    """A claim that the store is at already begins before the answer, however long that takes, or not at all."""
    stack = make_stack(store=any_store, api_args=("--store-fault", "apply:2=delay:500,apply:3=delay:1500"))
    task_id = stack.create()

    def paused():
        pause(stack)
        return stack.status(task_id)["status"]

    def claimed():
        time.sleep(0.2)  # for the store to be at the pause; sooner or later the claim shows nothing, and does no harm
        return stack.post("update_status_task", {"data": {"task_id": task_id, "status": "running", "run_id": str(uuid.uuid4())}}).status

    before, http = in_threads([paused, claimed])
    assert before == {200: "running", 409: "waiting"}[http]


def test_what_waits_for_a_paused_service_says_so(make_stack):
    stack = make_stack()
    queued, held = stack.create(), stack.create(start=False)
    running = stack.create()
    claim(stack, running)
    pause(stack)
    assert [item["sub_status"] for item in stack.status_of(queued, held, running)] == ["paused", "held", "claimed"]
    resume(stack)
    assert stack.status(queued)["sub_status"] == "queued"


def test_a_pause_and_limits_outlast_a_restart(make_stack, any_store):
    stack = make_stack(store=any_store, services=("echo", "other"))
    task_id = stack.create()
    pause(stack)
    limit(stack, "other", max_running=3, max_waiting=1)
    stack.api.kill()
    stack.api.restart()
    stack.update(task_id, "running", run_id=str(uuid.uuid4()), http=409, code="SERVICE_PAUSED")
    assert detail(stack)["paused"] and not detail(stack, "other")["paused"]
    assert detail(stack, "other")["limits"] == {"max_running": 3, "max_waiting": 1}
    stack.create("other")
    stack.call("create_task", {"service": "other", "condition": 1}, 429, "QUEUE_FULL")
    resume(stack)
    claim(stack, task_id)


def test_a_resume_wakes_those_who_wait(make_stack, any_store):
    stack = make_stack(store=any_store)
    pause(stack)
    task_id = stack.create()
    taken = []
    thread = threading.Thread(target=lambda: taken.extend(stack.take(max=1, wait_s=60)), daemon=True)
    began = time.monotonic()
    thread.start()
    resume(stack)
    thread.join(PATIENCE_S)
    assert [item["Task"]["task_id"] for item in taken] == [task_id]
    assert time.monotonic() - began < 55


@pytest.mark.cluster
def test_every_process_learns_of_a_pause(make_stack):
    stack = make_stack(store="mongodb", apis=2)
    task_id = stack.create()
    pause(stack, api=0)
    wait_until(lambda: detail(stack, api=1)["paused"], "for the other process to know")
    stack.update(task_id, "running", api=1, run_id=str(uuid.uuid4()), http=409, code="SERVICE_PAUSED")
    resume(stack, api=1)
    wait_until(lambda: not detail(stack, api=0)["paused"], "for the first process to know")
    claim(stack, task_id, api=0)


@pytest.mark.cluster
def test_no_claims_before_the_store_has_said_what_is_paused(make_stack, own_mongo):
    stack = make_stack(store="mongodb", mongo=own_mongo)
    task_id = stack.create()
    pause(stack)
    stack.api.stop()
    own_mongo.halt()
    api = stack.start_api(wait=False)
    api.ready()
    stack.call("claim_task", {"data": {"services": ["echo"]}}, 503, "STORE_UNAVAILABLE", api=1)
    own_mongo.restart()

    def refused():
        answer = stack.post("update_status_task", {"data": {"task_id": task_id, "status": "running", "run_id": str(uuid.uuid4())}}, api=1)
        assert answer.status != 200, answer
        return answer.json["code"] == "SERVICE_PAUSED"
    wait_until(refused, "for the pause to be known")


# ---- limits


def test_a_full_queue_refuses_creates(make_stack, any_store):
    stack = make_stack(store=any_store, services=("echo", "other"))
    assert limit(stack, max_waiting=2) == {"max_running": None, "max_waiting": 2}
    first = stack.create()
    got = stack.call("create_task", {"data": [{"service": "echo", "condition": 1}, {"service": "echo", "condition": 2},
                                              {"service": "other", "condition": 3}, {"service": "echo", "condition": 4}]})
    assert ["task_id" in item for item in got["data"]] == [True, False, True, False]
    assert {got["data"][1]["code"], got["data"][3]["code"]} == {"QUEUE_FULL"}
    answer = stack.post("create_task", {"service": "echo", "condition": 5})
    assert answer.status == 429 and answer.json["code"] == "QUEUE_FULL" and int(answer.headers["Retry-After"]) > 0
    assert stack.call("tasks", {"service": "echo"})["total"] == 2
    claim(stack, first)  # what runs does not wait
    stack.create()
    stack.call("create_task", {"service": "echo", "condition": 6}, 429, "QUEUE_FULL")
    limit(stack, max_waiting=0)
    stack.create()


def test_the_configured_limit_is_the_default(make_stack):
    stack = make_stack(config={"limits": {"waiting_per_service": 1}})
    assert detail(stack)["limits"] == {"max_running": None, "max_waiting": 1}
    stack.create()
    stack.call("create_task", {"service": "echo", "condition": 1}, 429, "QUEUE_FULL")
    assert limit(stack, max_waiting=2)["max_waiting"] == 2
    stack.create()
    stack.call("create_task", {"service": "echo", "condition": 1}, 429, "QUEUE_FULL")
    assert limit(stack, max_waiting=None)["max_waiting"] == 1
    assert limit(stack, max_waiting=0)["max_waiting"] is None
    stack.create()


def test_no_more_run_than_may_under_concurrent_claims(make_stack, any_store):
    stack = make_stack(store=any_store)
    limit(stack, max_running=3)
    ids = stack.create_many("echo", list(range(24)))
    codes = []

    def one(task_id):
        answer = stack.post("update_status_task", {"data": {"task_id": task_id, "status": "running", "run_id": str(uuid.uuid4())}})
        codes.append((answer.status, answer.json.get("code")))
    in_threads([lambda task_id=task_id: one(task_id) for task_id in ids[:16]]
               + [lambda: stack.take(max=2) for _ in range(4)])
    running = stack.call("tasks", {"status": "running", "p_size": 100})["data"]
    assert len(running) == 3
    assert {code for code in codes if code[0] != 200} <= {(429, "LIMIT_REACHED")}
    assert stack.take(max=5) == []
    stack.update(running[0]["task_id"], "finished", http=409, code="STALE_RUN")  # whose run_id is another's


def test_room_wakes_those_who_wait(make_stack, any_store):
    stack = make_stack(store=any_store)
    limit(stack, max_running=1)
    first, second = stack.create(), stack.create()
    (held,) = stack.take(max=5)
    assert held["Task"]["task_id"] == first
    taken = []
    thread = threading.Thread(target=lambda: taken.extend(stack.take(max=5, wait_s=60)), daemon=True)
    thread.start()
    stack.update(first, "finished", run_id=held["run_id"])
    thread.join(PATIENCE_S)
    assert [item["Task"]["task_id"] for item in taken] == [second]


def test_a_run_that_is_tried_again_later_makes_room(make_stack, any_store):
    stack = make_stack(store=any_store)
    limit(stack, max_running=1)
    retry = {"kind": "fixed", "base_s": 3600, "max_s": 3600, "jitter": 0}
    first, second = stack.create(max_attempts=2, retry=retry), stack.create()
    (held,) = stack.take()
    assert held["Task"]["task_id"] == first
    thread, answers = waiting_poll(stack, "w1")
    stack.update(first, "failed", run_id=held["run_id"])
    thread.join(PATIENCE_S)
    assert [item["Task"]["task_id"] for item in answers[0]] == [second]


def test_a_raised_limit_and_a_lower_one(make_stack, any_store):
    stack = make_stack(store=any_store)
    limit(stack, max_running=1)
    stack.create_many("echo", list(range(6)))
    assert len(stack.take(max=5)) == 1
    limit(stack, max_running=4)
    held = stack.take(max=5)
    assert len(held) == 3
    limit(stack, max_running=2)  # those who run go on
    assert stack.take(max=5) == []
    for item in held[:2]:
        stack.update(item["Task"]["task_id"], "finished", run_id=item["run_id"])
    assert stack.take(max=5) == []
    stack.update(held[2]["Task"]["task_id"], "finished", run_id=held[2]["run_id"])
    assert len(stack.take(max=5)) == 1


# ---- polls of a worker


def waiting_poll(stack, worker, **more):
    """The same once it has asked the store: what notes its worker is in the batch of its question."""
    poller = answer_of(stack, worker, **more)
    wait_until(lambda: worker in [row["id"] for row in stack.call("worker_task", {})["data"]], f"for the poll of {worker}")
    return poller


def poll(stack, worker, services=("echo",), wait_s=60, **more):
    data = {"services": list(services), "wait_s": wait_s, "worker": {"id": worker, **more}}
    return stack.call("claim_task", {"data": data})["data"]


def answer_of(stack, *args, **more):
    """A poll in a thread of its own, and the list that gets its answer."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(poll(stack, *args, **more)), daemon=True)
    thread.start()
    return thread, answers


def test_a_new_poll_of_a_worker_ends_the_old_one(make_stack, any_store):
    stack = make_stack(store=any_store)
    thread, answers = answer_of(stack, "w1")
    other, others = answer_of(stack, "w2")

    def ended():
        assert poll(stack, "w1", wait_s=0.05) == []
        return not thread.is_alive()
    wait_until(ended, "for the old poll to end")
    assert answers == [[]] and other.is_alive()
    task_id = stack.create()
    other.join(PATIENCE_S)
    assert [item["Task"]["task_id"] for item in others[0]] == [task_id]


def test_a_task_that_its_poll_leaves_for_a_better_one_wakes_the_next(make_stack, any_store):
    stack = make_stack(store=any_store, services=("echo", "other"))
    _, both = waiting_poll(stack, "w1", services=("echo", "other"))
    thread, answers = waiting_poll(stack, "w2")
    tasks = [{"service": "echo", "condition": None, "priority": 1}, {"service": "other", "condition": None, "priority": 9}]
    left, better = [item["task_id"] for item in stack.call("create_task", {"data": tasks})["data"]]
    thread.join(PATIENCE_S)
    assert [item["Task"]["task_id"] for item in answers[0]] == [left]
    assert [item["Task"]["task_id"] for item in both[0]] == [better]


def test_tasks_behind_one_that_expires_wake_all_who_wait(make_stack, any_store):
    stack = make_stack(store=any_store, config={"sweep_s": 5})
    gone = stack.create(expire_s=1)
    time.sleep(1.1)
    pollers = [waiting_poll(stack, worker) for worker in ("w1", "w2")]
    ids = [stack.create(), stack.create()]
    for thread, _ in pollers:
        thread.join(PATIENCE_S)
    assert sorted(item["Task"]["task_id"] for _, answers in pollers for item in answers[0]) == sorted(ids)
    assert stack.status(gone)["sub_status"] == "expired"


@pytest.mark.parametrize("worker", [1, "w1", {}, {"id": ""}, {"id": 7}, {"id": "x" * 129}, {"id": "w", "slots": "2"}, {"id": "w", "services": "echo"}])
def test_a_wrong_worker_is_refused_by_name(make_stack, worker):
    stack = make_stack()
    got = stack.call("claim_task", {"data": {"services": ["echo"], "worker": worker}}, 400, "INVALID_PARAMETER")
    assert any(word in got["message"] for word in ("worker", "id", "slots", "services"))


# ---- what is told


def test_services_in_detail(make_stack, any_store):
    stack = make_stack(store=any_store, services=("echo", "other"))
    assert stack.call("service_task", {})["data"] == ["echo", "other"]
    ids = stack.create_many("echo", list(range(4)))
    stack.create(start=False)
    claim(stack, ids[0])
    stack.update(ids[1], "finished")
    stack.update(ids[2], "failed")
    stack.call("heartbeat_task", {"data": [], "worker": {"id": "w1", "services": ["echo"], "slots": 1}})
    stack.call("heartbeat_task", {"data": [], "worker": {"id": "w2", "services": ["echo", "other"], "slots": 1}})
    row = detail(stack)
    age = row.pop("oldest_waiting_s")
    assert 0 <= age < PATIENCE_S
    assert row == {"service": "echo", "topic": None, "paused": False, "limits": {"max_running": None, "max_waiting": None},
                   "counts": {"ready": 1, "waiting": 1, "running": 1, "finished": 1, "failed": 1}, "workers": 2}
    wait_until(lambda: detail(stack)["oldest_waiting_s"] > age, "for the oldest to grow older")
    assert detail(stack, "other") == {"service": "other", "topic": None, "paused": False,
                                      "limits": {"max_running": None, "max_waiting": None},
                                      "counts": {"ready": 0, "waiting": 0, "running": 0, "finished": 0, "failed": 0},
                                      "oldest_waiting_s": None, "workers": 1}


@pytest.mark.parametrize("route, data, code, word", [
    ("pause_service_task", {}, "INVALID_PARAMETER", "service"),
    ("pause_service_task", {"service": 1}, "INVALID_PARAMETER", "service"),
    ("resume_service_task", {"service": "nobody"}, "SERVICE_NOT_SUPPORT", "service not support"),
    ("limit_service_task", {"service": "echo"}, "INVALID_PARAMETER", "max_running"),
    ("limit_service_task", {"service": "echo", "max_running": -1}, "INVALID_PARAMETER", "max_running"),
    ("limit_service_task", {"service": "echo", "max_running": 1.5}, "INVALID_PARAMETER", "max_running"),
    ("limit_service_task", {"service": "echo", "max_waiting": "2"}, "INVALID_PARAMETER", "max_waiting"),
    ("limit_service_task", {"max_waiting": 2}, "INVALID_PARAMETER", "service"),
    ("service_task", {"detail": 1}, "INVALID_PARAMETER", "detail"),
])
def test_wrong_words_are_named(make_stack, route, data, code, word):
    stack = make_stack()
    assert word in stack.call(route, {"data": data}, 400, code)["message"]
    assert not detail(stack)["paused"]


# ---- with a broker


def cluster(make_stack, **more):
    return make_stack(**{"store": "mongodb", "broker": "kafka", "config": QUICK, "mq": QUICK_MQ, **more})


def keys(stack, at_least):
    return [got.key.decode() for got in stack.messages("echo", at_least)]


@pytest.fixture(params=["sqlite", "mongodb"])
def told(make_stack, request):
    """An API that tells Kafka, on either store."""
    return cluster(make_stack, store=request.param, services=("echo", "other"))


@pytest.mark.cluster
def test_a_paused_service_is_told_nothing_until_it_is_resumed(told):
    stack = told
    before = stack.create()
    assert keys(stack, 1) == [before]
    stack.wait_status(before, "waiting")
    pause(stack)
    ids = [stack.create(condition=number) for number in range(3)] + stack.create_many("echo", [3, 4])
    held = stack.create(start=False)
    stack.call("start_task", {"task_id": held})
    stack.call("update_task", {"task_id": before, "condition": "new"})
    other = stack.create("other")
    stack.wait_status(other, "waiting")  # the publisher and the sweeper have been at work
    stack.api.restart()
    other = stack.create("other")
    stack.wait_status(other, "waiting")
    assert keys(stack, 1) == [before]
    assert {item["sub_status"] for item in stack.status_of(*ids, held)} == {"producing"}
    resume(stack)
    assert sorted(keys(stack, 8)[1:]) == sorted(ids + [held, before])
    for task_id in ids + [held]:
        stack.wait_status(task_id, "waiting")


@pytest.mark.cluster
def test_a_topic_that_is_gone_holds_up_no_other_service(told):
    stack = told
    pause(stack)
    task_id = stack.create()
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka.bootstrap)
    admin.delete_topics([stack.topic("other")])
    admin.close()
    stack.api.wait_line(msg="kafka topic missing")
    resume(stack)
    assert keys(stack, 1) == [task_id]
    assert stack.request("GET", "/readyz", token=None).status == 503


@pytest.mark.cluster
def test_more_than_a_page_of_messages_goes_out_after_a_pause(make_stack):
    stack = cluster(make_stack, store="sqlite", config={"sweep_s": 1})
    pause(stack)
    ids = [task_id for _ in range(3) for task_id in stack.create_many("echo", list(range(600)))]
    resume(stack)
    assert sorted(keys(stack, 1800)) == sorted(ids)


@pytest.mark.cluster
def test_a_refused_module_without_run_id_is_told_again(told):
    """It has committed its message; so the task rings again when it may run."""
    stack = told
    task_id = stack.create()
    assert keys(stack, 1) == [task_id]
    stack.wait_status(task_id, "waiting")
    pause(stack)
    stack.update(task_id, "running", http=409, code="SERVICE_PAUSED")
    other = stack.create("other")
    stack.wait_status(other, "waiting")
    assert keys(stack, 1) == [task_id]
    resume(stack)
    assert keys(stack, 2) == [task_id] * 2
    stack.update(task_id, "running")


@pytest.mark.cluster
def test_a_module_refused_by_a_limit_is_told_when_there_is_room(told):
    stack = told
    limit(stack, max_running=1)
    first, second, third = stack.create_many("echo", [1, 2, 3])
    assert keys(stack, 3) == [first, second, third]
    stack.update(first, "running")
    stack.update(second, "running", http=429, code="LIMIT_REACHED")
    stack.update(third, "running", http=429, code="LIMIT_REACHED")
    other = stack.create("other")
    stack.wait_status(other, "waiting")
    assert len(keys(stack, 3)) == 3
    stack.update(first, "finished")
    told_again = keys(stack, 4)[3]
    assert told_again in (second, third)
    stack.update(told_again, "running")
    stack.update(told_again, "finished")
    left = ({second, third} - {told_again}).pop()
    wait_until(lambda: left in keys(stack, 4)[3:], "for the last one to be told")
    stack.update(left, "running")


@pytest.mark.cluster
def test_pause_and_resume_with_a_queue_and_consumers(make_stack, tmp_path):
    notes = tmp_path / "notes"
    stack = cluster(make_stack, services={"script": module("script", slots=2)}, consumers=1)
    ids = stack.create_many("script", [[["note", str(notes)]]] * 10)
    pause(stack, "script")
    ids += stack.create_many("script", [[["note", str(notes)]]] * 20)
    wait_until(lambda: detail(stack, "script")["counts"]["running"] == 0, "for what runs to end")
    before = detail(stack, "script")["counts"]["finished"]
    assert before < 30
    resume(stack, "script")
    stack.wait_finished(ids)
    runs = [line.split()[2] for line in notes.read_text().splitlines()]
    assert sorted(runs) == sorted(ids)


def held_consumer(make_stack):
    """A service of two partitions with a message for each of its tasks, paused, and a consumer that is held by that; the tasks."""
    stack = cluster(make_stack, services={"script": module("script", slots=2)}, partitions=2)
    ids = stack.create_many("script", [[]] * 20)
    for task_id in ids:
        stack.wait_status(task_id, "waiting")
    pause(stack, "script")
    stack.start_consumer().wait_line(msg="service held")  # with both partitions paused
    return stack, ids


def leaves(stack, other):
    """The other consumer ends, and the held one has both partitions again."""
    other.terminate()
    assert other.ended() == 0
    wait_until(lambda: len(stack.consumer.find(msg="partitions assigned", count=2)) == 2, "for the consumer to have both partitions again")


@pytest.mark.cluster
def test_a_held_consumer_goes_on_with_partitions_that_it_has_lost_meanwhile(make_stack):
    """With them go the claims with which it would have asked whether the service is open again."""
    stack, ids = held_consumer(make_stack)
    other = stack.start_consumer()
    other.wait_line(msg="service held")
    leaves(stack, other)
    resume(stack, "script")
    stack.wait_finished(ids)


@pytest.mark.cluster
def test_a_partition_that_was_paused_when_it_went_is_read_when_it_comes_back(make_stack):
    """librdkafka 2.0.2 goes on pausing what its application has paused, through revocation and assignment."""
    stack, ids = held_consumer(make_stack)
    other = stack.start_consumer()
    other.wait_line(msg="partitions assigned", count=1)
    resume(stack, "script")
    stack.wait_finished(ids)
    leaves(stack, other)
    stack.wait_finished(stack.create_many("script", [[]] * 20))  # claim_task would bring them in any case
    wait_until(lambda: sum(stack.committed("script", partition) or 0 for partition in range(2)) == 40, "for all messages to be read")


def most_at_once(rows):
    """How many runs held a task at a time, by the API's own times; one that ends makes room for one that starts then."""
    steps = sorted([(row["start_time"], 1) for row in rows] + [(row["end_time"], -1) for row in rows])
    return max(sum(step for _, step in steps[:at + 1]) for at in range(len(steps)))


def test_a_limit_holds_with_consumers(make_stack, any_store, tmp_path):
    notes, go = tmp_path / "notes", tmp_path / "go"
    stack = make_stack(store=any_store, services={"script": module("script", slots=4)}, config={"max_status_task": 100})
    limit(stack, "script", max_running=2)
    stack.start_consumer()
    stack.start_consumer()
    ids = stack.create_many("script", [[["note", str(notes)], ["until", str(go)]]] * 20)
    wait_until(lambda: notes.exists() and len(notes.read_text().splitlines()) == 2, "for two runs")
    go.touch()
    stack.wait_finished(ids)
    assert most_at_once(stack.status_of(*ids)) == 2
    assert sorted(line.split()[2] for line in notes.read_text().splitlines()) == sorted(ids)
