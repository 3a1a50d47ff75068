"""Rolling restarts and outages under load: nothing is lost or doubled, and a client that repeats with its key never fails."""
import http.client
import json
import signal
import threading
import uuid

import pytest

from tests.system.stack import PATIENCE_S, SANITIZED, TOKEN, module, wait_until

LEASE_S = 20 if SANITIZED else 10  # of a run that goes on while its API is restarted: it is to be done once
CLIENTS, PACE_S = 3, 0.5  # a load that the stand-in for MongoDB bears


class Load:
    """Clients that create tasks, each with a key, and repeat what got no definite answer."""

    def __init__(self, stack, notes, apis=1):
        self.stack, self.notes, self.n_apis = stack, notes, apis
        self.keys, self.ids, self.wrong = [], {}, []
        self.lock, self.over = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(number,), daemon=True) for number in range(CLIENTS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(PATIENCE_S * 3)
            assert not thread.is_alive(), "a client still repeats its create"

    def attempt(self, key, api):
        """The task's id, or None where nobody knows or it was surely not stored."""
        data = {"service": "script", "condition": [["note", str(self.notes)], ["out", json.dumps(key) + "\n"]], "idempotency_key": key}
        try:
            answer = self.stack.post("create_task", {"data": data}, api=api, timeout_s=20)
        except OSError:
            return None
        if answer.status == 200:
            return answer.json["task_id"]
        if answer.status not in (503, 504):
            self.wrong.append(answer)
        return None

    def run(self, number):
        count = number
        while not self.over.wait(PACE_S):
            key, task_id = str(uuid.uuid4()), None
            while task_id is None and not self.wrong:
                count += 1
                task_id = self.attempt(key, count % self.n_apis)
            with self.lock:
                self.keys.append(key)
                self.ids[key] = task_id

    def more(self, n):
        """Waits until so many further creates have been answered."""
        begin = len(self.keys)
        wait_until(lambda: len(self.keys) >= begin + n or self.wrong, f"for {n} more creates")
        assert not self.wrong, self.wrong

    def check(self, may_run_twice=()):
        """Every task ran once and says its own key; one task for each key."""
        ids = list(self.ids.values())
        self.stack.wait_finished(ids)
        assert len(set(ids)) == len(ids) == self.stack.call("tasks", {})["total"]
        for key, task_id in list(self.ids.items())[:50]:
            assert self.stack.result(task_id)["data"] == key
        ran = [line.split()[2] for line in self.notes.read_text().splitlines()]
        twice = {task_id for task_id in ran if ran.count(task_id) > 1}
        assert twice <= set(may_run_twice), f"ran twice: {twice}"


def script_stack(make_stack, consumers, **more):
    config = {"lease_s": LEASE_S, "sweep_s": 0.2, "max_status_task": 1000, "drain_s": 20, **more.pop("config", {})}
    return make_stack(services={"script": module("script", slots=2)}, consumers=consumers, config=config, **more)


def restart_consumer(stack, number):
    consumer = stack.consumers[number]
    assert consumer.stop() == 0
    consumer.start()
    consumer.ready()


def test_a_rolling_restart_on_one_file(make_stack, tmp_path):
    stack = script_stack(make_stack, consumers=2)
    with Load(stack, tmp_path / "notes") as load:
        for round in range(2):
            load.more(20)
            stack.api.restart()
            load.more(20)
            restart_consumer(stack, round % 2)
        load.more(20)
    load.check()


@pytest.mark.heavy
@pytest.mark.cluster
def test_a_rolling_restart_of_a_cluster(make_stack, tmp_path):
    stack = script_stack(make_stack, consumers=2, store="mongodb", broker="kafka", apis=2, partitions=2)
    with Load(stack, tmp_path / "notes", apis=2) as load:
        for number in range(2):
            load.more(15)
            stack.apis[number].restart()
            load.more(15)
            restart_consumer(stack, number)
        load.more(15)
    load.check()


@pytest.mark.heavy
@pytest.mark.cluster
@pytest.mark.parametrize("server", ["kafka", "mongo"])
@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_a_server_that_is_away_for_a_while(own_kafka, own_mongo, make_stack, tmp_path, server, how):
    """At any point of a task's way: tasks are being created, told, claimed, run and reported while it goes."""
    stack = script_stack(make_stack, consumers=1, store="mongodb", broker="kafka", mongo=own_mongo, kafka=own_kafka,
                         mq={"librdkafka": {"message.timeout.ms": "3000", "socket.timeout.ms": "2000"}})
    away = own_kafka if server == "kafka" else own_mongo
    with Load(stack, tmp_path / "notes") as load:
        load.more(10)
        away.pause() if how == "frozen" else away.halt()
        if server == "kafka":
            load.more(10)  # creates go on without Kafka
            wait_until(lambda: stack.request("GET", "/readyz", token=None).status == 503, "for readyz to name the broker")
        else:
            wait_until(lambda: stack.post("tasks", {}, timeout_s=60).status == 503, "for the store to be away")
        away.resume() if how == "frozen" else away.restart()
        load.more(10)
    wait_until(lambda: stack.request("GET", "/readyz", token=None).status == 200, "for readyz")
    load.check()


def test_a_stopping_api_answers_what_it_has_and_takes_no_more(make_stack):
    stack = make_stack(api_args=("--store-fault", "apply:*=delay:300"))
    answers = []

    def create():
        try:
            answers.append(stack.post("create_task", {"service": "echo", "condition": 1}))
        except OSError:
            pass  # came after the listener was closed

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: answers or stack.call("tasks", {})["total"], "for the first create")
    stack.api.terminate()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert stack.api.ended() == 0
    acked = {answer.json["task_id"] for answer in answers if answer.status == 200}
    assert all(answer.status in (200, 503) for answer in answers), answers
    stack.api.restart()
    assert acked and {row["task_id"] for row in stack.call("tasks", {"p_size": 100})["data"]} == acked
    with pytest.raises(OSError):
        stack.api.terminate()
        stack.api.ended()
        stack.post("tasks", {})


def test_a_second_signal_ends_an_api_at_once(make_stack):
    stack = make_stack(api_args=("--store-fault", "apply:2=delay:20000"))
    kept = stack.create(condition="kept")
    stack.api.expect_exit = None
    hanging = http.client.HTTPConnection(*stack.api.host_port)
    hanging.request("POST", "/api/create_task", json.dumps({"service": "echo", "condition": 1}), {"Authorization": TOKEN})
    for _ in range(2):  # the loop takes what came earlier first
        assert stack.request("GET", "/healthz", token=None).status == 200
    stack.api.terminate()
    stack.api.wait_line(msg="stopping")
    stack.api.terminate()
    assert stack.api.wait() == 128 + signal.SIGTERM
    stack.api.restart()
    assert stack.status(kept)["status"] == "waiting"
