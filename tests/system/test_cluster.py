"""MongoDB and Kafka: document first, message second; what happens when either is away, late, or said twice."""
import json
import signal
import threading
import time
import uuid
from pathlib import Path

import pytest

from tests.services.services import SASL_PASSWORD, SASL_USER, _start_time
from tests.system.stack import PATIENCE_S, in_threads, module, wait_until

pytestmark = pytest.mark.cluster
# A message that Kafka did not take counts as not sent after so long, and the sweeper looks so often.
QUICK = {"sweep_s": 0.2}
QUICK_MQ = {"librdkafka": {"message.timeout.ms": "3000"}}


def cluster(make_stack, **more):
    options = {"store": "mongodb", "broker": "kafka", "config": QUICK, "mq": QUICK_MQ, **more}
    return make_stack(**options)


@pytest.fixture
def stack(make_stack):
    """An API without a consumer."""
    return cluster(make_stack, services=("echo", "other"))


@pytest.fixture
def calm(make_stack):
    """One that gives a busy broker time, so that each message is said once."""
    return cluster(make_stack, services=("echo", "other"), mq={})


def say(stack, service, value, key=None):
    """A message from somebody else."""
    from kafka import KafkaProducer
    producer = KafkaProducer(bootstrap_servers=stack.kafka.bootstrap)
    producer.send(stack.topic(service), value=value if isinstance(value, bytes) else json.dumps(value).encode(),
                  key=key.encode() if key else None)
    producer.flush(PATIENCE_S)
    producer.close()


def message(stack, task_id, service="echo", condition=None):
    return {"Task": {"task_id": task_id, "service": service, "source_name": f"source of {service}", "condition": condition}}


def noting(tmp_path, more=()):
    notes = tmp_path / "notes"
    return notes, [["note", str(notes)], *more]


def runs(notes):
    return [line.split()[2] for line in notes.read_text().splitlines()] if notes.exists() else []


# ---- the message


def test_a_create_becomes_a_document_and_a_message(calm):
    condition = {"x": 1, "y": [1.0, "ü"], "": {"$a.b": None}}
    task_id = calm.create(condition=condition)
    (got,) = calm.messages("echo", 1)
    assert json.loads(got.value) == {"Task": {"task_id": task_id, "service": "echo", "source_name": "source of echo",
                                              "condition": condition}}
    assert got.key.decode() == task_id
    calm.wait_status(task_id, "waiting")
    assert calm.status(task_id)["sub_status"] == "queued"
    assert calm.collection().count_documents({"task_id": task_id}) == 1


def test_held_tasks_have_no_message_until_started(calm):
    held = calm.create(start=False)
    told = calm.create()
    assert [got.key.decode() for got in calm.messages("echo", 1)] == [told]
    assert calm.status(held)["sub_status"] == "held"
    calm.call("start_task", {"task_id": held})
    assert [got.key.decode() for got in calm.messages("echo", 2)] == [told, held]
    calm.wait_status(held, "waiting")


def test_an_array_of_creates_becomes_messages_in_order(calm):
    ids = calm.create_many("echo", list(range(200)))
    assert [got.key.decode() for got in calm.messages("echo", 200)] == ids
    for task_id in ids[:3] + ids[-3:]:
        calm.wait_status(task_id, "waiting")


def test_update_task_of_a_queued_task_says_it_again(calm):
    task_id = calm.create(condition=1)
    calm.messages("echo", 1)
    calm.wait_status(task_id, "waiting")
    calm.call("update_task", {"task_id": task_id, "condition": 2})
    got = calm.messages("echo", 2)
    assert [json.loads(one.value)["Task"]["condition"] for one in got] == [1, 2]
    calm.wait_status(task_id, "waiting")
    assert calm.update(task_id, "running", run_id=str(uuid.uuid4()))["condition"] == 2


def test_a_final_task_that_is_started_is_told_again(stack):
    task_id = stack.create()
    stack.wait_status(task_id, "waiting")
    stack.update(task_id, "finished")
    stack.call("start_task", {"task_id": task_id})
    stack.messages("echo", 2)
    stack.wait_status(task_id, "waiting")


def test_a_message_that_the_topic_cannot_take_is_refused_at_create(make_stack, kafka):
    stack = cluster(make_stack, topics=False, apis=0)
    kafka.create_topic(stack.topic("echo"), max_message_bytes=4000)
    stack.start_api()
    stack.create(condition="x" * 2000)
    stack.call("create_task", {"service": "echo", "condition": "x" * 5000}, 413, "TOO_LARGE")
    got = stack.call("create_task", {"data": [{"service": "echo", "condition": "y" * 5000}, {"service": "echo", "condition": "z"}]})
    assert got["data"][0]["code"] == "TOO_LARGE" and "task_id" in got["data"][1]
    assert stack.call("tasks", {})["total"] == 2


def test_a_missing_topic_stops_the_start_and_is_named(make_stack):
    stack = cluster(make_stack, topics=False, apis=0)
    api = stack.start_api(wait=False)
    api.expect_exit = 78
    assert api.wait() == 78 and stack.topic("echo") in api.text()


def test_topics_are_made_where_the_configuration_says_so(make_stack):
    stack = cluster(make_stack, topics=False, mq={"create_topics": {"partitions": 3, "replication_factor": 1}})
    task_id = stack.create()
    assert [got.key.decode() for got in stack.messages("echo", 1)] == [task_id]


# ---- modules


def test_create_run_result(make_stack):
    stack = cluster(make_stack, services={"echo": module("echo", slots=2)}, consumers=1)
    condition = {"x": [1, 1.0, "ü\u0000"], "a.b": {"$c": 2**63 - 1}}
    task_id = stack.create(condition=condition)
    assert stack.wait_final(task_id)["status"] == "finished"
    assert stack.result(task_id)["data"] == condition
    wait_until(lambda: stack.committed("echo") == 1, "for the offset to be committed")


def test_two_apis_and_two_consumers_each_task_once(make_stack, tmp_path):
    stack = cluster(make_stack, services={"script": module("script", slots=3)}, apis=2, partitions=4)
    stack.start_consumer(api=0)
    stack.start_consumer(api=1)
    notes, steps = noting(tmp_path)
    ids = sum(in_threads([lambda api=number % 2: stack.create_many("script", [steps] * 10, api=api) for number in range(6)]), [])
    stack.wait_finished(ids, api=1)
    assert sorted(runs(notes)) == sorted(ids)


def test_a_rebalance_runs_nothing_twice(make_stack, tmp_path):
    stack = cluster(make_stack, services={"script": module("script", slots=2)}, partitions=3, consumers=1)
    notes, steps = noting(tmp_path)
    ids = stack.create_many("script", [steps] * 30)
    second = stack.start_consumer()
    more = stack.create_many("script", [steps] * 30)
    wait_until(lambda: len(runs(notes)) >= 20, "for some runs")
    second.stop()
    third = stack.start_consumer()
    stack.wait_finished(ids + more)
    assert sorted(runs(notes)) == sorted(ids + more)
    assert third.alive()


def test_claims_at_two_apis_at_once_one_wins(make_stack):
    stack = cluster(make_stack, broker="none", apis=2, services=("echo",))
    for _ in range(10):
        task_id = stack.create()
        answers = in_threads([lambda api=number % 2: stack.post("update_status_task", {"data": {
            "task_id": task_id, "status": "running", "run_id": str(uuid.uuid4())}}, api=api) for number in range(8)])
        assert sorted(answer.status for answer in answers) == [200] + [409] * 7
        assert {answer.json["code"] for answer in answers if answer.status == 409} == {"ALREADY_CLAIMED"}
    ids = stack.create_many("echo", range(60))
    taken = sum(in_threads([lambda api=number % 2: stack.take(api=api, max=20) for number in range(8)]), [])
    assert sorted(item["Task"]["task_id"] for item in taken) == sorted(ids)


def test_what_one_api_creates_wakes_who_waits_at_the_other(make_stack):
    stack = cluster(make_stack, broker="none", apis=2, services={"echo": module("echo")})
    stack.start_consumer(api=1)
    for _ in range(3):
        assert stack.wait_final(stack.create(api=0), api=1)["status"] == "finished"


def test_an_api_that_is_killed_leaves_no_shared_memory(stack):
    assert stack.create()
    stack.api.kill()
    assert not Path(f"/dev/shm/mongoc-{stack.api.pid}").exists()


# ---- Kafka away


def test_create_does_not_wait_for_kafka(stack, kafka):
    first = stack.create()
    stack.wait_status(first, "waiting")
    kafka.pause()
    ids = [stack.create(condition=number) for number in range(3)]
    for task_id in ids:
        assert stack.status(task_id)["status"] == "ready" and stack.status(task_id)["sub_status"] == "producing"
    kafka.resume()
    for task_id in ids:
        stack.wait_status(task_id, "waiting")
    assert {got.key.decode() for got in stack.messages("echo", 4)} == {first, *ids}


def test_what_was_stored_and_never_told_is_told_by_the_next_api(stack, kafka):
    kafka.halt()
    ids = stack.create_many("echo", range(20))
    assert stack.status(ids[0])["sub_status"] == "producing"
    stack.api.kill()  # what its librdkafka held is gone
    kafka.restart()
    stack.api.restart()
    for task_id in ids:
        stack.wait_status(task_id, "waiting")
    assert {got.key.decode() for got in stack.messages("echo", 20)} == set(ids)


def test_another_api_tells_what_the_first_could_not(make_stack, kafka):
    stack = cluster(make_stack, apis=2)
    kafka.pause()
    ids = stack.create_many("echo", range(5), api=0)
    stack.apis[0].kill()
    kafka.resume()
    for task_id in ids:
        stack.wait_status(task_id, "waiting", api=1)
    assert {got.key.decode() for got in stack.messages("echo", 5)} == set(ids)


def test_a_second_signal_ends_an_api_that_waits_for_kafka(stack, kafka):
    stack.wait_status(stack.create(), "waiting")
    kafka.pause()
    stack.create()
    stack.api.terminate()
    stack.api.wait_line(msg="stopping")
    time.sleep(0.2)  # the loop has ended by then, as a rule, and what is on its way to Kafka is waited for
    stack.api.expect_exit = None
    stack.api.terminate()
    assert stack.api.ended() in (128 + signal.SIGTERM, -signal.SIGTERM)


def test_a_consumer_kills_its_runs_and_ends_while_kafka_stands_still(make_stack, kafka, tmp_path):
    """The offset of its last claim is never committed; a second signal reaches the run all the same."""
    stack = cluster(make_stack, services={"script": module("script", slots=1)}, consumers=1)
    begun, go = tmp_path / "begun", tmp_path / "go"
    first, second = stack.create_many("script", [[["note", str(begun)], ["until", str(go)]],
                                                 [["ignore"], ["note", str(begun)], ["until", str(tmp_path / "never")]]])
    wait_until(begun.exists, "for the first run")
    kafka.pause()
    go.touch()
    wait_until(lambda: len(begun.read_text().splitlines()) == 2, "for the second run")
    assert stack.status(first)["status"] == "finished"
    stack.consumer.terminate()
    stack.consumer.wait_line(msg="stopping")
    stack.consumer.terminate()
    wait_until(lambda: stack.status(second)["status"] != "running", "for the task to be handed back")
    assert stack.consumer.ended() == 0


def test_the_api_starts_without_kafka_and_says_so(stack, kafka):
    stack.api.stop()
    kafka.halt()
    stack.api.restart()
    task_id = stack.create()
    answer = wait_until(lambda: (lambda got: got if got.status == 503 else None)(stack.request("GET", "/readyz", token=None)),
                        "for readyz to notice")
    assert answer.headers["Retry-After"]
    assert stack.request("GET", "/healthz", token=None).status == 200
    kafka.restart()
    stack.wait_status(task_id, "waiting")
    wait_until(lambda: stack.request("GET", "/readyz", token=None).status == 200, "for readyz")


def test_a_consumer_lives_through_a_restart_of_kafka(make_stack, kafka, tmp_path):
    stack = cluster(make_stack, services={"script": module("script")}, consumers=1)
    notes, steps = noting(tmp_path)
    first = stack.create("script", steps)
    stack.wait_finished([first])
    kafka.restart()
    ids = stack.create_many("script", [steps] * 5)
    stack.wait_finished(ids)
    assert sorted(runs(notes)) == sorted([first, *ids])


# ---- a claim and the note of the delivery, in both orders


def test_a_claim_may_overtake_the_delivery_report(stack, kafka):
    stack.create()
    stack.messages("echo", 1)
    kafka.pause()
    task_id, run_id = stack.create(condition="early"), str(uuid.uuid4())
    assert stack.status(task_id)["sub_status"] == "producing"
    got = stack.update(task_id, "running", run_id=run_id)
    assert got["now"] == "running" and got["condition"] == "early"
    kafka.resume()
    stack.messages("echo", 2)
    later = stack.create()  # its own report comes after the one that was overtaken
    stack.wait_status(later, "waiting")
    assert stack.status(task_id)["status"] == "running"
    stack.update(task_id, "finished", run_id=run_id, result=1)
    assert stack.result(task_id)["data"] == 1
    assert stack.update(task_id, "running", 409, "STALE_RUN", run_id=run_id)


def test_a_whole_base_contract_run_may_overtake_it(stack, kafka):
    stack.create()
    stack.messages("echo", 1)
    kafka.pause()
    task_id, other = stack.create(), stack.create()
    stack.update(task_id, "running")
    stack.update(task_id, "finished", message="before its message")
    stack.update(other, "failed")
    kafka.resume()
    stack.messages("echo", 3)
    later = stack.create()
    stack.wait_status(later, "waiting")
    assert stack.status(task_id)["status"] == "finished" and stack.status(other)["status"] == "failed"


def test_a_claim_after_the_report(stack):
    task_id = stack.create()
    stack.wait_status(task_id, "waiting")
    assert stack.update(task_id, "running", run_id=str(uuid.uuid4()))["now"] == "running"


# ---- what a consumer does with a message whose claim is refused


def test_messages_that_say_nothing_new_are_dropped(make_stack, tmp_path):
    stack = cluster(make_stack, services={"script": module("script")})
    notes, steps = noting(tmp_path)
    done, held = stack.create("script", steps), stack.create("script", steps, start=False)
    mine = stack.create("script", steps)
    stack.wait_status(done, "waiting")
    stack.update(done, "finished", message="elsewhere")
    stack.update(mine, "running", run_id=str(uuid.uuid4()))
    for value in (message(stack, "ts_script_00000000-0000-0000-0000-000000000000", "script", steps), message(stack, held, "script", steps),
                  message(stack, mine, "script", steps)):
        say(stack, "script", value, "k")
    last = stack.create("script", steps)
    consumer = stack.start_consumer()
    stack.wait_finished([last])
    wait_until(lambda: stack.committed("script") == stack.end_offset("script"), "for all messages to be committed")
    assert runs(notes) == [last]
    assert stack.status(done)["message"] == "elsewhere" and stack.status(held)["sub_status"] == "held"
    assert stack.status(mine)["status"] == "running" and consumer.alive()


@pytest.mark.parametrize("value", [b"", b"no json", b"{}", b"[]", b'{"Task": 5}', b'{"Task": {"task_id": 5}}', b'{"Task": {"task_id": "x"}',
                                   b"\xff\xfe", b'{"Task": {"service": "script", "condition": 1}}'])
def test_a_message_that_does_not_parse_is_logged_and_skipped(make_stack, tmp_path, value):
    stack = cluster(make_stack, services={"script": module("script")})
    notes, steps = noting(tmp_path)
    say(stack, "script", value)
    task_id = stack.create("script", steps)
    consumer = stack.start_consumer()
    stack.wait_finished([task_id])
    told = wait_until(lambda: [line for line in consumer.lines()  # the task may have come by claim_task, before its message
                               if line.get("topic") == stack.topic("script") and line.get("level") in ("warning", "error")],
                      "for a word of the message")
    assert told[0]["partition"] == 0 and told[0]["offset"] == 0, consumer.lines()
    wait_until(lambda: stack.committed("script") == 2, "for the offset")
    assert runs(notes) == [task_id]


def test_a_message_said_twice_runs_once(make_stack, tmp_path):
    stack = cluster(make_stack, services={"script": module("script", slots=2)}, consumers=1)
    notes, steps = noting(tmp_path)
    task_id = stack.create("script", steps)
    for _ in range(3):
        say(stack, "script", message(stack, task_id, "script", steps), task_id)
    stack.wait_finished([task_id])
    wait_until(lambda: stack.committed("script") == 4, "for the offset")
    assert runs(notes) == [task_id]


def test_without_an_answer_the_message_is_kept(make_stack, tmp_path):
    stack = cluster(make_stack, services={"script": module("script")}, consumers=1)
    notes, steps = noting(tmp_path)
    first = stack.create("script", steps)
    stack.wait_finished([first])
    wait_until(lambda: stack.committed("script") == 1, "for the first offset")
    stack.api.kill()
    # The API is away; the task is made by another one over the same database.
    other = stack.start_api()
    second = stack.create("script", steps, api=1)
    stack.wait_status(second, "waiting", api=1)
    wait_until(lambda: [line for line in stack.consumer.lines() if line.get("level") in ("warning", "error")],
               "for the consumer to complain")
    assert stack.committed("script") == 1 and stack.status(second, api=1)["status"] == "waiting"
    stack.api.restart()
    stack.wait_finished([second])
    wait_until(lambda: stack.committed("script") == 2, "for the second offset")
    assert runs(notes) == [first, second] and other.alive()


def test_messages_keep_no_claim_without_an_answer_from_being_made_again(make_stack):
    """It holds the room that they wait for, though they come too soon after one another for a consumer to ask what waits elsewhere."""
    from kafka import KafkaProducer
    stack = cluster(make_stack, store="sqlite", services={"echo": module("echo")}, consumers=1, config={**QUICK, "lease_s": 600})
    consumer = stack.consumers[0]
    consumer.wait_line(msg="partitions assigned")
    stack.api.stop()
    consumer.wait_line(msg="api unavailable")
    producer, enough = KafkaProducer(bootstrap_servers=stack.kafka.bootstrap), threading.Event()

    def speak():
        for number in range(400):
            producer.send(stack.topic("echo"), value=json.dumps(message(stack, f"ts_echo_{number}")).encode())
            producer.flush(PATIENCE_S)
            if enough.wait(0.05):
                break

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        stack.api.restart()
        stack.wait_finished([stack.create()])
        assert speaker.is_alive(), "the task has waited for the last message"
    finally:
        enough.set()
        speaker.join()
        producer.close()


def test_a_consumer_killed_before_its_claim_loses_nothing(make_stack, tmp_path):
    stack = cluster(make_stack, services={"script": module("script")}, consumers=1)
    notes, steps = noting(tmp_path)
    stack.api.kill()
    stack.start_api()
    task_id = stack.create("script", steps, api=1)
    wait_until(lambda: [line for line in stack.consumer.lines() if line.get("level") in ("warning", "error")],
               "for the consumer to complain")
    stack.consumer.kill()
    stack.start_consumer(api=1)
    stack.wait_finished([task_id], api=1)
    assert runs(notes) == [task_id]


def test_the_offset_does_not_wait_for_the_run(make_stack, tmp_path):
    # With one slot the task, taken over claim_task since its message was slow to come, would leave no room to look at the message.
    stack = cluster(make_stack, services={"script": module("script", slots=2)}, consumers=1)
    notes, go = tmp_path / "notes", tmp_path / "go"
    task_id = stack.create("script", [["note", str(notes)], ["until", str(go)]])
    wait_until(lambda: stack.committed("script") == 1, "for the offset of a task that still runs")
    assert stack.status(task_id)["status"] == "running"
    go.touch()
    stack.wait_finished([task_id])


def test_a_stopping_consumer_leaves_the_rest_to_the_next(make_stack, tmp_path):
    stack = cluster(make_stack, services={"script": module("script")}, consumers=1)
    notes, go = tmp_path / "notes", tmp_path / "go"
    first = stack.create("script", [["note", str(notes)], ["until", str(go)]])
    rest = stack.create_many("script", [[["note", str(notes)]]] * 5)
    wait_until(lambda: notes.exists(), "for the first run")
    stack.consumer.terminate()
    go.touch()
    assert stack.consumer.wait() == 0
    assert stack.status(first)["status"] == "finished"
    stack.start_consumer()
    stack.wait_finished(rest)
    assert sorted(runs(notes)) == sorted([first, *rest])


# ---- SASL


def test_sasl_plain(make_stack, kafka):
    login = {"sasl_plain_username": SASL_USER, "sasl_plain_password": SASL_PASSWORD}
    stack = cluster(make_stack, services={"echo": module("echo")}, sasl=True, mq={**QUICK_MQ, **login}, consumers=1)
    assert stack.wait_final(stack.create(condition=5))["status"] == "finished"
    assert SASL_PASSWORD not in stack.api.text() + stack.consumer.text()


def test_the_password_may_come_from_the_environment(make_stack, kafka):
    stack = cluster(make_stack, sasl=True, mq={**QUICK_MQ, "sasl_plain_username": SASL_USER}, apis=0)
    stack.env = lambda env=stack.env(): {**env, "SASL_PLAIN_PASSWORD": SASL_PASSWORD}
    stack.start_api()
    stack.wait_status(stack.create(), "waiting")


def test_a_wrong_password_is_said_and_nothing_is_lost(make_stack, kafka):
    stack = cluster(make_stack, sasl=True, mq={**QUICK_MQ, "sasl_plain_username": SASL_USER, "sasl_plain_password": "wrong"}, apis=0)
    api = stack.start_api(wait=False)
    told = wait_until(lambda: not api.alive() or [line for line in api.lines() if "uthenticat" in json.dumps(line) or "SASL" in json.dumps(line)],
                      "for the API to complain")
    assert told
    if api.alive():
        api.ready()
        task_id = stack.create()
        wait_until(lambda: stack.request("GET", "/readyz", token=None).status == 503, "for readyz to say so")
        assert stack.status(task_id)["status"] == "ready"
    else:
        api.expect_exit = None
    assert _start_time(kafka.pid)
