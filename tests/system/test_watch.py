"""/api/watch: what happens to tasks while it happens; resuming, slow readers, logs, limits."""
import datetime
import hashlib
import json
import os
import signal
import time
import uuid

import pytest

from tests.system.stack import BUILD, PATIENCE_S, SANITIZED, wait_until
from tests.system.watching import Watch

FIELDS = {"task_id", "service", "status", "sub_status", "message", "create_time", "start_time", "end_time", "attempt", "worker",
          "progress", "tags", "error"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    from tests.system.stack import Stack
    stack = Stack(tmp_path_factory.mktemp("watch"), services=("echo", "other"),
                  config={"limits": {"watch_kb": 16}, "log_wait_s": 3600})
    yield stack
    stack.close()


def run_of(stack, **more):
    task_id, run_id = stack.create(**more), str(uuid.uuid4())
    stack.update(task_id, "running", run_id=run_id)
    return task_id, run_id


def beat(stack, run, **more):
    return stack.call("heartbeat_task", {"data": [{"task_id": run[0], "run_id": run[1], **more}]})


def log(stack, run, offset, text, api=0, **more):
    data = {"task_id": run[0], "run_id": run[1], "stream": "stdout", "offset": offset, "text": text, **more}
    return stack.call("log_task", {"data": data}, api=api)["offset"]


# ---- events


def test_a_life_is_told(stack):
    with Watch(stack, service="echo") as watch:
        hello = watch.expect("hello", resumed=False, all_processes=True)
        assert watch.headers["content-type"] == "text/event-stream" and watch.headers["cache-control"] == "no-store"
        assert hello.id.startswith(hello.data["process"] + "-")
        run = run_of(stack, tags={"team": "blue"})
        first = watch.expect("status", task_id=run[0], status="waiting", sub_status="queued", attempt=0, service="echo")
        assert set(first.data) == FIELDS and first.data["tags"] == {"team": "blue"}
        watch.expect("status", task_id=run[0], status="running", attempt=1)
        beat(stack, run)
        watch.expect("status", task_id=run[0], status="running", sub_status="started")
        beat(stack, run, progress={"done": 1, "total": 2, "text": "half\nway"})
        watch.expect("progress", task_id=run[0], progress={"done": 1, "total": 2, "text": "half\nway"})
        beat(stack, run, progress={"done": 1, "total": 2, "text": "half\nway"})  # nothing new
        stack.update(run[0], "failed", run_id=run[1], message="gone", error={"text": "no disk", "class": "fatal"})
        last = watch.expect("status", task_id=run[0], status="failed", message="gone")
        assert last.data["error"] == {"class": "fatal", "text": "no disk"} and last.data["end_time"]
        stack.call("delete_task", {"data": {"task_id": run[0]}})
        watch.expect("status", task_id=run[0], sub_status="removed")
        assert watch.is_quiet()


@pytest.mark.skipif(SANITIZED, reason="a sanitizer wants to be loaded first")
def test_a_beginning_is_told_where_the_claim_has_a_later_clock(make_stack, tmp_path):
    """The time of the heartbeat is then the claim's, and no event of the claim is at hand."""
    ahead = tmp_path / "ahead"
    ahead.write_bytes((60000).to_bytes(8, "little"))
    stack = make_stack(apis=0)
    stack.start_api(env={"LD_PRELOAD": str(BUILD / "tests/system/clock_step.so"), "CLOCK_STEP": str(ahead)})
    run = run_of(stack)
    with open(ahead, "r+b") as file:
        file.write(bytes(8))
    with Watch(stack, service="echo") as watch:
        watch.expect("hello")
        beat(stack, run)
        watch.expect("status", task_id=run[0], status="running", sub_status="started")


def test_selections(stack):
    blue, red = {"team": "blue", "size": "s"}, {"team": "red"}
    with Watch(stack, service=["other", "none"]) as by_service, Watch(stack, tag=["team=blue", "size=s"]) as by_tag, \
            Watch(stack, service="echo", tag="team=red") as by_both, Watch(stack) as everything, \
            Watch(stack, method="POST", service=["other"], tag=["team=blue"], types=["status"]) as by_post, \
            Watch(stack, types="progress") as progress:
        watches = (by_service, by_tag, by_both, everything, by_post, progress)
        for watch in watches:
            watch.expect("hello")
        ids = [stack.create(service=service, tags=tags) for service in ("echo", "other") for tags in (blue, red)]
        echo_blue, echo_red, other_blue, other_red = ids
        for watch, wanted in ((by_service, [other_blue, other_red]), (by_tag, [echo_blue, other_blue]), (by_both, [echo_red]),
                              (everything, ids), (by_post, [other_blue]), (progress, [])):
            for task_id in wanted:
                watch.expect("status", task_id=task_id)
            assert watch.is_quiet(0.1)


def test_named_tasks_are_told_as_they_stand_and_then_as_they_change(stack):
    run, other = run_of(stack), stack.create()
    unknown = "ts_echo_" + str(uuid.uuid4())
    with Watch(stack, task_id=[run[0], unknown, other]) as watch:
        watch.expect("hello")
        assert watch.expect("status", task_id=run[0], status="running").id is None
        watch.expect("status", task_id=unknown, status="Invalid")
        watch.expect("status", task_id=other, status="waiting")
        stack.create()
        stack.update(run[0], "finished", run_id=run[1])
        watch.expect("status", task_id=run[0], status="finished")
        assert watch.is_quiet(0.2)


def test_a_client_that_breaks_off_before_it_has_the_states_gets_them_again(stack):
    """An id stands only where all before it has been told."""
    tasks = [stack.create() for _ in range(3)]
    with Watch(stack, task_id=tasks) as watch:
        assert not watch.expect("hello").id
        for task_id in tasks:
            assert not watch.expect("status", task_id=task_id).id
        stack.call("cancel_task", {"data": {"task_id": tasks[0]}})
        last_id = watch.expect("status", task_id=tasks[0], status="failed").id
        assert last_id
    with Watch(stack, task_id=tasks, last_id=last_id) as watch:
        watch.expect("hello", resumed=True)
        assert watch.is_quiet(0.1)


def test_a_thousand_named_tasks(stack):
    ids = stack.create_many("echo", list(range(1000)))
    with Watch(stack, method="POST", task_id=ids) as watch:
        watch.expect("hello")
        assert [watch.expect("status").data["task_id"] for _ in ids] == ids
        stack.call("cancel_task", {"data": {"task_id": ids[-1]}})
        watch.expect("status", task_id=ids[-1], sub_status="cancelled")


def test_an_http_1_0_client_gets_a_body_that_ends_with_the_connection(stack):
    with Watch(stack, version="1.0", service="echo") as watch:
        assert not watch.chunked and watch.headers["connection"] == "close"
        watch.expect("hello")
        watch.expect("status", task_id=stack.create())


def test_texts_that_are_too_long_for_an_event_are_left_out(stack):
    with Watch(stack, service="echo") as watch:
        watch.expect("hello")
        run = run_of(stack)
        stack.update(run[0], "failed", run_id=run[1], message="m" * 60000)
        last = watch.until("status", task_id=run[0], status="failed")[-1]
        assert last.data["truncated"] is True and last.data["message"] is None
        assert stack.status(run[0])["message"] == "m" * 60000


# ---- resuming


def test_resumes_behind_the_last_event(stack):
    with Watch(stack, service="echo") as watch:
        watch.expect("hello")
        first = stack.create()
        last_id = watch.expect("status", task_id=first).id
    second, run = stack.create(), run_of(stack)
    for more in ({"last_id": last_id}, {"last_event_id": last_id}, {"method": "POST", "last_event_id": last_id}):
        with Watch(stack, service="echo", **more) as watch:
            watch.expect("hello", resumed=True)
            watch.expect("status", task_id=second)
            # what was missed is told by the newest event of each task
            watch.expect("status", task_id=run[0], status="running")
            assert watch.is_quiet(0.1)


@pytest.mark.parametrize("last_id", ["x", "nobody-1", "{process}-999999999", "{process}--5", "{process}-", "{process}-1x", ";"])
def test_an_id_that_says_nothing_is_a_gap(stack, last_id):
    with Watch(stack, service="echo") as watch:
        process = watch.expect("hello").data["process"]
    with Watch(stack, service="echo", last_id=last_id.format(process=process)) as watch:
        watch.expect("hello", resumed=False)
        watch.expect("gap", reason="unknown id")


def test_what_the_ring_has_lost_is_a_gap(make_stack):
    stack = make_stack(services=("echo",))
    with Watch(stack, service="echo") as watch:
        watch.expect("hello")
        task_id = stack.create()
        last_id = watch.expect("status", task_id=task_id).id
        for _ in range(9):
            stack.create_many("echo", [1] * 1000)
    with Watch(stack, service="echo", last_id=last_id) as watch:
        watch.expect("hello", resumed=False)
        watch.expect("gap", reason="unknown id")
    stack.api.restart()
    with Watch(stack, service="echo", last_id=last_id) as watch:
        watch.expect("hello", resumed=False)
        watch.expect("gap", reason="unknown id")


# ---- slow readers


def rss_kb(stack, api=0):
    return next(int(line.split()[1]) for line in open(f"/proc/{stack.apis[api].pid}/status") if line.startswith("VmRSS"))


def test_a_reader_that_falls_behind_gets_the_newest_of_each_task(stack):
    runs = [run_of(stack) for _ in range(5)]
    with Watch(stack, method="POST", task_id=[run[0] for run in runs], types=["progress", "status"], rcvbuf=4096) as watch:
        watch.expect("hello")
        text = "x" * 900
        for i in range(600):
            stack.call("heartbeat_task", {"data": [{"task_id": run[0], "run_id": run[1], "progress": {"done": i, "total": 600, "text": text}}
                                                   for run in runs]})
        for run in runs:
            stack.update(run[0], "finished", run_id=run[1])
        seen = {run[0]: [] for run in runs}
        while any(not events or events[-1].data["status"] != "finished" for events in seen.values()):
            event = watch.next()
            assert event and event.name in ("status", "progress"), event
            seen[event.data["task_id"]].append(event)
        for events in seen.values():
            done = [event.data["progress"]["done"] for event in events if event.name == "progress"]
            assert done == sorted(done) and done[-1] == 599 and len(done) < 600


def test_a_reader_that_falls_behind_the_ring_is_told(make_stack):
    stack = make_stack(services=("echo",), config={"limits": {"watch_kb": 16}})
    with Watch(stack, service="echo", rcvbuf=4096) as watch:
        watch.expect("hello")
        for _ in range(25):
            stack.create_many("echo", [1] * 1000)
        events = []
        while not events or events[-1].name != "gap":
            events.append(watch.next())
            assert events[-1], "no gap"
        assert events[-1].data == {"reason": "slow"}
        last = stack.create()
        watch.until("status", task_id=last)


# ---- logs


def text_of(watch, task_id, until_end=True):
    """Follows stdout of an attempt to its end: the text, and whether the offsets fit."""
    got = ""
    while True:
        event = watch.next()
        assert event, "the stream ended"
        if event.name == "log" and event.data["task_id"] == task_id and event.data["stream"] == "stdout":
            got += event.data["text"]
            assert event.data["offset"] == len(got.encode())
            if event.data["is_end"]:
                return got


def test_logs_of_both_streams_and_every_attempt(stack):
    run = run_of(stack, max_attempts=2, retry={"kind": "fixed", "base_s": 0, "max_s": 0, "jitter": 0})
    with Watch(stack, task_id=run[0], types="log") as watch:
        watch.expect("hello")
        log(stack, run, 0, "one ü\n")
        watch.expect("log", task_id=run[0], attempt=1, stream="stdout", offset=7, text="one ü\n", is_end=False)
        log(stack, run, 0, "trouble\n", stream="stderr")
        watch.expect("log", attempt=1, stream="stderr", offset=8, text="trouble\n")
        stack.update(run[0], "failed", run_id=run[1], error={"text": "x", "class": "retryable"})
        log(stack, run, 7, "late\n", end=True)
        watch.expect("log", attempt=1, stream="stdout", offset=12, text="late\n", is_end=True)
        log(stack, run, 8, "", stream="stderr", end=True)
        watch.expect("log", attempt=1, stream="stderr", offset=8, text="", is_end=True)
        again = (run[0], str(uuid.uuid4()))
        wait_until(lambda: stack.status(run[0])["sub_status"] == "queued")
        stack.update(run[0], "running", run_id=again[1])
        log(stack, again, 0, "second\n")
        watch.expect("log", attempt=2, stream="stdout", offset=7, text="second\n")
        assert watch.is_quiet(0.2)


def test_a_log_resumes_without_a_byte_lost_or_doubled(stack):
    run, whole, sent = run_of(stack), "".join(f"line {i} ä\n" for i in range(4000)), 0
    got, last_id = "", None
    while len(got) < len(whole):
        if sent < len(whole):
            piece = whole[sent:sent + 7001]
            log(stack, run, len(whole[:sent].encode()), piece)
            sent += len(piece)
        with Watch(stack, task_id=run[0], types=["log", "status"], last_id=last_id) as watch:
            watch.expect("hello")
            for _ in range(2):
                event = watch.next(0.2)
                if event and event.name == "log":
                    got += event.data["text"]
                    assert event.data["offset"] == len(got.encode())
                    last_id = watch.last_id
    assert got == whole


def test_a_log_from_its_end(stack):
    run = run_of(stack)
    log(stack, run, 0, "0123456789äb")
    for tail, text in ((0, None), (1, "b"), (2, "b"), (3, "äb"), (1000, "0123456789äb")):
        with Watch(stack, method="POST", task_id=run[0], types="log", tail_bytes=tail) as watch:
            watch.expect("hello")
            if text:
                watch.expect("log", text=text, offset=13)
            assert watch.is_quiet(0.1)
    with Watch(stack, task_id=run[0], types="log", tail_bytes=0) as watch:
        watch.expect("hello")
        assert watch.is_quiet(0.3)
        log(stack, run, 13, "new")
        watch.expect("log", text="new", offset=16)


def test_a_log_to_a_slow_reader_is_whole(stack):
    run, piece = run_of(stack), "0123456789abcde\n" * 4096
    with Watch(stack, task_id=run[0], types="log", rcvbuf=4096) as watch:
        watch.expect("hello")
        for i in range(20):
            log(stack, run, i * len(piece), piece, end=i == 19)
        assert text_of(watch, run[0]) == piece * 20


def test_a_silent_run_ends_its_log(stack):
    run = run_of(stack)
    with Watch(stack, task_id=run[0], types="log") as watch:
        watch.expect("hello")
        stack.update(run[0], "finished", run_id=run[1], silent=True)
        assert {watch.expect("log", text="", is_end=True).data["stream"] for _ in range(2)} == {"stdout", "stderr"}
        assert watch.is_quiet(0.2)


# ---- refusals


@pytest.mark.parametrize("select,what", [
    ({"types": "log"}, "1 to 16 task_ids"),
    ({"types": "log", "service": "echo"}, "1 to 16 task_ids"),
    ({"types": "log", "task_id": [f"t{i}" for i in range(17)]}, "1 to 16 task_ids"),
    ({"types": "status,news"}, "types"),
    ({"types": ""}, "types"),
    ({"tag": "team"}, "tag must be key=value"),
    ({"task_id": ["a", "a"]}, "task_id must name a task once"),
    ({"task_id": ""}, "task_id must be a string"),
    ({"task_id": "x" * 300}, "task_id must be a string"),
    ({"tail_bytes": "many"}, "tail_bytes"),
    ({"tail_bytes": -1}, "tail_bytes"),
    ({"tail_bytes": 1 << 21}, "tail_bytes"),
])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_wrong_selections_are_named(stack, method, select, what):
    with Watch(stack, method=method, **select) as watch:
        assert watch.status == 400 and watch.answer["code"] == "INVALID_PARAMETER" and what in watch.answer["message"]


@pytest.mark.parametrize("query", ["task_id=%zz", "%ff=1", "task_id=%ff", "=x", "a%00b=1"])
def test_a_query_that_is_none(stack, query):
    answer = stack.request("GET", f"/api/watch?{query}")
    assert answer.status == 400 and "query" in answer.json["message"]


def test_too_many_ids(stack):
    with Watch(stack, method="POST", task_id=[f"t{i}" for i in range(1001)]) as watch:
        assert watch.status == 400 and watch.answer["code"] == "TOO_MANY"


def test_needs_the_token_and_a_method(stack):
    with Watch(stack, token="wrong") as watch:
        assert watch.status == 401
    answer = stack.request("PUT", "/api/watch", described=False)
    assert answer.status == 405 and answer.headers["Allow"] == "GET, POST"
    assert stack.request("GET", "/api/status_task", described=False).headers["Allow"] == "POST"


def test_watchers_are_limited(make_stack):
    stack = make_stack(services=("echo",), config={"limits": {"watchers": 2}})
    first, second = Watch(stack), Watch(stack)
    with Watch(stack) as third:
        assert third.status == 503 and third.answer["code"] == "OVERLOADED" and "limits.watchers" in third.answer["message"]
        assert third.headers["retry-after"]
    first.close()
    wait_until(lambda: Watch(stack).status == 200)
    second.close()


# ---- the end


def test_a_draining_api_ends_streams(make_stack):
    stack = make_stack(services=("echo",))
    run = run_of(stack)
    watches = [Watch(stack, service="echo"), Watch(stack, task_id=run[0], types="log,status"), Watch(stack, version="1.0")]
    for watch in watches:
        watch.expect("hello")
    begun = time.monotonic()
    stack.api.terminate()
    for watch in watches:
        while event := watch.next():
            assert event.name == "status"
        watch.close()
    assert stack.api.wait() == 0
    assert time.monotonic() - begun < PATIENCE_S


@pytest.mark.heavy
def test_a_quiet_stream_is_kept_alive(stack):
    with Watch(stack, service="none") as watch:
        hello = watch.expect("hello")

        def kept_alive():
            assert watch.next(1) is None
            return watch.comments
        wait_until(kept_alive, "for a sign of life")
        assert watch.last_id.split("-")[0] == hello.data["process"]


# ---- several processes


@pytest.mark.cluster
def test_over_several_processes(make_stack, tmp_path):
    stack = make_stack(store="mongodb", apis=2, services=("echo", "other"), config={"log_wait_s": 3600})
    run = run_of(stack)
    with Watch(stack, api=1, task_id=run[0], types="status,progress,log") as named, Watch(stack, api=1, service="echo") as broad, \
            Watch(stack, api=1, service="other") as other:
        named.expect("hello", all_processes=True)
        broad.expect("hello", all_processes=False)
        other.expect("hello")
        named.expect("status", task_id=run[0], status="running")
        beat(stack, run, progress=0.5)
        named.until("status", sub_status="started")
        beat(stack, run, progress=0.75)
        named.until("progress", progress=0.75)
        log(stack, run, 0, "first\n")
        named.until("log", text="first\n")
        log(stack, run, 6, "second\n", api=1)
        event = named.until("log", text="second\n", offset=13)[-1]
        broad_seen = stack.create()
        broad.until("gap", reason="counts")
        own = stack.create(api=1)
        broad.until("status", task_id=own, status="waiting")
        stack.update(run[0], "finished", run_id=run[1])
        named.until("status", task_id=run[0], status="finished")
        stack.call("delete_task", {"data": {"task_id": run[0]}})
        named.until("status", task_id=run[0], sub_status="removed")
        assert broad_seen and other.is_quiet(0.5)
    # the other process knows nothing of these numbers, and where the log goes on
    with Watch(stack, api=0, task_id=own, types="status,log", last_id=event.id) as watch:
        watch.expect("hello", resumed=False)
        watch.expect("gap", reason="unknown id")
        watch.expect("status", task_id=own)
    assert json.dumps(event.data)


@pytest.mark.cluster
def test_what_another_process_changes_after_the_hello_is_missed_by_nobody(make_stack):
    stack = make_stack(store="mongodb", apis=2)
    for _ in range(3):
        with Watch(stack, api=1, service="echo") as watch:
            watch.expect("hello", all_processes=False)
            stack.create(api=0)
            watch.expect("gap", reason="counts")


# ---- tokens


def token_entry(secret, **more):
    return {"name": secret, "hash": "sha256:" + hashlib.sha256(secret.encode()).hexdigest(), **more}


def test_a_token_sees_its_services_only(make_stack):
    tokens = [token_entry("t-echo", scopes=["read"], services=["echo"]), token_entry("t-make", scopes=["create"])]
    stack = make_stack(services=("echo", "other"), config={"tokens": tokens, "log_wait_s": 3600})
    run, mine = run_of(stack, service="other"), stack.create()
    log(stack, run, 0, "secret\n")
    with Watch(stack, token="t-make") as watch:
        assert watch.status == 403 and watch.answer["code"] == "FORBIDDEN"
    with Watch(stack, token="t-echo", service=["echo", "other"]) as watch:
        assert watch.status == 403 and "other" in watch.answer["message"]
    with Watch(stack, token="t-echo") as everything, \
            Watch(stack, token="t-echo", task_id=[run[0], mine], types="log,status,progress") as named:
        everything.expect("hello")
        named.expect("hello")
        named.expect("status", task_id=run[0], status="Invalid", service=None)
        named.expect("status", task_id=mine, status="waiting")
        beat(stack, run, progress=0.5)
        log(stack, run, 7, "more\n")
        stack.create(service="other")
        seen = stack.create()
        everything.expect("status", task_id=seen)
        assert everything.is_quiet(0.2) and named.is_quiet(0.2)
        # what tokens may do is read again: who watches asks again
        os.kill(stack.api.pid, signal.SIGHUP)
        assert everything.next() is None and named.next() is None
    with Watch(stack, token="t-echo") as watch:
        watch.expect("hello")


def test_a_token_that_expires_ends_its_streams(make_stack):
    stack = make_stack()
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=5)
    tokens = [token_entry("t-short", scopes=["read"], expires=end.strftime("%Y-%m-%dT%H:%M:%S.000Z"))]
    stack.write_config(stack.api.config_file, listen="{}:{}".format(*stack.api.host_port), tokens=tokens)
    os.kill(stack.api.pid, signal.SIGHUP)  # its start takes no part of the time
    stack.api.wait_line(msg="tokens read again")
    with Watch(stack, token="t-short") as watch, Watch(stack) as other:
        watch.expect("hello")
        other.expect("hello")
        assert watch.next() is None
        task_id = stack.create()
        other.expect("status", task_id=task_id)
