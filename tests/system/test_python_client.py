"""The Python package in clients/python against a real stack: every method of both clients, repeats, lost answers, errors."""
import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import threading
import time
import uuid
from datetime import datetime, timedelta, timezone

import httpx
import pytest

from tests.system.stack import PATIENCE_S, ROOT, TOKEN, api_document, module, wait_until

CLIENT = ROOT / "clients" / "python"
sys.path.insert(0, str(CLIENT / "src"))
import longhaul  # noqa: E402
from longhaul import _watch, _wire, errors  # noqa: E402

QUICK = longhaul.Retries(base_s=0.02, max_s=0.2)


@pytest.fixture
def stack(make_stack):
    return make_stack(services={"held": None, "echo": module("echo"), "script": module("script"), "printer": module("printer")}, consumers=1)


@pytest.fixture
def client(stack):
    with longhaul.Client(stack.api.address, TOKEN, retries=QUICK) as client:
        yield client


class Losing(httpx.BaseTransport):
    """Passes requests on, and loses the answers to the first ones that go to a route."""

    def __init__(self, route, lose=1):
        self.inner, self.route, self.lose, self.seen = httpx.HTTPTransport(), f"/api/{route}", lose, []

    def handle_request(self, request):
        answer = self.inner.handle_request(request)
        answer.read()
        if request.url.path == self.route:
            self.seen.append(json.loads(request.content))
            if len(self.seen) <= self.lose:
                raise httpx.ReadError("the answer was lost on its way", request=request)
        return answer

    def close(self):
        self.inner.close()


@pytest.fixture
def losing(stack):
    """losing(route) -> (client, transport)"""
    opened = []

    def make(route, **more):
        transport = Losing(route, **more)
        opened.append(httpx.Client(transport=transport))
        return longhaul.Client(stack.api.address, TOKEN, retries=QUICK, http=opened[-1]), transport

    yield make
    for http in opened:
        http.close()


# ---- tasks


def test_a_task_from_its_creation_to_its_result(stack, client):
    task = client.create("echo", {"n": 1.5, "text": "häß\U0001f40e"}, priority=7, tags={"team": "blue"}, max_attempts=2, timeout_s=60,
                         retry=longhaul.Retry(kind="fixed", base_s=1))
    assert not task.duplicate
    result = client.wait(task.task_id, timeout_s=PATIENCE_S)
    assert result.data == {"n": 1.5, "text": "häß\U0001f40e"} and result.spend_s >= 0
    assert result.start_time.tzinfo and result.start_time <= result.end_time
    status = client.status(task.task_id)
    assert status.status == "finished" and status.is_final and status.exists and status.attempt == 1 and status.error is None
    assert client.status("ts_echo_none").exists is False
    [row] = client.tasks(tags={"team": "blue"}, fields=["task_id", "priority", "max_attempts", "tags", "result"])
    assert (row.task_id, row.priority, row.tags, row.result) == (task.task_id, 7, {"team": "blue"}, result.data)
    assert row.fields["max_attempts"] == 2 and row.status is None
    [run] = client.timeline(task.task_id)
    assert run.attempt == 1 and run.end == "finished" and run.claimed_time <= run.ended_time


def test_wait_tells_a_failure_and_that_time_is_up(stack, client):
    task = client.create("script", [["fd3", '{"error": {"class": "fatal", "text": "no such file"}}\n'], ["exit", 1]])
    with pytest.raises(longhaul.TaskFailed, match="no such file") as caught:
        client.wait(task.task_id, timeout_s=PATIENCE_S)
    assert (caught.value.error_class, caught.value.error_text, caught.value.status) == ("fatal", "no such file", 409)
    held = client.create("held", 1)
    began = time.monotonic()
    with pytest.raises(longhaul.WaitTimeout):
        client.wait(held.task_id, timeout_s=0.3)
    assert time.monotonic() - began >= 0.3
    with pytest.raises(TimeoutError):
        client.wait(held.task_id, timeout_s=0)
    with pytest.raises(longhaul.NotFinished):
        client.result(held.task_id)
    with pytest.raises(longhaul.UnknownTask):
        client.wait("ts_held_none")


def test_status_waits_for_a_change(stack, client):
    task = client.create("held", 1)
    waker = threading.Timer(0.2, lambda: stack.call("cancel_task", {"task_id": task.task_id}))
    waker.start()
    status = client.status(task.task_id, wait_s=50, until="final")
    waker.join()
    assert (status.status, status.sub_status) == ("failed", "cancelled") and status.error.error_class == "fatal"


def test_many_at_once(stack, client):
    tasks = [{"service": "held", "condition": n} for n in range(2300)]
    tasks[5] = {"service": "nobody", "condition": 5}
    items = client.create_many(tasks)
    assert len(items) == 2300 and isinstance(items[5], longhaul.ServiceNotSupport)
    rows = list(client.tasks(service="held", page_size=1000))
    assert [row.condition for row in rows] == [n for n in range(2299, -1, -1) if n != 5]
    assert [items[n].task_id for n in (0, 2299)] == [rows[-1].task_id, rows[0].task_id]
    assert client.create_many([]) == []


def test_many_that_are_too_large_for_one_request_go_in_several(stack, client):
    items = client.create_many([{"service": "held", "condition": "x" * 100_000} for _ in range(30)])
    assert len({item.task_id for item in items}) == 30 == client.count(service="held")[0]
    with pytest.raises(longhaul.TooLarge):
        client.create_many([{"service": "held", "condition": "x" * 2_000_000}])


def test_tasks_by_filter_and_cursor(stack, client):
    before = datetime.now(timezone.utc) - timedelta(hours=1)
    ids = [client.create("held", n, tags={"n": str(n % 2)}).task_id for n in range(25)]
    assert [task.task_id for task in client.tasks(page_size=10)] == ids[::-1]
    assert len(list(client.tasks(page_size=3, tags={"n": "1"}, service=["held"], status=("waiting", "ready"), created_from=before))) == 12
    assert list(client.tasks(created_to=before)) == []
    assert [task.task_id for task in client.tasks(prefix=ids[3])] == [ids[3]]
    assert client.count() == (25, True)
    local = datetime.now()  # without a zone: the caller's local time
    assert list(client.tasks(created_from=local + timedelta(hours=1))) == []
    assert client.create("held", 1, run_at=local + timedelta(hours=1)).task_id in {task.task_id for task in client.tasks(sub_status="delayed")}


def test_changes_of_a_task(stack, client):
    task = client.create("held", 1, start=False)
    client.edit(task.task_id, {"better": True})
    client.start(task.task_id)
    with pytest.raises(longhaul.AlreadyQueued):
        client.start(task.task_id)
    assert next(client.tasks()).condition == {"better": True}
    with pytest.raises(longhaul.NotFinal):
        client.delete(task.task_id)
    assert client.cancel(task.task_id, "not needed", grace_s=1) == "cancelled"
    with pytest.raises(longhaul.AlreadyFinal):
        client.cancel(task.task_id)
    client.delete(task.task_id)
    with pytest.raises(longhaul.TaskRemoved):
        client.delete(task.task_id)
    with pytest.raises(longhaul.ResultExpired):
        client.result(task.task_id)


def test_a_log_is_followed_while_the_run_prints(stack, client):
    go = stack.dir / "go"
    task = client.create("printer", [["text", 1, "one\n"], ["until", str(go)], ["text", 1, "two\n"], ["text", 2, "three\n"]])
    seen = ""
    for piece in client.logs(task.task_id):
        seen += piece.text
        if seen == "one\n":
            go.touch()
    assert seen == "one\ntwo\n" and piece.is_end and piece.offset == 8
    for follow in (True, False):  # the end of one stream says nothing of the other
        assert "".join(piece.text for piece in client.logs(task.task_id, stream="stderr", follow=follow)) == "three\n"
    assert "".join(piece.text for piece in client.logs(task.task_id, attempt=1, offset=4)) == "two\n"
    with pytest.raises(longhaul.OffsetGap) as caught:
        list(client.logs(task.task_id, offset=99))
    assert caught.value.offset == 8


def test_services_and_workers(stack, client):
    client.pause("held")
    assert client.limit("held", max_waiting=3) == longhaul.Limits(None, 3)
    client.create("held", 1)
    by_name = {service.name: service for service in client.services()}
    assert by_name["held"].paused and by_name["held"].counts["waiting"] == 1 and by_name["held"].limits.max_waiting == 3
    client.resume("held")
    assert not {service.name: service for service in client.services()}["held"].paused
    [worker] = wait_until(client.workers, "for the consumer to say who it is")
    assert worker.pid == stack.consumer.pid and set(worker.services) == {"echo", "script", "printer"}
    assert client.call("history_task", {})["result"] == "ok"


# ---- watching


def run_of(stack, **more):
    task_id, run_id = stack.create("held", 1, **more), str(uuid.uuid4())
    stack.update(task_id, "running", run_id=run_id)
    return task_id, run_id


def next_of(events, kind):
    """The next event that is no greeting."""
    event = next(event for event in events if not isinstance(event, longhaul.HelloEvent))
    assert isinstance(event, kind), event
    return event


def test_what_happens_is_told_by_service_and_tag(stack, client):
    watching = client.watch(service=["held"], tags={"team": "blue"})
    hello = next(watching)
    assert isinstance(hello, longhaul.HelloEvent) and hello.all_processes and not hello.resumed and hello.id.startswith(hello.process)
    stack.create("held", 1, tags={"team": "red"})
    task_id, run_id = run_of(stack, tags={"team": "blue"})
    first = next_of(watching, longhaul.StatusEvent)
    assert (first.task.task_id, first.task.status, first.task.tags, first.task.service) == (task_id, "waiting", {"team": "blue"}, "held")
    assert first.task.create_time.tzinfo and first.task.fields["sub_status"] == "queued" and not first.task.is_final
    assert next_of(watching, longhaul.StatusEvent).task.status == "running"
    stack.call("heartbeat_task", {"data": [{"task_id": task_id, "run_id": run_id}]})
    assert next_of(watching, longhaul.StatusEvent).task.sub_status == "started"
    stack.call("heartbeat_task", {"data": [{"task_id": task_id, "run_id": run_id, "progress": 0.5}]})
    event = next_of(watching, longhaul.ProgressEvent)
    assert event.task.progress == 0.5
    stack.update(task_id, "failed", run_id=run_id, error={"text": "no disk", "class": "fatal"})
    last = next_of(watching, longhaul.StatusEvent)
    assert last.task.is_final and last.task.error == longhaul.TaskError("fatal", "no disk")
    watching.close()
    # Another program goes on where this one has left.
    later = client.watch(service="held", last_event_id=event.id)
    assert next(later).resumed and next_of(later, longhaul.StatusEvent) == last
    later.close()


def test_a_watch_that_is_left_is_over(make_stack):
    """The API has room for one: the next one finds it free."""
    stack = make_stack(services={"held": None}, config={"limits": {"watchers": 1}})
    with longhaul.Client(stack.api.address, TOKEN, retries=QUICK) as client:
        for event in client.watch():
            break
        watching = client.watch()
        assert isinstance(next(watching), longhaul.HelloEvent)
        with longhaul.Client(stack.api.address, TOKEN, retries=longhaul.Retries(for_s=0)) as other, pytest.raises(longhaul.Overloaded):
            next(other.watch())
        watching.close()
        with contextlib.closing(client.watch()) as watching:
            assert isinstance(next(watching), longhaul.HelloEvent)

    async def leave():
        async with longhaul.AsyncClient(stack.api.address, TOKEN, retries=QUICK) as client:
            async for event in client.watch():
                break
            async with contextlib.aclosing(client.watch()) as watching:
                assert isinstance(await anext(watching), longhaul.HelloEvent)

            async def wait_for_nothing():
                async for event in client.watch():
                    greeted.set()
            greeted = asyncio.Event()
            waiting = asyncio.create_task(wait_for_nothing())
            await greeted.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            async for event in client.watch():
                assert isinstance(event, longhaul.HelloEvent)
                break
    asyncio.run(leave())


class Cutting(httpx.BaseTransport):
    """Breaks each stream after so many bytes, wherever that is."""

    def __init__(self, after):
        self.inner, self.after, self.streams = httpx.HTTPTransport(), after, 0

    def handle_request(self, request):
        answer = self.inner.handle_request(request)
        self.streams += 1
        return httpx.Response(answer.status_code, headers=answer.headers, stream=Cut(answer.stream, self.after))


class Cut(httpx.SyncByteStream):
    def __init__(self, inner, left):
        self.inner, self.left = inner, left

    def __iter__(self):
        for data in self.inner:
            yield data[:self.left]
            self.left -= len(data)
            if self.left <= 0:
                raise httpx.ReadError("the line was cut")

    def close(self):
        self.inner.close()


@pytest.mark.parametrize("after", [700, 901, 1203])
def test_a_broken_connection_loses_nothing(stack, after):
    transport = Cutting(after)
    with httpx.Client(transport=transport) as http:
        watching = longhaul.Client(stack.api.address, TOKEN, retries=QUICK, http=http).watch(service="held")
        next(watching)
        ids = [stack.create("held", n) for n in range(20)]
        told = []
        for event in watching:
            assert isinstance(event, longhaul.HelloEvent) and event.resumed or isinstance(event, longhaul.StatusEvent), event
            told += [event.task.task_id] if isinstance(event, longhaul.StatusEvent) else []
            if told[-1:] == ids[-1:]:
                break
        assert told == ids and transport.streams > 5
        watching.close()


def test_a_watch_goes_on_when_the_api_is_killed_and_started(stack, client):
    """Of named tasks all that the API can tell: the log to the byte, and how they stand. The gap is told."""
    go = [stack.dir / name for name in ("go1", "go2")]
    task = client.create("printer", [["text", 1, "one\n"], ["until", str(go[0])], ["text", 1, "two\n"], ["until", str(go[1])], ["text", 1, "three\n"]])
    held = client.create("held", 1)
    text, seen = "", []
    for event in client.watch([task.task_id, held.task_id], types=["status", "log"]):
        seen.append(event)
        if isinstance(event, longhaul.LogEvent) and event.stream == "stdout":
            text += event.piece.text
            assert event.task_id == task.task_id and event.attempt == 1 and event.piece.offset == len(text)
        if text == "one\n" and not go[0].exists():
            stack.api.kill()
            go[0].touch()
            stack.api.restart()
            client.cancel(held.task_id)
        elif text == "one\ntwo\n" and not go[1].exists():
            stack.api.terminate()
            stack.api.wait()
            stack.api.restart()
            go[1].touch()
        ended = {event.task.task_id for event in seen if isinstance(event, longhaul.StatusEvent) and event.task.is_final}
        if ended == {task.task_id, held.task_id} and any(isinstance(event, longhaul.LogEvent) and event.piece.is_end and event.stream == "stdout"
                                                         for event in seen):
            break
    assert text == "one\ntwo\nthree\n"
    assert [event.reason for event in seen if isinstance(event, longhaul.GapEvent)] == ["unknown id"] * 2
    hellos = [event for event in seen if isinstance(event, longhaul.HelloEvent)]
    assert len(hellos) == 3 == len({event.process for event in hellos}) and not any(event.resumed for event in hellos)


def test_a_watch_gives_up_in_time(stack):
    stack.api.stop()
    with longhaul.Client(stack.api.address, TOKEN, retries=longhaul.Retries(for_s=0.3, base_s=0.02, max_s=0.05)) as client:
        with pytest.raises(longhaul.NoAnswer) as caught:
            next(client.watch())
    assert caught.value.surely_not_done and isinstance(caught.value.__cause__, httpx.ConnectError)


def test_a_watch_that_is_refused(stack, client):
    with pytest.raises(longhaul.InvalidParameter, match="1 to 16 task_ids"):
        next(client.watch(types=["log"]))
    with pytest.raises(longhaul.InvalidParameter, match="tail_bytes"):
        next(client.watch("ts_held_1", types=["log"], tail_bytes=-1))
    for empty in ({"task_ids": []}, {"service": ()}, {"tags": {}}, {"types": []}):
        with pytest.raises(ValueError, match="is empty"):
            next(client.watch(**empty))
    with longhaul.Client(stack.api.address, "wrong") as other, pytest.raises(longhaul.Unauthorized):
        next(other.watch())


STREAM = (b'retry: 1000\nid: p-1\nevent: hello\ndata: {"process":"p","resumed":false,"all_processes":true}\n\n'
          b':\nid: p-2\n\nevent: newer\ndata: {}\n\nevent: gap\ndata: {"reason":"slow"}\n\n'
          b'id: p-3\nevent: status\ndata: {"task_id":"t","status":"waiting"}\n\nid: p-4\nevent: status\ndata: {"task_id"')


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_events_however_the_stream_comes(size, end):
    watching = _watch.Watching(longhaul.Retries(), {"service": "s"}, None)
    assert watching.call().body == {"data": {"service": "s"}}
    text = STREAM.replace(b"\n", end)
    events = [event for at in range(0, len(text), size) for event in watching.take(text[at:at + size])]
    assert [type(event) for event in events] == [longhaul.HelloEvent, longhaul.GapEvent, longhaul.StatusEvent]
    assert [event.id for event in events] == ["p-1", "p-2", "p-3"]
    # The event that was not whole is asked for again.
    assert watching.call().body == {"data": {"service": "s", "last_event_id": "p-3"}}
    assert list(watching.take(b"\n\n")) == []


def test_a_stream_that_never_lasts_is_asked_for_ever_more_seldom():
    now = [0.0]
    watching = _watch.Watching(longhaul.Retries(for_s=20, clock=lambda: now[0], chance=lambda: 0), {}, None)
    hello = STREAM[:STREAM.index(b"\n\n") + 2]
    waits = []
    for _ in range(8):  # greeted each time: it goes on beyond for_s
        now[0] += 15
        list(watching.take(hello))
        waits.append(watching.wait_s(_watch.ENDED))
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]
    list(watching.take(STREAM))
    assert watching.wait_s(_watch.ENDED) == 0.1
    now[0] += 21
    with pytest.raises(longhaul.NoAnswer, match="the stream has ended"):
        watching.wait_s(_watch.ENDED)
    with pytest.raises(longhaul.ApiError, match="no stream"):
        watching.wait_s(_wire.Answer(200, {}, b'{"result":"ok"}'))


# ---- the same, awaited


def test_the_async_client(stack):
    async def play():
        async with longhaul.AsyncClient(stack.api.address, TOKEN, retries=QUICK) as client:
            tasks = await asyncio.gather(*(client.create("echo", n) for n in range(20)))
            results = await asyncio.gather(*(client.wait(task.task_id, timeout_s=PATIENCE_S) for task in tasks))
            assert [result.data for result in results] == list(range(20))
            assert {task.task_id async for task in client.tasks(page_size=7)} == {task.task_id for task in tasks}
            many = await client.create_many([{"service": "printer", "condition": [["text", 1, "hello\n"]]}])
            assert "".join([piece.text async for piece in client.logs(many[0].task_id)]) == "hello\n"
            with pytest.raises(longhaul.WaitTimeout):
                await client.wait((await client.create("held", 1)).task_id, timeout_s=0.1)
    asyncio.run(play())


def test_the_sync_client_is_written_from_the_async_one():
    subprocess.run([sys.executable, CLIENT / "unasync.py", "--check"], check=True)


# ---- repeats


def test_a_create_whose_answer_is_lost_makes_one_task(stack, losing):
    client, transport = losing("create_task", lose=2)
    task = client.create("held", {"n": 1})
    assert task.duplicate and len(transport.seen) == 3
    assert len({body["data"]["idempotency_key"] for body in transport.seen}) == 1
    assert [row.task_id for row in client.tasks()] == [task.task_id]
    client, transport = losing("create_task")
    items = client.create_many([{"service": "held", "condition": n, "idempotency_key": f"key-{n}"} for n in range(10)])
    assert client.count(service="held") == (11, True) and len({item.task_id for item in items}) == 10
    with pytest.raises(longhaul.IdempotencyConflict):
        client.create("held", "other", idempotency_key="key-3")
    assert client.create("held", 3, idempotency_key="key-3") == longhaul.Created(items[3].task_id, True)


def test_changes_whose_answer_is_lost(stack, losing):
    make = longhaul.Client(stack.api.address, TOKEN)
    task = make.create("held", 1)
    client, _ = losing("cancel_task")
    assert client.cancel(task.task_id) == "cancelled"
    client, _ = losing("delete_task")
    client.delete(task.task_id)
    held = make.create("held", 1, start=False)
    client, transport = losing("start_task")
    with pytest.raises(longhaul.NoAnswer) as caught:
        client.start(held.task_id)
    assert not caught.value.surely_not_done and len(transport.seen) == 1
    assert make.status(held.task_id).status == "waiting"
    make.close()


def test_the_api_may_be_killed_and_started_meanwhile(stack):
    """No task is lost or made twice, and who waits goes on waiting."""
    done = threading.Event()
    conditions, errors_seen = [[] for _ in range(4)], []

    def work(mine):
        with longhaul.Client(stack.api.address, TOKEN, retries=longhaul.Retries(for_s=PATIENCE_S * 2, base_s=0.02, max_s=0.2)) as client:
            try:
                while not done.is_set():
                    mine.append((len(mine), client.create("echo", len(mine)).task_id))
                assert [client.wait(task_id, timeout_s=PATIENCE_S).data for n, task_id in mine[-5:]] == [n for n, _ in mine[-5:]]
            except Exception as error:
                errors_seen.append(error)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in conditions]
    for thread in threads:
        thread.start()
    for _ in range(3):
        made = sum(map(len, conditions))
        wait_until(lambda: errors_seen or sum(map(len, conditions)) >= made + 20, "for tasks to be made")
        stack.api.kill()
        stack.api.restart()
    done.set()
    for thread in threads:
        thread.join(PATIENCE_S * 3)
    assert not errors_seen, errors_seen
    ids = {task_id for mine in conditions for _, task_id in mine}
    assert len(ids) == sum(map(len, conditions)) == stack.call("tasks", {})["total"]


def test_without_an_api_it_gives_up_in_time(stack):
    stack.api.stop()
    slept = []
    now = [0.0]
    retries = longhaul.Retries(for_s=20, clock=lambda: now[0], chance=lambda: 0)

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds
    client = longhaul.Client(stack.api.address, TOKEN, retries=retries)
    steps = _wire.send(_wire.Call("start_task", {}, repeatable=False), retries)
    with pytest.raises(longhaul.NoAnswer) as caught:
        step = next(steps)
        while True:
            if isinstance(step, _wire.Sleep):
                sleep(step.seconds)
                step = steps.send(None)
            else:
                step = steps.send(client._do(step))
    assert caught.value.surely_not_done and isinstance(caught.value.__cause__, httpx.ConnectError)
    assert slept == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]
    client.close()


def test_retry_after_is_honoured(stack, client):
    client.limit("held", max_waiting=1)
    client.create("held", 1)
    with pytest.raises(longhaul.QueueFull) as caught:
        longhaul.Client(stack.api.address, TOKEN, retries=longhaul.Retries(for_s=0)).create("held", 2)
    assert caught.value.retry_after_s == 5 and caught.value.request_id
    steps = _wire.send(_wire.Call("create_task", {"data": {"service": "held", "condition": 1}}), longhaul.Retries())
    call = next(steps)
    assert steps.send(client._do(call)) == _wire.Sleep(5)
    client.limit("held", max_waiting=None)
    with pytest.raises(StopIteration) as ended:
        steps.send(client._do(steps.send(None)))
    assert ended.value.value["task_id"]


@pytest.mark.parametrize("status, headers, code, again", [
    (503, {"retry-after": "2"}, "STORE_UNAVAILABLE", True), (429, {"retry-after": "1"}, "RATE_LIMITED", True), (503, {}, "DRAINING", True),
    (504, {}, "OUTCOME_UNKNOWN", True), (500, {}, "INTERNAL", False), (409, {}, "SERVICE_PAUSED", False), (401, {}, "UNAUTHORIZED", False)])
def test_what_is_made_again(status, headers, code, again):
    body = json.dumps({"result": "exception", "message": "m", "code": code}).encode()
    for repeatable in (True, False):
        steps = _wire.send(_wire.Call("x", {}, repeatable=repeatable), longhaul.Retries())
        next(steps)
        if again and (repeatable or code != "OUTCOME_UNKNOWN"):
            assert steps.send(_wire.Answer(status, headers, body)).seconds >= float(headers.get("retry-after", 0.05))
        else:
            with pytest.raises(longhaul.ApiError) as caught:
                steps.send(_wire.Answer(status, headers, body))
            assert caught.value.code == code and str(caught.value) == f"m ({code})"


def test_what_is_no_answer_of_ours():
    for content in (b"<html>", b"[]", b'{"a":1}'):
        with pytest.raises(longhaul.ApiError, match="HTTP 200"):
            _wire.read(_wire.Answer(200, {}, content))
    unknown = errors.error_of({"code": "NEWER", "message": "m"}, 418)
    assert type(unknown) is longhaul.ApiError and str(unknown) == "m (NEWER)"


# ---- errors, settings, types


def test_every_code_has_its_class():
    codes = api_document().document["components"]["schemas"]["code"]["enum"]
    classes = {kind.code: kind for kind in vars(longhaul).values() if isinstance(kind, type) and issubclass(kind, longhaul.ApiError) and kind.code}
    assert set(codes) == set(classes)


def test_address_and_token_come_from_the_environment(stack, monkeypatch, tmp_path):
    with pytest.raises(longhaul.LonghaulError, match="LONGHAUL_URL"):
        longhaul.Client()
    monkeypatch.setenv("LONGHAUL_URL", stack.api.address + "/")
    for url in ("unix:/run/longhaul.sock", "127.0.0.1:8080"):
        with pytest.raises(longhaul.LonghaulError, match="must begin with http"):
            longhaul.Client(url, TOKEN)
    with pytest.raises(longhaul.LonghaulError, match="AUTH_TOKEN"):
        longhaul.Client()
    (tmp_path / "token").write_text(TOKEN + "\n")
    monkeypatch.setenv("LONGHAUL_TOKEN_FILE", str(tmp_path / "token"))
    with longhaul.Client() as client:
        assert len(client.services()) == 4
    monkeypatch.setenv("AUTH_TOKEN", "wrong")
    with longhaul.Client() as client, pytest.raises(longhaul.Unauthorized):
        client.services()


USER = '''
import asyncio
from longhaul import AsyncClient, Client, Created, LogEvent, NewTask, QueueFull, Retries, StatusEvent, TaskFailed

def use(client: Client) -> str:
    task: Created = client.create("s", {"a": 1}, priority=3)
    new: NewTask = {"service": "s", "condition": None, "tags": {"a": "b"}}
    for item in client.create_many([new]):
        print(item.task_id if isinstance(item, Created) else item.code)
    try:
        return str(client.wait(task.task_id).data)
    except TaskFailed as error:
        return error.error_text or ""
    except QueueFull:
        return ""

async def aiouse() -> None:
    async with AsyncClient("http://x", "t", retries=Retries(for_s=1)) as client:
        async for row in client.tasks(service=["s"], page_size=5):
            print(row.task_id)
        print((await client.status("x")).is_final)
        async for event in client.watch(["x"], types=["status", "log"]):
            if isinstance(event, StatusEvent):
                print(event.task.status)
            elif isinstance(event, LogEvent):
                print(event.piece.text)

asyncio.run(aiouse())
'''
WRONG = {'client.create("s", 1, priority="high")': "arg-type", 'client.create("s", 1, colour=1)': "call-arg", "client.wait(5)": "arg-type",
         "client.tasks(status=5)": "arg-type", "client.status('x').colour": "attr-defined",
         'client.watch(types=["news"])': "list-item", "client.watch(last_event_id=5)": "arg-type"}


@pytest.mark.heavy
def test_it_is_typed(tmp_path):
    """The package is clean, a program that uses it is too, and mistakes in one are found."""
    (tmp_path / "user.py").write_text(USER)
    (tmp_path / "wrong.py").write_text("from longhaul import Client\n\nclient = Client()\n" + "\n".join(WRONG) + "\n")
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--cache-dir", tmp_path / "cache", CLIENT / "src",
                           tmp_path / "user.py", tmp_path / "wrong.py"], capture_output=True, text=True, cwd=tmp_path,
                          env={"MYPYPATH": str(CLIENT / "src"), "PATH": ""})
    found = [line.split(": ", 1)[1] for line in done.stdout.splitlines() if line.startswith("wrong.py") and "error" in line]
    assert len(found) == len(WRONG) and all(f"[{code}]" in line for code, line in zip(WRONG.values(), found)), done.stdout
    assert done.stdout.count("error:") == len(WRONG), done.stdout + done.stderr


@pytest.mark.heavy
def test_it_can_be_installed(tmp_path):
    shutil.copytree(CLIENT, tmp_path / "source")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--disable-pip-version-check",
                    "--target", tmp_path / "site", tmp_path / "source"], check=True, stdin=subprocess.DEVNULL)
    assert (tmp_path / "site" / "longhaul" / "py.typed").exists()
    said = subprocess.check_output([sys.executable, "-c", "import longhaul; print(longhaul.__file__, longhaul.__version__)"], text=True,
                                   cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "site")})
    assert said.split() == [str(tmp_path / "site" / "longhaul" / "__init__.py"), api_document().document["info"]["version"]]
