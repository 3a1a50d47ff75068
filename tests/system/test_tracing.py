"""Traces: from the header of a create to Kafka, the module and the log lines of both programs; spans at a collector."""
import json
import os
import re
import shutil
import signal
import socket
import time
import uuid

import pytest

from tests.system.otlp import Collector
from tests.system.stack import TOKEN, Api, Stack, module, wait_until

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
NO_WAIT = {"kind": "fixed", "base_s": 0, "max_s": 0, "jitter": 0}
TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$")


def traced(stack, data, parent=PARENT, state=None, **more):
    headers = {"traceparent": parent, **({"tracestate": state} if state else {})}
    return stack.call("create_task", {"data": data}, headers=headers, **more)


def create(stack, service="probe", condition=None, parent=PARENT, state=None, **more):
    return traced(stack, {"service": service, "condition": condition, **more}, parent, state)["task_id"]


def stored(stack, *task_ids):
    """What the store keeps of the tasks' traces."""
    rows = stack.call("tasks", {"p_size": 1000, "fields": ["task_id", "traceparent"]})["data"]
    of = {row["task_id"]: row["traceparent"] for row in rows}
    return [of[task_id] for task_id in task_ids]


def spans_of(stack, *task_ids):
    """The modules' TRACEPARENTs: (trace, span, flags) for each."""
    return [TRACEPARENT.match(stack.result(task_id)["data"]["env"]["TRACEPARENT"]).groups() for task_id in task_ids]


def about(program, task_id):
    """The program's log lines that name the task."""
    return [line for line in program.lines() if line.get("task_id") == task_id]


# ---- in


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """An API for the header tables."""
    stack = Stack(tmp_path_factory.mktemp("plain"))
    yield stack
    stack.close()


def raw_create(stack, *headers):
    """A create with these header lines as they stand; what was stored of its trace."""
    body = json.dumps({"data": {"service": "echo", "condition": None}})
    lines = ["POST /api/create_task HTTP/1.1", "Host: x", f"Authorization: {TOKEN}", "Content-Type: application/json",
             f"Content-Length: {len(body)}", "Connection: close", *headers]
    with socket.create_connection(stack.api.host_port) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    task_id = json.loads(answer.partition(b"\r\n\r\n")[2])["task_id"]
    (got,) = taken(stack)
    assert got["Task"]["task_id"] == task_id
    return got.get("traceparent"), got.get("tracestate")


def taken(stack, **more):
    """The tasks that wait. They end at once: what stays claimed would wait again when its lease is over, before those of later tests."""
    got = stack.take(**more)
    for item in got:
        stack.update(item["Task"]["task_id"], "finished", run_id=item["run_id"])
    return got


# The W3C test suite's names.
HEADERS = {
    "both_missing": ([], None),
    "traceparent_included": ([f"traceparent: {PARENT}"], PARENT),
    "traceparent_duplicated": ([f"traceparent: {PARENT}", f"traceparent: 00-{TRACE[::-1]}-{SPAN}-01"], None),
    "traceparent_twice_the_same": ([f"traceparent: {PARENT}", f"Traceparent: {PARENT}"], None),
    "header_name_valid_casing": ([f"TraCeParENt: {PARENT}"], PARENT),
    "header_name": ([f"trace-parent: {PARENT}"], None),
    "header_name_dot": ([f"trace.parent: {PARENT}"], None),
    "version_0x00": ([f"traceparent: {PARENT}."], None),
    "version_0x00_more": ([f"traceparent: {PARENT}-what-the-future-will-be-like"], None),
    "version_0xcc": ([f"traceparent: cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"], PARENT),
    "version_0xcc_dot": ([f"traceparent: cc-{TRACE}-{SPAN}-01.what-the-future-will-be-like"], None),
    "version_0xff": ([f"traceparent: ff-{TRACE}-{SPAN}-01"], None),
    "trace_id_all_zero": ([f"traceparent: 00-{'0' * 32}-{SPAN}-01"], None),
    "trace_id_upper_case": ([f"traceparent: 00-{TRACE.upper()}-{SPAN}-01"], None),
    "parent_id_all_zero": ([f"traceparent: 00-{TRACE}-{'0' * 16}-01"], None),
    "trace_flags_illegal": ([f"traceparent: 00-{TRACE}-{SPAN}-.0"], None),
    "trace_flags_not_sampled": ([f"traceparent: 00-{TRACE}-{SPAN}-00"], f"00-{TRACE}-{SPAN}-00"),
    "ows_handling": ([f"traceparent: \t {PARENT} \t"], PARENT),
    "empty": (["traceparent:"], None),
    "tracestate_alone": (["tracestate: foo=1"], None),
}


@pytest.mark.parametrize("headers, wanted", HEADERS.values(), ids=HEADERS)
def test_traceparent_header(plain, headers, wanted):
    assert raw_create(plain, *headers) == (wanted, None)


STATES = {
    "plain": (["foo=1,bar=2"], "foo=1,bar=2"),
    "multiple_headers": (["foo=1,bar=2", "rojo=1", "congo=2"], "foo=1,bar=2,rojo=1,congo=2"),
    "empty_header": ([""], None),
    "illegal_key": (["FOO=1"], None),
    "33_members": ([",".join(f"k{n}=1" for n in range(33))], None),
    "32_members": ([",".join(f"k{n}=1" for n in range(32))], ",".join(f"k{n}=1" for n in range(32))),
    "too_long": ([",".join(f"k{n}={'v' * 100}" for n in range(6))], None),
    "too_long_together": ([f"k{n}={'v' * 100}" for n in range(6)], None),
}


@pytest.mark.parametrize("states, wanted", STATES.values(), ids=STATES)
def test_tracestate_headers(plain, states, wanted):
    assert raw_create(plain, f"traceparent: {PARENT}", *(f"tracestate: {state}" for state in states)) == (PARENT, wanted)


def test_an_item_may_have_a_trace_of_its_own(plain):
    other = f"00-{TRACE[::-1]}-{SPAN[::-1]}-00"
    items = [{"service": "echo", "condition": 1}, {"service": "echo", "condition": 2, "traceparent": other, "tracestate": "x=y"},
             {"service": "echo", "condition": 3, "traceparent": "00-1-2-3"}, {"service": "echo", "condition": 4, "tracestate": "x=y"},
             {"service": "echo", "condition": 5, "traceparent": other, "tracestate": "="}]
    got = traced(plain, items, state="foo=1")["data"]
    assert [item.get("code") for item in got] == [None, None] + ["INVALID_PARAMETER"] * 3
    assert [item["message"].split(": ")[1].split()[0] for item in got[2:]] == ["traceparent", "tracestate", "tracestate"]
    assert [(item["traceparent"], item["tracestate"]) for item in taken(plain, max=10)] == [(PARENT, "foo=1"), (other, "x=y")]
    plain.call("create_task", {"data": {"service": "echo", "condition": 1}, "traceparent": other}, 400, "INVALID_PARAMETER")


def test_a_request_made_again_in_another_span_is_the_same_request(plain):
    data = {"service": "echo", "condition": 1, "idempotency_key": uuid.uuid4().hex}
    first = traced(plain, data)
    again = traced(plain, {**data, "traceparent": f"00-{TRACE}-{SPAN[::-1]}-01"}, f"00-{TRACE[::-1]}-{SPAN}-01")
    assert again["task_id"] == first["task_id"] and again["duplicate"] is True
    assert stored(plain, first["task_id"]) == [PARENT]
    taken(plain)


# ---- through


def test_from_the_create_to_the_module_and_the_logs(make_stack, any_store):
    stack = make_stack(store=any_store, services={"probe": module("probe")}, consumers=1)
    task_id, other = create(stack, state="vendor=a b"), stack.create("probe")
    stack.wait_finished([task_id, other])
    env = stack.result(task_id)["data"]["env"]
    ((trace, span, flags),) = spans_of(stack, task_id)
    assert (trace, flags) == (TRACE, "01") and span != SPAN
    assert env["TRACESTATE"] == "vendor=a b"
    assert not {"TRACEPARENT", "TRACESTATE"} & set(stack.result(other)["data"]["env"])
    lines = wait_until(lambda: [line for line in about(stack.consumer, task_id) if line["msg"] == "run finished"]
                       and about(stack.consumer, task_id))
    assert len(lines) >= 2 and {line.get("trace_id") for line in lines} == {TRACE}
    assert all("trace_id" not in line for line in about(stack.consumer, other))
    assert stored(stack, task_id, other) == [PARENT, None]


def test_it_outlives_a_restart(make_stack, any_store):
    stack = make_stack(store=any_store)
    task_id = create(stack, "echo", state="a=b")
    stack.api.restart()
    assert stored(stack, task_id) == [PARENT]
    (got,) = stack.take()
    assert (got["Task"]["task_id"], got["traceparent"], got["tracestate"]) == (task_id, PARENT, "a=b")


def test_every_attempt_and_every_start_is_a_span_of_its_own(make_stack):
    stack = make_stack(services={"script": module("script", max_attempts=3, retry=NO_WAIT)}, consumers=1, config={"sweep_s": 0.05})
    task_id = create(stack, "script", [["exit", 75]])
    stack.wait_status(task_id, "failed")
    lines = stack.consumer.find(msg="run failed", task_id=task_id)
    assert [line["trace_id"] for line in lines] == [TRACE] * 3
    stack.call("start_task", {"task_id": task_id})
    wait_until(lambda: len(stack.consumer.find(msg="run failed", task_id=task_id, trace_id=TRACE)) == 6, "for three attempts more")


def test_attempts_differ_in_their_span_alone(make_stack, tmp_path):
    """A module that notes its span and fails, over retries and a start."""
    notes = tmp_path / "spans"
    stack = make_stack(services={"shell": {"kind": "command", "max_attempts": 2, "retry": NO_WAIT,
                                           "command": ["/bin/sh", "-c", f'echo "$TRACEPARENT" >>{notes}; exit 1']}},
                       consumers=1, config={"sweep_s": 0.05})
    task_id = create(stack, "shell")
    stack.wait_status(task_id, "failed")
    stack.call("start_task", {"task_id": task_id})
    wait_until(lambda: len(notes.read_text().splitlines()) == 4 and stack.status(task_id)["status"] == "failed")
    spans = [TRACEPARENT.match(line).groups() for line in notes.read_text().splitlines()]
    assert {(trace, flags) for trace, _, flags in spans} == {(TRACE, "01")}
    assert len({span for _, span, _ in spans} | {SPAN}) == 5


def test_a_module_that_stays_finds_it_in_each_line(make_stack):
    stack = make_stack(services={"warm": module("warm", kind="warm")}, consumers=1)
    first, none, second = create(stack, "warm", [["trace"]], state="a=b"), stack.create("warm", [["trace"]]), \
        create(stack, "warm", [["trace"]], f"00-{TRACE[::-1]}-{SPAN}-00")
    stack.wait_finished([first, none, second])
    (parent, state), nothing, (other, _) = [stack.result(task_id)["data"] for task_id in (first, none, second)]
    assert TRACEPARENT.match(parent).group(1) == TRACE and state == "a=b" and nothing == [None, None]
    assert TRACEPARENT.match(other).group(1, 3) == (TRACE[::-1], "00")


def test_a_lost_lease_is_logged_with_its_trace(make_stack):
    stack = make_stack(config={"lease_s": 0.5, "sweep_s": 0.1})
    task_id = create(stack, "echo")
    stack.take()
    line = stack.api.wait_line(msg="lease lost", task_id=task_id)
    assert line["trace_id"] == TRACE


# ---- Kafka


@pytest.mark.cluster
def test_kafka_carries_it_in_headers(make_stack):
    stack = make_stack(store="mongodb", broker="kafka", services={"probe": module("probe")})
    task_id, other = create(stack, condition={"x": 1.0}, state="a=b"), stack.create("probe")
    got = {one.key.decode(): one for one in stack.messages("probe", 2)}
    headers = {key: value.decode() for key, value in got[task_id].headers}
    assert headers == {"attempt": "1", "traceparent": PARENT, "tracestate": "a=b"}
    assert {key for key, _ in got[other].headers} == {"attempt"}
    # The message itself is the base contract's.
    assert got[task_id].value == (f'{{"Task":{{"task_id":"{task_id}","service":"probe","source_name":"source of probe",'
                                  f'"condition":{{"x":1.0}}}}}}').encode()
    stack.start_consumer()
    stack.wait_finished([task_id, other])
    ((trace, span, _),) = spans_of(stack, task_id)
    assert trace == TRACE and span != SPAN
    document = stack.collection().find_one({"task_id": task_id})
    assert (document["traceparent"], document["tracestate"]) == (PARENT, "a=b")
    assert not {"traceparent", "tracestate"} & set(stack.collection().find_one({"task_id": other}))
    # A message that comes again is dropped, and says of which trace it was.
    stack.call("start_task", {"task_id": task_id})
    again = stack.messages("probe", 3)[-1]
    assert {key: value.decode() for key, value in again.headers} == {"attempt": "2", "traceparent": PARENT, "tracestate": "a=b"}


@pytest.mark.cluster
def test_a_trace_counts_towards_the_size_of_a_message(make_stack, kafka):
    stack = make_stack(store="mongodb", broker="kafka", topics=False, apis=0)
    kafka.create_topic(stack.topic("echo"), max_message_bytes=4000)
    stack.start_api()
    state = ",".join(f"k{n}={'v' * 60}" for n in range(7))

    def fits(size, state):
        answer = stack.post("create_task", {"data": {"service": "echo", "condition": "x" * size}},
                            headers={"traceparent": PARENT, **({"tracestate": state} if state else {})})
        return answer.status == 200

    def largest(state):
        low, high = 1000, 4000
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle, state) else (low, middle)
        return low
    plain, with_state = largest(None), largest(state)
    assert 0 <= plain - with_state - len(state) <= 32
    # What was taken goes out, the largest too.
    total = stack.call("tasks", {})["total"]
    assert len(stack.messages("echo", total)) == total


# ---- spans


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.stop()


def traced_stack(make_stack, collector, **more):
    config = {"tracing": {"endpoint": collector.endpoint, **more.pop("tracing", {})}, **more.pop("config", {})}
    return make_stack(config=config, **more)


def within(inner, outer):
    """The clock of the wall and that of durations are laid side by side once a second: so far they may part."""
    return outer.began - 0.01 <= inner.began <= inner.ended <= outer.ended + 0.01


def now_is_between(span, before, after):
    return before - 0.01 <= span.began <= span.ended <= after + 0.01


def test_a_task_is_a_trace(make_stack, collector):
    before = time.time()
    stack = traced_stack(make_stack, collector, services={"probe": module("probe")}, consumers=1)
    task_id = create(stack)
    stack.wait_finished([task_id])
    (server,) = collector.wait(name="POST /api/create_task")
    (commit,) = collector.wait(name="commit")
    (queued,) = collector.wait(name="queued probe")
    (run,) = collector.wait(name="run probe")
    after = time.time()
    assert {span.trace for span in (server, commit, queued, run)} == {TRACE}
    assert [span.parent for span in (server, commit, queued, run)] == [SPAN, server.id, server.id, server.id]
    assert len({span.id for span in (server, commit, queued, run)} | {SPAN}) == 5
    assert [span.kind for span in (server, commit, queued, run)] == ["server", "internal", "internal", "consumer"]
    assert not any(span.failed for span in (server, commit, queued, run))
    # What the task keeps is the create's own span; what the module is told is the run's.
    assert stored(stack, task_id) == [f"00-{TRACE}-{server.id}-01"]
    assert spans_of(stack, task_id) == [(TRACE, run.id, "01")]
    # Times
    assert all(now_is_between(span, before, after) for span in (server, commit, queued, run))
    assert within(commit, server) and server.began <= run.began + 0.01 and queued.ended <= run.began + 0.01
    # What they say
    request_id = server.attributes.pop("longhaul.request_id")
    assert request_id and server.attributes == {"http.request.method": "POST", "http.route": "/api/create_task",
                                                "http.response.status_code": 200}
    assert commit.attributes == {"db.system.name": "sqlite", "longhaul.op": "create", "longhaul.tasks": 1}
    run_id = stack.result(task_id)["data"]["env"]["RUN_ID"]
    assert run.attributes == {"longhaul.task_id": task_id, "longhaul.run_id": run_id, "longhaul.service": "probe",
                              "longhaul.attempt": 1, "longhaul.outcome": "finished"}
    assert {"longhaul.task_id": task_id, "longhaul.service": "probe", "longhaul.attempt": 1}.items() <= queued.attributes.items()
    for span, name in ((server, "longhaul-api"), (run, "longhaul-consumer")):
        assert span.resource["service.name"] == span.scope == name
        assert span.resource["process.pid"] == (stack.api if name == "longhaul-api" else stack.consumer).pid
        assert span.resource["service.version"] and span.resource["host.name"] in span.resource["service.instance.id"]
    assert {(path, headers["Content-Type"]) for path, headers in collector.requests} == {("/v1/traces", "application/x-protobuf")}


def test_every_attempt_is_a_span_with_its_error(make_stack, collector):
    stack = traced_stack(make_stack, collector, consumers=1, config={"sweep_s": 0.05},
                         services={"script": module("script", max_attempts=2, retry=NO_WAIT)})
    failing = create(stack, "script", [["err", "so it is\n"], ["exit", 3]])
    stack.wait_status(failing, "failed")
    runs = collector.wait(2, name="run script")
    (server,) = collector.wait(name="POST /api/create_task")
    assert [run.attributes["longhaul.attempt"] for run in runs] == [1, 2]
    assert {(run.parent, run.trace) for run in runs} == {(server.id, TRACE)} and runs[0].id != runs[1].id
    assert {(run.failed, run.message, run.attributes["longhaul.outcome"]) for run in runs} == {(True, "exit status 3: so it is", "error")}
    assert [span.attributes["longhaul.attempt"] for span in collector.wait(2, name="queued script")] == [1, 2]
    # A run that is ended at its deadline, and one that is cancelled.
    late = create(stack, "script", [["until", "/never"]], max_attempts=1, timeout_s=1)
    run = collector.wait(3, name="run script")[2]
    assert (run.attributes["longhaul.task_id"], run.attributes["longhaul.outcome"]) == (late, "timeout")
    assert run.failed and "timed out" in run.message and run.ended - run.began >= 0.95
    stopped = create(stack, "script", [["until", "/never"]], max_attempts=1)
    stack.wait_status(stopped, "running")
    stack.call("cancel_task", {"task_id": stopped})
    run = collector.wait(4, name="run script")[3]
    assert (run.attributes["longhaul.task_id"], run.attributes["longhaul.outcome"], run.failed) == (stopped, "cancelled", True)


def test_what_begins_a_trace(make_stack, collector):
    """A create without a header begins one; what is not sampled is carried on without a span; other calls have one where they bring it."""
    stack = traced_stack(make_stack, collector)
    own = stack.create()
    silent = create(stack, "echo", parent=f"00-{TRACE[::-1]}-{SPAN}-00")
    stack.status(own)
    stack.call("status_task", {"task_id": silent}, headers={"traceparent": PARENT})
    stack.call("create_task", {"service": "nobody", "condition": 1}, 400, "SERVICE_NOT_SUPPORT", headers={"traceparent": PARENT})
    (status,) = collector.wait(name="POST /api/status_task")
    refused = collector.wait(name="POST /api/create_task", parent=SPAN)[0]
    (begun,) = collector.wait(name="POST /api/create_task", parent="")
    assert stored(stack, own, silent) == [f"00-{begun.trace}-{begun.id}-03", f"00-{TRACE[::-1]}-{SPAN}-00"]
    assert (status.trace, status.parent, status.attributes["http.response.status_code"]) == (TRACE, SPAN, 200)
    assert refused.attributes["error.type"] == "SERVICE_NOT_SUPPORT" and not refused.failed
    assert refused.attributes["http.response.status_code"] == 400
    assert not collector.find(trace=TRACE[::-1]) and len(collector.find(kind="server")) == 3


def test_sample_0_begins_none(make_stack, collector):
    stack = traced_stack(make_stack, collector, tracing={"sample": 0, "service_name": "mine"})
    plain = stack.create_many("echo", [1] * 20)
    told = create(stack, "echo")
    (server,) = collector.wait(kind="server")
    assert server.resource["service.name"] == "mine" and server.trace == TRACE
    assert stored(stack, *plain) == [None] * 20 and stored(stack, told) == [f"00-{TRACE}-{server.id}-01"]


def test_the_environment_names_the_collector(make_stack, collector):
    stack = make_stack(apis=0, services={"probe": module("probe")})
    stack.write_config(stack.dir / "c.yaml", tracing={"endpoint": "http://127.0.0.1:1/"})
    more = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}/", "OTEL_SERVICE_NAME": "named"}
    stack.apis.append(Api(stack, 0, env={**stack.env(), **more}))
    stack.api.ready()
    stack.start_consumer(env={"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector.endpoint, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
    create(stack)
    assert collector.wait(name="POST /api/create_task")[0].resource["service.name"] == "named"
    assert collector.wait(name="run probe")[0].resource["service.name"] == "longhaul-consumer"


@pytest.mark.parametrize("tracing, env, words", [
    ({"endpoint": "https:///v1/traces"}, {}, "tracing.endpoint"),
    ({"endpoint": "127.0.0.1:4318"}, {}, "tracing.endpoint"),
    ({"sample": 1.5}, {}, "tracing.sample"),
    ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "grpc://x"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
])
def test_wrong_settings_are_named(make_stack, tracing, env, words):
    stack = make_stack(apis=0, config={"tracing": tracing})
    api = Api(stack, 0, env={**stack.env(), **env})
    api.expect_exit = None
    stack.apis.append(api)
    assert api.wait() == 78
    assert re.search(rf"api0\.yaml:\d+: {re.escape(words)}: expected", api.text()), api.text()


def test_what_is_left_goes_out_at_the_end(make_stack, collector):
    stack = traced_stack(make_stack, collector, services={"script": module("script")}, consumers=1)
    task_id = create(stack, "script", [])
    stack.wait_finished([task_id])
    assert stack.consumer.stop() == 0 and stack.api.stop() == 0
    assert collector.find(name="run script") and collector.find(name="POST /api/create_task")


def test_a_collector_that_is_away_and_back(make_stack, collector):
    stack = traced_stack(make_stack, collector)
    collector.stop()
    first = create(stack, "echo")
    warning = stack.api.wait_line(msg="spans are not delivered")
    assert warning["level"] == "warning" and warning["address"] == collector.endpoint and "refused" in warning["error"]
    stack.create_many("echo", list(range(100)))
    collector.start()
    collector.wait(2, name="POST /api/create_task")
    stack.api.wait_line(msg="spans are delivered again")
    assert stored(stack, first) == [f"00-{TRACE}-{collector.find(parent=SPAN)[0].id}-01"]
    assert len(stack.api.find(msg="spans are not delivered")) == 1
    # One that says later is asked again, one that says never is not.
    collector.status = 503
    create(stack, "echo")
    wait_until(lambda: collector.refused >= 2, "for a second try")
    collector.status = 200
    collector.wait(3, name="POST /api/create_task")
    collector.status, refused = 400, collector.refused
    create(stack, "echo")
    wait_until(lambda: collector.refused > refused, "for a refusal")
    collector.status = 200
    create(stack, "echo")
    collector.wait(4, name="POST /api/create_task")
    assert len(collector.find(name="POST /api/create_task")) == 4


def test_a_dead_collector_keeps_nobody_from_stopping(make_stack):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        stack = make_stack(config={"tracing": {"endpoint": f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces"}})
        create(stack, "echo")
        assert stack.api.stop() == 0
        assert stack.api.find(msg="spans are lost")[0]["count"] == 2


def test_a_reload_ends_nobody_who_stops(make_stack):
    """SIGHUP at every moment of a stop, which waits for the collector at its end."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stack = make_stack(services={"script": module("script")}, consumers=1,
                           config={"tracing": {"endpoint": f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces"}})
        stack.wait_finished([create(stack, "script", [])])
        for program in (stack.consumer, stack.api):
            program.terminate()
            while program.alive():
                os.kill(program.pid, signal.SIGHUP)
                time.sleep(0.01)
            assert program.ended() == 0 and program.find(msg="spans are lost")


# ---- a collector with TLS


@pytest.fixture
def secure(request, pki):
    """A collector that shows the certificate of that name; tests choose."""
    collector = Collector(certificate=getattr(pki, request.param))
    yield collector
    collector.stop()


def has_tls(program):
    """Whether the module for TLS is loaded."""
    with open(f"/proc/{program.pid}/maps") as maps:
        return "longhaul-tls" in maps.read()


@pytest.mark.parametrize("secure", ["server"], indirect=True)
def test_a_collector_with_tls(make_stack, secure, pki, collector):
    """Known by tracing.ca; the module for TLS is loaded for that only."""
    stack = traced_stack(make_stack, secure, services={"probe": module("probe")}, consumers=1, tracing={"ca": str(pki.ca.cert)})
    stack.wait_finished([create(stack)])
    for name in ("POST /api/create_task", "commit", "queued probe", "run probe"):
        assert secure.wait(name=name)[0].trace == TRACE
    assert has_tls(stack.api) and has_tls(stack.consumer)
    plain = traced_stack(make_stack, collector, tracing={"ca": str(pki.ca.cert)})
    create(plain, "echo")
    collector.wait(name="POST /api/create_task")
    assert not has_tls(plain.api)


@pytest.mark.parametrize("secure", ["server"], indirect=True)
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE"])
def test_the_systems_cas_and_those_of_the_environment(make_stack, secure, pki, variable):
    """OpenSSL takes SSL_CERT_FILE for the system's file; the others count for more than tracing.ca."""
    ca = {} if variable == "SSL_CERT_FILE" else {"ca": str(pki.other.cert)}
    stack = make_stack(apis=0, config={"tracing": {"endpoint": secure.endpoint, **ca}})
    stack.apis.append(Api(stack, 0, env={**stack.env(), variable: str(pki.ca.cert)}))
    stack.api.ready()
    create(stack, "echo")
    assert secure.wait(name="POST /api/create_task")[0].trace == TRACE


@pytest.mark.parametrize("secure, ca, words", [("server", "other", "unable to get local issuer certificate"), ("elsewhere", "ca", "mismatch"),
                                               ("expired", "ca", "expired")], indirect=["secure"])
def test_a_collector_with_a_wrong_certificate(make_stack, secure, pki, ca, words):
    """Gets nothing, is named once, and nothing else suffers."""
    stack = traced_stack(make_stack, secure, services={"probe": module("probe")}, consumers=1, tracing={"ca": str(getattr(pki, ca).cert)})
    for _ in range(3):
        stack.wait_finished([create(stack)])
    for program in (stack.api, stack.consumer):
        line = program.wait_line(msg="spans are not delivered")
        assert line["level"] == "warning" and line["address"] == secure.endpoint
        assert line["error"].startswith("TLS: the server's certificate: ") and words in line["error"]
    assert stack.consumer.stop() == 0 and stack.api.stop() == 0
    for program in (stack.api, stack.consumer):
        assert len(program.find(msg="spans are not delivered")) == len(program.find(msg="spans are lost")) == 1
    assert not secure.requests


def test_a_collector_that_does_not_speak_tls(make_stack, collector):
    stack = make_stack(config={"tracing": {"endpoint": collector.endpoint.replace("http:", "https:")}})
    create(stack, "echo")
    assert stack.api.wait_line(msg="spans are not delivered")["error"] == "TLS: the server does not speak it"


@pytest.mark.parametrize("secure", ["server"], indirect=True)
def test_the_ca_is_read_again(make_stack, secure, pki, tmp_path):
    ca = tmp_path / "ca.pem"
    shutil.copy(pki.other.cert, ca)
    stack = traced_stack(make_stack, secure, services={"probe": module("probe")}, consumers=1, tracing={"ca": str(ca)})
    stack.wait_finished([create(stack)])
    for program in (stack.api, stack.consumer):
        program.wait_line(msg="spans are not delivered")
        ca.write_text("nothing")
        program.process.send_signal(signal.SIGHUP)
        assert str(ca) in program.wait_line(msg="tracing.ca not read again: that of before holds")["error"]
        shutil.copy(pki.ca.cert, ca)
        program.process.send_signal(signal.SIGHUP)
        program.wait_line(msg="spans are delivered again")
    assert secure.find(name="run probe") and secure.find(name="POST /api/create_task")


def test_a_ca_that_cannot_be_read_is_named(make_stack):
    stack = make_stack(apis=0, config={"tracing": {"endpoint": "https://127.0.0.1:1/v1/traces", "ca": "nowhere.pem"}})
    api = Api(stack, 0, env=stack.env())
    api.expect_exit = 78
    stack.apis.append(api)
    assert api.wait() == 78 and f"CA {stack.dir}/nowhere.pem: " in api.text()


@pytest.mark.cluster
def test_publishing_is_a_span(make_stack, collector):
    stack = traced_stack(make_stack, collector, store="mongodb", broker="kafka", services={"probe": module("probe")})
    task_id = create(stack)
    (message,) = stack.messages("probe", 1)
    (server,) = collector.wait(name="POST /api/create_task")
    (publish,) = collector.wait(name=f"publish {stack.topic('probe')}")
    assert dict(message.headers)["traceparent"].decode() == f"00-{TRACE}-{server.id}-01"
    assert (publish.trace, publish.parent, publish.kind) == (TRACE, server.id, "producer")
    assert publish.attributes == {"messaging.system": "kafka", "messaging.destination.name": stack.topic("probe"),
                                  "messaging.kafka.offset": message.offset, "messaging.kafka.partition": message.partition,
                                  "messaging.kafka.message.key": task_id, "longhaul.task_id": task_id, "longhaul.service": "probe"}
    assert collector.wait(name="commit")[0].attributes["db.system.name"] == "mongodb"
    stack.start_consumer()
    (run,) = collector.wait(name="run probe")
    assert (run.trace, run.parent) == (TRACE, server.id)
