"""Kafka and tasks that take long: the message is only the doorbell. Its offset is committed once the claim is durable, and a
run outlasts every interval of the group. Every module start is noted in a file."""
import threading
import time
import uuid

import pytest

from tests.system.stack import PATIENCE_S, module, wait_until

pytestmark = pytest.mark.cluster

# The group's intervals as short as a busy machine takes them: a run outlasts the longest many times over.
MAX_POLL_S = 4
MQ = {"librdkafka": {"session.timeout.ms": str(MAX_POLL_S * 1000), "heartbeat.interval.ms": "500",
                     "max.poll.interval.ms": str(MAX_POLL_S * 1000)}}


def cluster(make_stack, slots=1, config=None, mq=MQ, more=None, **options):
    return make_stack(store="mongodb", broker="kafka", services={"script": module("script", slots=slots, **(more or {}))}, mq=mq,
                      config={"sweep_s": 0.2, "max_status_task": 1000, **(config or {})}, **options)


def starts(notes):
    """The task of every module start, in order."""
    return [line.split()[2] for line in notes.read_text().splitlines()] if notes.exists() else []


def wait_starts(notes, n):
    wait_until(lambda: len(starts(notes)) >= n, f"for {n} starts")
    return starts(notes)


def long_task(stack, tmp_path, notes=None):
    """A task that ends when its file is there."""
    notes, go = notes or tmp_path / "notes", tmp_path / f"go{len(list(tmp_path.glob('long*')))}"
    (tmp_path / f"long{go.name}").touch()
    return stack.create("script", [["note", str(notes)], ["until", str(go)], ["out", "1\n"]]), go


def for_seconds(seconds, check):
    """Looks again and again for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        check()
        time.sleep(0.1)


def rebalances(consumer):
    return len(consumer.find(msg="partitions assigned")) + len(consumer.find(msg="partitions revoked"))


# ---- one run, many intervals


def test_a_run_outlasts_the_poll_interval_without_a_rebalance(make_stack, tmp_path):
    stack = cluster(make_stack, consumers=1)
    stack.consumer.wait_line(msg="partitions assigned")
    task_id, go = long_task(stack, tmp_path)
    notes = tmp_path / "notes"
    wait_starts(notes, 1)
    more = stack.create_many("script", [[["note", str(notes)], ["out", "1\n"]]] * 600)  # more than are kept: it pauses
    before = rebalances(stack.consumer)

    def undisturbed():
        assert starts(notes) == [task_id]
        assert rebalances(stack.consumer) == before and not stack.consumer.find(msg="kafka says"), stack.consumer.lines()
    for_seconds(3 * MAX_POLL_S, undisturbed)
    go.touch()
    status = stack.wait_final(task_id)
    assert status["status"] == "finished" and status["attempt"] == 1
    wait_until(lambda: len(starts(notes)) > 1, "for the next task")  # it resumes
    assert stack.status_of(*more[:1])[0]["status"] != "failed" and rebalances(stack.consumer) == before
    stack.consumer.kill()


def test_consumers_join_and_leave_during_a_run(make_stack, tmp_path):
    stack = cluster(make_stack, slots=3, partitions=2, consumers=1)
    notes = tmp_path / "notes"
    first, go_first = long_task(stack, tmp_path)
    wait_starts(notes, 1)
    joined = stack.start_consumer()
    joined.wait_line(msg="partitions assigned", count=1)
    second, go_second = long_task(stack, tmp_path)
    third, go_third = long_task(stack, tmp_path)
    wait_starts(notes, 3)
    for_seconds(2 * MAX_POLL_S, lambda: None)
    before = rebalances(stack.consumer)
    joined.terminate()  # leaves the group at once, and waits for its runs
    wait_until(lambda: rebalances(stack.consumer) > before, "for the rebalance")
    stack.start_consumer().wait_line(msg="partitions assigned", count=1)
    for_seconds(MAX_POLL_S, lambda: None)
    assert sorted(starts(notes)) == sorted([first, second, third])
    for go in (go_first, go_second, go_third):
        go.touch()
    stack.wait_finished([first, second, third])
    assert sorted(starts(notes)) == sorted([first, second, third])
    assert {status["attempt"] for status in stack.status_of(first, second, third)} == {1}


def test_many_tasks_while_consumers_come_and_go(make_stack, tmp_path):
    stack = cluster(make_stack, slots=2, partitions=4, consumers=2)
    notes = tmp_path / "notes"
    ids, stop = [], threading.Event()

    def feed():
        while not stop.is_set():
            ids.extend(stack.create_many("script", [[["note", str(notes)], ["out", "1\n"]]] * 5))
            stop.wait(0.2)
    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        for round_ in range(5):
            seen = len(starts(notes))
            stack.start_consumer()
            wait_until(lambda: len(starts(notes)) >= seen + 10, "for runs")
            oldest = next(consumer for consumer in stack.consumers if consumer.alive())
            assert oldest.stop() == 0
    finally:
        stop.set()
        feeder.join(PATIENCE_S)
    stack.wait_finished(ids)
    assert sorted(starts(notes)) == sorted(ids)


# ---- the claim comes before the offset


def test_the_offset_is_stored_while_the_task_runs(make_stack, tmp_path):
    # Two slots: the task may have come over claim_task, and its message needs room to be looked at.
    stack = cluster(make_stack, slots=2, consumers=1)
    _, go = long_task(stack, tmp_path)
    wait_starts(tmp_path / "notes", 1)
    wait_until(lambda: stack.committed("script") == 1, "for the offset of a task that runs")
    go.touch()


def test_no_offset_is_stored_before_the_claim_is_durable(make_stack, tmp_path):
    stack = cluster(make_stack, consumers=1, config={"lease_s": 3})
    notes = tmp_path / "notes"
    first, go = long_task(stack, tmp_path)
    go.touch()
    stack.wait_finished([first])
    wait_until(lambda: stack.committed("script") == 1, "for the first offset")
    other = stack.start_api()
    stack.apis[0].pause()  # claims are sent to it and get no answer
    second = stack.create("script", [["note", str(notes)], ["out", "1\n"]], api=1)
    stack.wait_status(second, "waiting", api=1)
    stack.messages("script", 2)
    for_seconds(2, lambda: None)
    assert stack.committed("script") == 1
    stack.consumer.kill()
    stack.apis[0].resume()
    stack.start_consumer(api=1)
    stack.wait_finished([second], api=1)
    wait_until(lambda: stack.committed("script") == stack.end_offset("script"), "for the second offset")
    assert stack.status(second, api=1)["status"] == "finished" and other.alive()
    # The claim that the paused API took up later may have begun a run that nobody ran: then the task came once more.
    assert starts(notes).count(second) == 1


# ---- more consumers than partitions, and the best task first


def test_more_consumers_than_partitions_are_all_busy(make_stack, tmp_path):
    stack = cluster(make_stack, partitions=1, consumers=3)
    notes = tmp_path / "notes"
    work = [long_task(stack, tmp_path, notes) for _ in range(6)]
    wait_starts(notes, 3)
    wait_until(lambda: all(consumer.find(msg="run started") for consumer in stack.consumers), "for each to say so")
    for_seconds(1, lambda: None)
    assert len(starts(notes)) == 3  # one slot each
    for _, go in work:
        go.touch()
    stack.wait_finished([task_id for task_id, _ in work])
    assert sorted(starts(notes)) == sorted(task_id for task_id, _ in work)
    wait_until(lambda: stack.committed("script") == stack.end_offset("script"), "for all messages to be settled")


def test_with_modules_of_the_base_contract_only_messages_bring_work(make_stack, tmp_path):
    stack = cluster(make_stack, partitions=1, consumers=2, more={"legacy": True})
    notes = tmp_path / "notes"
    work = [long_task(stack, tmp_path, notes) for _ in range(3)]
    wait_starts(notes, 1)
    for_seconds(4, lambda: None)
    # A rebalance may have given the partition, and with it the next message, to the other one.
    owners = sum(len(consumer.find(msg="partitions assigned", count=1)) for consumer in stack.consumers)
    assert len(starts(notes)) <= owners
    for _, go in work:
        go.touch()
    stack.wait_finished([task_id for task_id, _ in work])


def test_by_priority_the_best_task_comes_first(make_stack, tmp_path):
    stack = cluster(make_stack, partitions=2, consumers=1, more={"order": "priority"})
    notes = tmp_path / "notes"
    first, go = long_task(stack, tmp_path, notes)
    wait_starts(notes, 1)
    ids = {number: stack.create("script", [["note", str(notes)], ["out", "1\n"]], priority=number) for number in (3, 9, 0, 5, 7)}
    stack.messages("script", 6)
    go.touch()
    stack.wait_finished([first, *ids.values()])
    assert starts(notes) == [first, *(ids[number] for number in (9, 7, 5, 3, 0))]
    wait_until(lambda: sum(stack.committed("script", partition) or 0 for partition in (0, 1)) == 6, "for all messages to be settled")


def told(stack, at_least):
    """The task of every message, in order."""
    return [message.key.decode() for message in stack.messages("script", at_least)]


def rule(make_stack, store="sqlite", **more):
    return make_stack(store=store, broker="kafka", services={"script": module("script", **more)}, config={"sweep_s": 0.1})


@pytest.mark.parametrize("store", ["sqlite", "mongodb"])
def test_a_claim_without_a_run_rings_for_the_best_task(make_stack, store):
    """Messages are doorbells: a module of the base contract uses up what would ring for another task."""
    stack = rule(make_stack, store, order="priority")
    low, high, middle = (stack.create("script", [], priority=number) for number in (1, 8, 4))
    for task_id in (low, high, middle):
        stack.wait_status(task_id, "waiting")
    stack.update(low, "running")
    assert told(stack, 4)[3:] == [high]
    stack.wait_status(high, "waiting")
    stack.update(high, "running", run_id=str(uuid.uuid4()))
    stack.update(high, "running", 409, "ALREADY_CLAIMED")
    assert told(stack, 5)[4:] == [middle]
    (warning,) = stack.api.find(level="warning", service="script")
    assert "legacy: true" in warning["msg"]


@pytest.mark.parametrize("more, warns", [({"order": "queue"}, 1), ({"order": "priority", "legacy": True}, 0)])
def test_no_ring_is_owed_where_each_message_is_its_own_tasks(make_stack, more, warns):
    stack = rule(make_stack, **more)
    first, second = stack.create("script", []), stack.create("script", [])
    assert told(stack, 2) == [first, second]
    stack.update(first, "running")
    stack.update(first, "running", 409, "ALREADY_CLAIMED")
    assert len(stack.api.find(level="warning", service="script")) == warns
    third = stack.create("script", [])
    assert told(stack, 3) == [first, second, third], "nothing has come between"


# ---- members that have a name


def named(stack, name):
    consumer = stack.start_consumer(args=["--group-instance-id", name])
    consumer.wait_line(msg="partitions assigned", count=1)
    return consumer


def test_a_named_consumer_comes_back_without_a_rebalance(make_stack, tmp_path):
    stack = cluster(make_stack, partitions=2, mq={"librdkafka": {**MQ["librdkafka"], "session.timeout.ms": "60000",
                                                                  "max.poll.interval.ms": "60000"}})
    notes = tmp_path / "notes"
    one = stack.start_consumer(args=["--group-instance-id", "one"])
    one.wait_line(msg="partitions assigned", count=2)
    two = named(stack, "two")
    one.wait_line(msg="partitions assigned", count=1)
    before = rebalances(one)
    assert two.stop() == 0
    again = named(stack, "two")
    ids = stack.create_many("script", [[["note", str(notes)], ["out", "1\n"]]] * 20)
    stack.wait_finished(ids)
    assert rebalances(one) == before, one.lines()
    assert sorted(starts(notes)) == sorted(ids)
    again.kill()
    third = named(stack, "two")
    ids += stack.create_many("script", [[["note", str(notes)], ["out", "1\n"]]] * 10)
    stack.wait_finished(ids)
    assert rebalances(one) == before and rebalances(third) == 1
    assert sorted(starts(notes)) == sorted(ids)


def test_of_two_consumers_with_one_name_the_older_ends(make_stack, tmp_path):
    stack = cluster(make_stack, mq={**MQ, "group_instance_id": "the-same"})
    notes = tmp_path / "notes"
    older = stack.start_consumer()
    older.wait_line(msg="partitions assigned", count=1)
    task_id, go = long_task(stack, tmp_path, notes)
    wait_starts(notes, 1)
    younger = stack.start_consumer()
    line = older.wait_line(level="error", msg="no more tasks come, so the consumer ends")
    assert "the-same" in line["error"]
    assert older.alive()  # its run goes on to the end
    more = stack.create("script", [["note", str(notes)], ["out", "1\n"]])
    stack.wait_finished([more])
    go.touch()
    stack.wait_finished([task_id])
    older.expect_exit = 78
    assert older.wait() == 78
    assert younger.alive() and starts(notes) == [task_id, more]


# ---- a broker that is away


@pytest.mark.parametrize("how", ["stands still", "is restarted"])
def test_work_goes_on_after_the_broker_was_away(make_stack, tmp_path, kafka, how):
    stack = cluster(make_stack, slots=2, partitions=2, consumers=2)
    notes = tmp_path / "notes"
    work = [["note", str(notes)], ["out", "1\n"]]
    ids = stack.create_many("script", [work] * 10)
    long, go = long_task(stack, tmp_path, notes)
    wait_starts(notes, 5)
    if how == "stands still":
        kafka.pause()
    else:
        kafka.halt()
    ids += [stack.create("script", work) for _ in range(5)]
    for_seconds(2.5 * MAX_POLL_S, lambda: None)  # beyond session and poll interval
    ids += [stack.create("script", work) for _ in range(5)]
    if how == "stands still":
        kafka.resume()
    else:
        kafka.restart()
    go.touch()
    stack.wait_finished([*ids, long])
    assert sorted(starts(notes)) == sorted([*ids, long])
    assert stack.status(long)["attempt"] == 1
