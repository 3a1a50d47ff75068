"""/metrics: what it counts, that it is Prometheus' text, that docs/metrics.md tells of every family, and when it answers."""
import http.client
import re
import signal
import time
import uuid
from urllib.parse import urlsplit

import pytest

from tests.system.runs import claim, fail, new_run, running
from tests.system.stack import PATIENCE_S, ROOT, TOKEN, Response, module, wait_until
from tests.system.watching import Watch

PARTS = ("_bucket", "_sum", "_count")


class Page:
    """A page of metrics, read by Prometheus' own parser."""

    def __init__(self, text):
        from prometheus_client.parser import text_string_to_metric_families
        self.text = text
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = {}
        for family in self.families.values():
            for sample in family.samples:
                key = (sample.name, tuple(sorted(sample.labels.items())))
                assert key not in self.samples, f"twice: {key}"
                self.samples[key] = sample.value

    def get(self, name, default=None, **labels):
        value = self.samples.get((f"longhaul_{name}", tuple(sorted(labels.items()))), default)
        assert value is not None, f"no {name}{labels} in\n{self.text}"
        return value


def page_of(stack, api=0, **more):
    answer = stack.request("GET", "/metrics", api=api, **more)
    assert answer.status == 200, answer
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Page(answer.body.decode())


def declared(text):
    """name -> (type, help) of every family, as the page says it."""
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    return {name: (kinds[name], said) for name, said in re.findall(r"^# HELP (\S+) (.*)$", text, re.M)}


# ---- what it counts


def test_what_becomes_of_tasks_is_counted(make_stack, any_store):
    stack = make_stack(store=any_store, services=("echo", "other"), config={"sweep_s": 0.2})
    before = page_of(stack)
    assert before.get("tasks_created_total", service="echo") == 0 == before.get("tasks", service="other", status="waiting")

    stack.create_many("echo", range(5))
    held = stack.create("other", start=False)
    done, run = running(stack, "other")
    stack.update(done, "finished", run_id=run)
    stack.update(done, "finished", run_id=run)  # said again: counts once
    stack.update(done, "failed", run_id=new_run(), http=409, code="STALE_RUN")  # fenced
    again, run = running(stack, "other", max_attempts=2, retry={"base_s": 0.001, "max_s": 0.001})
    fail(stack, again, run)
    wait_until(lambda: stack.status(again)["sub_status"] == "queued", "for the retry to be due")
    fail(stack, again, claim(stack, again)[0])
    lost = stack.create("other")
    (taken,) = stack.take("other", lease_s=0.5)  # the lease of the others outlasts the test
    assert taken["Task"]["task_id"] == lost
    wait_until(lambda: stack.status(lost)["status"] == "waiting", "for the lease to be lost")
    stack.update(lost, "waiting", run_id=claim(stack, lost)[0])
    killed, run = running(stack, "other")
    stack.call("cancel_task", {"data": {"task_id": killed}})
    stack.update(killed, "failed", run_id=run, cause="cancelled")
    stack.call("cancel_task", {"data": {"task_id": held}})
    stack.call("delete_task", {"data": {"task_id": held}})
    taken = stack.take("echo", max=2)
    assert len(taken) == 2

    page = page_of(stack)
    assert page.get("tasks_created_total", service="echo") == 5
    assert page.get("tasks_claimed_total", service="echo") == 2
    assert page.get("tasks", service="echo", status="running") == 2
    assert page.get("tasks", service="echo", status="waiting") == 3
    assert 0 < page.get("oldest_waiting_seconds", service="echo") < 300

    other = {"service": "other"}
    assert page.get("tasks_created_total", **other) == 5
    assert page.get("tasks_claimed_total", **other) == 6
    assert page.get("task_wait_seconds_count", **other) == 6
    assert page.get("tasks_finished_total", **other) == 1
    assert page.get("tasks_retried_total", **other) == 1
    assert page.get("tasks_failed_total", cause="dead", **other) == 1
    assert page.get("tasks_failed_total", cause="cancelled", **other) == 2
    assert page.get("tasks_removed_total", **other) == 1
    assert page.get("updates_fenced_total", **other) == 1
    ended = {"finished": 1, "error": 2, "lease_lost": 1, "handed_back": 1, "cancelled": 1}
    for end, count in ended.items():
        assert page.get("runs_ended_total", end=end, **other) == count
    assert page.get("task_run_seconds_count", **other) == 4  # last words; nobody knows how long a lost run ran
    assert page.get("task_run_seconds_sum", **other) < 300
    assert page.get("task_kill_seconds_count", **other) == 1
    assert page.get("tasks", status="finished", **other) == 1
    assert page.get("oldest_waiting_seconds", **other) < 300


def test_the_process_counts_its_own_work(make_stack):
    stack = make_stack()
    first = page_of(stack)
    for number in range(3):
        stack.create(condition=number)
    stack.call("create_task", {"service": "echo"}, 400)
    stack.call("create_task", {"service": "echo"}, 401, token="wrong")
    stack.request("GET", "/nowhere/" + uuid.uuid4().hex)
    stack.request("GET", "/")
    stack.request("NONSENSE", "/healthz")
    page = page_of(stack)
    requests = {"200": 3, "400": 1, "401": 1}
    for code, count in requests.items():
        assert page.get("http_requests_total", route="/api/create_task", code=code) == count
    assert page.get("http_request_seconds_count", route="/api/create_task") == 5
    assert page.get("http_requests_total", route="unknown", code="404") == 1
    assert page.get("http_requests_total", route="dashboard", code="200") == 1
    assert page.get("http_requests_total", route="/healthz", code="501") == 1
    assert page.get("http_requests_in_flight") == 1  # this one
    assert page.get("http_connections") >= 1
    assert page.get("store_commit_operations_sum") - first.get("store_commit_operations_sum") >= 3
    assert page.get("store_commit_seconds_count") == page.get("store_commit_operations_count") > 0
    assert page.get("store_read_seconds_count") > first.get("store_read_seconds_count")
    assert page.get("store_up") == 1
    assert page.get("executor_queue_length", access="writing") == 0
    assert page.samples["process_resident_memory_bytes", ()] > 1 << 20
    assert page.samples["process_start_time_seconds", ()] == pytest.approx(time.time(), abs=300)
    assert {labels["store"] for labels in (s.labels for s in page.families["longhaul_build_info"].samples)} == {"sqlite"}


def test_what_never_was_a_request_is_counted_as_refused(make_stack):
    import socket
    stack = make_stack()
    with socket.create_connection(stack.api.host_port) as client:
        client.sendall(b"GARBAGE\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 400")
    assert page_of(stack).get("http_requests_total", route="refused", code="400") == 1


def test_pauses_and_workers_are_told(make_stack):
    stack = make_stack(services=("echo", "other"))
    stack.call("pause_service_task", {"data": {"service": "echo"}})
    worker = {"id": "w1", "host": "h", "pid": 1, "services": ["echo", "elsewhere"], "slots": 1}
    stack.call("heartbeat_task", {"data": [], "worker": worker})
    page = page_of(stack)
    assert (page.get("service_paused", service="echo"), page.get("service_paused", service="other")) == (1, 0)
    assert (page.get("workers", service="echo"), page.get("workers", service="other")) == (1, 0)


def test_a_store_that_fails_is_told_and_the_page_comes_all_the_same(make_stack):
    stack = make_stack(api_args=("--store-fault", "query:*=unavailable"))
    page = page_of(stack)
    assert page.get("store_up") == 0
    assert page.get("store_failures_total", access="reading") >= 1
    assert not any(name == "longhaul_tasks" for name, _ in page.samples)
    assert page.get("tasks_created_total", service="echo") == 0


@pytest.mark.heavy
def test_a_store_that_hangs_does_not_hold_the_page_for_ever(make_stack):
    stack = make_stack(api_args=("--store-fault", "query:*=delay:5000"))
    page = page_of(stack)
    assert page.get("store_up") == 0
    assert not any(name == "longhaul_tasks" for name, _ in page.samples)


@pytest.mark.cluster
def test_kafka_deliveries_and_the_outbox_are_told(make_stack, own_kafka):
    stack = make_stack(store="mongodb", broker="kafka", kafka=own_kafka, services=("echo", "other"),
                       mq={"librdkafka": {"message.timeout.ms": "2000"}}, config={"sweep_s": 0.2})
    stack.create_many("echo", range(7))

    def delivered():
        page = page_of(stack)
        return page if page.get("kafka_deliveries_total", outcome="delivered") == 7 and page.get("outbox_messages") == 0 else None
    page = wait_until(delivered, "for all to be delivered")
    assert page.get("kafka_delivery_seconds_count") == 7
    assert 0 < page.get("kafka_delivery_seconds_sum") < 300
    assert (page.get("kafka_up"), page.get("outbox_oldest_seconds")) == (1, 0)
    stack.call("pause_service_task", {"data": {"service": "other"}})
    stack.create("other")  # put away, not unsent
    own_kafka.stop()
    stack.create_many("echo", range(3))

    def unsent():
        page = page_of(stack)
        waits = page.get("kafka_up") == 0 and page.get("kafka_deliveries_total", outcome="unconfirmed") >= 3
        return page if waits and page.get("outbox_oldest_seconds") > 1 else None
    page = wait_until(unsent, "for the outage to be told")
    assert page.get("outbox_messages") == 3
    assert page.get("kafka_delivery_seconds_count") == 7


# ---- who may read it, and what it is


def test_the_page_needs_the_token_unless_it_is_public(make_stack):
    stack = make_stack()
    answer = stack.request("GET", "/metrics", token=None)
    assert answer.status == 401 and answer.headers["WWW-Authenticate"] == "Bearer" and b"longhaul_" not in answer.body
    assert stack.request("GET", "/metrics", token="wrong").status == 401
    assert stack.request("GET", "/metrics", token=f"Bearer {TOKEN}").status == 200
    assert stack.request("POST", "/metrics", body=b"").status == 405
    head = stack.request("HEAD", "/metrics")
    assert (head.status, head.body) == (200, b"") and int(head.headers["Content-Length"]) > 1000
    public = make_stack(config={"metrics_public": True})
    assert page_of(public, token=None).get("store_up") == 1
    assert public.request("POST", "/api/tasks", body=b"{}", token=None).status == 401


def check_families(text):
    """Prometheus' rules for names and labels, and a help text that says something."""
    for name, (kind, said) in declared(text).items():
        assert re.fullmatch(r"(longhaul|process)_[a-z0-9]+(_[a-z0-9]+)*", name), name
        assert (kind == "counter") == name.endswith("_total"), name
        assert kind != "histogram" or re.search(r"_(seconds|bytes|operations)$", name), name
        assert not name.endswith(PARTS) and said.endswith(".") and len(said) > 10, (name, said)


def test_names_follow_the_rules_and_the_docs_tell_of_all(make_stack):
    stack = make_stack()
    page = page_of(stack)
    check_families(page.text)
    # A family without a sample yet is declared all the same.
    said = declared(page.text)
    assert len(said) > 30
    assert documented("The API") == said


def documented(heading):
    """What docs/metrics.md tells under the heading, as declared() does."""
    section = re.search(rf"^## {heading}\n(.*?)^## ", (ROOT / "docs" / "metrics.md").read_text(), re.M | re.S).group(1)
    rows = re.findall(r"^\| `(\S+?)(?:\{[^}]*\})?` \| (counter|gauge|histogram) \| (.*?)(?: °)? \|$", section, re.M)
    return {name: (kind, said) for name, kind, said in rows}


def test_labels_are_bounded_whatever_clients_send(make_stack):
    stack = make_stack()
    sizes = []
    for _ in range(2):
        for _ in range(10):
            stack.request("GET", f"/{uuid.uuid4().hex}")
            stack.post("create_task", {"service": uuid.uuid4().hex, "condition": 1})
            stack.request("POST", f"/api/{uuid.uuid4().hex}", b"{}")
        page_of(stack)  # from now on it has counted itself
        page = page_of(stack)
        sizes.append(len(page.samples))
    assert sizes[0] == sizes[1]
    assert page.get("http_requests_total", route="unknown", code="404") == 40


# ---- a consumer's own page


def consumer_page(program, path="/metrics", token=TOKEN, method="GET"):
    """The answer of a consumer that serves its metrics on a free port."""
    host, port = urlsplit(program.wait_line(msg="metrics")["address"]).netloc.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
    try:
        connection.request(method, path, headers={"Authorization": token} if token else {})
        answer = connection.getresponse()
        return Response(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def consumer_metrics(program):
    answer = consumer_page(program)
    assert answer.status == 200 and answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Page(answer.body.decode())


def of(page, name, **labels):
    return page.get(f"consumer_{name}", **labels)


LISTEN = {"metrics_listen": "127.0.0.1:0"}
FOR_EVER = [["until", "/never/there"]]


def test_a_consumer_tells_of_its_runs(make_stack):
    stack = make_stack(services={"script": module("script", slots=3), "stays": {**module("warm"), "kind": "warm"}, "idle": module("echo")})
    consumer = stack.start_consumer(config=LISTEN)
    done = stack.create("script", [["out", "hello\n"]])
    wrong = stack.create("script", [["exit", 3]])
    slow = stack.create("script", FOR_EVER)
    for number in range(3):
        stack.wait_final(stack.create("stays", [["done", number]]))
    stack.wait_final(done)
    stack.wait_final(wrong)
    stack.wait_status(slow, "running")

    def settled():
        page = consumer_metrics(consumer)
        ended = of(page, "run_seconds_count", service="script") == 2 and of(page, "slots_busy", service="script") == 1
        return page if ended and of(page, "log_bytes_total") >= 6 and of(page, "reports_waiting") == 0 else None
    page = wait_until(settled, "for the ends of the runs to be told")
    assert [of(page, "slots", service=name) for name in ("script", "stays", "idle")] == [3, 1, 1]
    assert of(page, "slots_busy", service="idle") == 0
    assert of(page, "runs_started_total", service="script") == 3
    assert of(page, "runs_ended_total", service="script", outcome="finished") == 1
    assert of(page, "runs_ended_total", service="script", outcome="error") == 1
    assert of(page, "runs_ended_total", service="stays", outcome="finished") == 3
    assert of(page, "module_starts_total", service="script") == 3
    assert of(page, "module_starts_total", service="stays") == 1
    assert of(page, "api_calls_total", result="ok") > 5
    assert of(page, "api_last_success_timestamp_seconds") == pytest.approx(time.time(), abs=60)
    assert of(page, "heartbeat_failures_total") == 0

    stack.call("cancel_task", {"data": {"task_id": slow, "grace_s": 0}})
    stack.wait_final(slow)
    page = wait_until(lambda: (page := consumer_metrics(consumer)) and of(page, "slots_busy", service="script") == 0 and page, "for the kill")
    assert of(page, "runs_ended_total", service="script", outcome="cancelled") == 1
    assert page.samples["process_resident_memory_bytes", ()] > 1 << 20


def test_a_consumer_tells_of_an_api_that_is_away(make_stack, tmp_path):
    stack = make_stack(services={"script": module("script", slots=1)}, config={"lease_s": 0.6, "drain_s": 0.5})
    consumer = stack.start_consumer(config=LISTEN)
    wait_until(lambda: consumer_page(consumer, "/readyz").status == 200, "for the consumer to be ready")
    assert consumer_page(consumer, "/healthz", token=None).json == {"result": "ok"}
    go = tmp_path / "go"
    task_id = stack.create("script", [["out", "x" * 1000], ["until", str(go)]])
    stack.wait_status(task_id, "running")
    wait_until(lambda: of(consumer_metrics(consumer), "module_starts_total", service="script") == 1, "for the module to run")
    stack.api.kill()
    go.touch()

    def away():
        page = consumer_metrics(consumer)
        return page if of(page, "reports_waiting") == 1 and of(page, "heartbeat_failures_total") and of(page, "spool_bytes") > 50 else None
    page = wait_until(away, "for the report to wait on disk")
    assert of(page, "api_calls_total", result="unavailable") > 0
    stack.api.restart()
    page = wait_until(lambda: (page := consumer_metrics(consumer)) and of(page, "reports_waiting") == 0 and page, "for the report to be taken")
    assert stack.wait_final(task_id)["status"] == "finished"
    wait_until(lambda: of(consumer_metrics(consumer), "logs_waiting") == 0, "for the log to be shipped")


def test_a_consumer_that_stops_is_not_ready(make_stack):
    stack = make_stack(services={"script": module("script", slots=1)})
    consumer = stack.start_consumer(config=LISTEN)
    task_id = stack.create("script", FOR_EVER)
    wait_until(lambda: of(consumer_metrics(consumer), "slots_busy", service="script") == 1, "for the run")
    consumer.terminate()
    answer = wait_until(lambda: (answer := consumer_page(consumer, "/readyz")).status == 503 and answer, "for it to stop taking tasks")
    assert answer.json["code"] == "DRAINING"
    assert consumer_page(consumer, "/healthz").status == 200
    assert stack.status(task_id)["status"] == "running"


def test_a_consumers_page_has_the_same_door(make_stack):
    stack = make_stack(services={"echo": module("echo")})
    consumer = stack.start_consumer(args=("--metrics-listen", "127.0.0.1:0"))
    for token in (None, "wrong", TOKEN + "x", TOKEN[:-1]):
        answer = consumer_page(consumer, token=token)
        assert answer.status == 401 and answer.headers["WWW-Authenticate"] == "Bearer" and b"longhaul_" not in answer.body
    assert consumer_page(consumer, token=f"Bearer {TOKEN}").status == 200
    assert consumer_page(consumer, "/nowhere").status == 404
    assert consumer_page(consumer, method="POST").status == 405
    head = consumer_page(consumer, method="HEAD")
    assert head.status == 200 and head.body == b"" and int(head.headers["Content-Length"]) > 1000
    public = stack.start_consumer(config={**LISTEN, "metrics_public": True})
    page = consumer_page(public, token=None)
    assert page.status == 200
    check_families(page.body.decode())
    assert documented("A consumer") == declared(page.body.decode())


def test_a_consumers_page_takes_its_new_token(make_stack):
    """Which came by SIGHUP, as for its calls."""
    stack = make_stack(services={"echo": module("echo")})
    file = stack.dir / "consumer.token"
    file.write_text(TOKEN)
    consumer = stack.start_consumer(args=("--metrics-listen", "127.0.0.1:0"), config={"consumer_token_file": str(file)}, env={"AUTH_TOKEN": ""})
    assert consumer_page(consumer).status == 200
    file.write_text("another")
    consumer.process.send_signal(signal.SIGHUP)
    wait_until(lambda: consumer_page(consumer, token="another").status == 200)
    assert consumer_page(consumer).status == 401


def test_a_stream_counts_as_one_request(make_stack):
    stack = make_stack()
    for _ in range(3):
        Watch(stack).close()
    assert page_of(stack).get("http_requests_total", route="/api/watch", code="200") == 3


def test_a_port_that_is_taken_stops_the_start(make_stack):
    stack = make_stack(services={"echo": module("echo")})
    host, port = stack.api.host_port
    consumer = stack.start_consumer(config={"metrics_listen": f"{host}:{port}"}, wait=False)
    consumer.expect_exit = None
    assert consumer.wait() != 0
    assert any(f"{host}:{port}" in line.get("error", "") for line in consumer.lines())


@pytest.mark.cluster
def test_a_consumer_tells_how_far_it_is_behind(make_stack):
    stack = make_stack(store="mongodb", broker="kafka", services={"script": module("script", slots=1)}, partitions=2,
                       mq={"librdkafka": {"statistics.interval.ms": "300"}})
    topic, group = stack.topic("script"), stack.group("script")
    stack.call("pause_service_task", {"data": {"service": "script"}})
    consumer = stack.start_consumer(config=LISTEN)

    def lags(page):
        return [page.samples.get(("longhaul_consumer_kafka_lag", (("group", group), ("partition", str(number)), ("topic", topic))))
                for number in range(2)]
    page = wait_until(lambda: (page := consumer_metrics(consumer)) and lags(page) == [0, 0] and page, "for both partitions to be known")
    assert of(page, "kafka_rebalances_total", what="assigned") == 1
    stack.call("resume_service_task", {"data": {"service": "script"}})
    first = stack.create("script", FOR_EVER)
    stack.wait_status(first, "running")
    rest = stack.create_many("script", [[]] * 10)
    # One slot is busy: what was not claimed lies in Kafka.
    page = wait_until(lambda: (page := consumer_metrics(consumer)) and sum(filter(None, lags(page))) == 10 and page, "for the lag to grow")
    stack.call("cancel_task", {"data": {"task_id": first, "grace_s": 0}})
    stack.wait_finished(rest)
    wait_until(lambda: lags(consumer_metrics(consumer)) == [0, 0], "for the consumer to catch up")
