"""Logs of runs: the two routes on both stores, the test being the consumer; then real modules through a real consumer."""
import base64
import random
import time
import uuid

import pytest

from tests.system.stack import PATIENCE_S, in_threads, module, wait_until

STORES = ["sqlite", pytest.param("mongodb", marks=pytest.mark.cluster)]
CAP_KB = 64
FILE_HEADER = 512  # of a stream's file in the spool


@pytest.fixture(scope="module", params=STORES)
def stack(request, tmp_path_factory):
    from tests.system.stack import Stack
    mongo = request.getfixturevalue("mongo_server") if request.param == "mongodb" else None
    stack = Stack(tmp_path_factory.mktemp("logs"), store=request.param, mongo=mongo,
                  config={"limits": {"log_kb": CAP_KB}, "log_wait_s": 3600}, api_args=("--log-level", "debug"))
    yield stack
    stack.close()
    if mongo:
        stack.collection().database.client.drop_database(stack.db)
        stack.mongo_client.close()


def new_run(stack):
    task_id, run_id = stack.create(), str(uuid.uuid4())
    stack.update(task_id, "running", run_id=run_id)
    return task_id, run_id


def piece(run, offset, data=b"", stream="stdout", **more):
    """An item of log_task; bytes go as base64, text as text."""
    task_id, run_id = run
    item = {"task_id": task_id, "stream": stream, "offset": offset, **more}
    if run_id:
        item["run_id"] = run_id
    if isinstance(data, str):
        item["text"] = data
    elif data:
        item["base64"] = base64.b64encode(data).decode()
    return item


def log(stack, run, offset, data=b"", stream="stdout", api=0, **more):
    return stack.call("log_task", {"data": piece(run, offset, data, stream, **more)}, api=api)["offset"]


def logs(stack, run, api=0, status=200, code=None, **more):
    return stack.call("logs_task", {"data": {"task_id": run[0], **more}}, status, code, api=api)


def read_all(stack, task_id, stream="stdout", attempt=None, api=0, wait=True):
    """The whole log as bytes, following it to its end; where the middle was cut stands (offset, n) in the second."""
    got, skips, at, more = b"", [], 0, {"attempt": attempt} if attempt else {}
    deadline = time.monotonic() + PATIENCE_S
    while True:
        answer = stack.call("logs_task", {"data": {"task_id": task_id, "stream": stream, "offset": at, "encoding": "base64",
                                                   "bytes": 1 << 20, "wait_s": 5 if wait else 0, **more}}, api=api)
        if answer.get("skipped"):
            skips.append((at, answer["skipped"]))
        data = base64.b64decode(answer["base64"])
        assert answer["offset"] == at + answer.get("skipped", 0) + len(data)
        got, at = got + data, answer["offset"]
        if answer["is_end"] or not wait and not data:
            return got, skips
        assert time.monotonic() < deadline, f"{stream} of {task_id} does not end: {len(got)} bytes so far"


# ---- log_task


def test_append_and_read(stack):
    run = new_run(stack)
    assert logs(stack, run) == {"result": "ok", "text": "", "offset": 0, "is_end": False}
    assert log(stack, run, 0, "héllo\n") == 7
    assert log(stack, run, 7, b"\xff\x00\n") == 10
    assert logs(stack, run)["text"] == "héllo\n\ufffd\x00\n"
    assert logs(stack, run, encoding="base64") == {
        "result": "ok", "base64": base64.b64encode("héllo\n".encode() + b"\xff\x00\n").decode(), "offset": 10, "is_end": False}
    assert logs(stack, run, stream="stderr")["offset"] == 0
    assert log(stack, run, 10, "bye", end=True) == 13
    assert logs(stack, run, offset=10) == {"result": "ok", "text": "bye", "offset": 13, "is_end": True}
    assert log(stack, run, 10, "bye", end=True) == 13
    stack.call("log_task", {"data": piece(run, 13, "x")}, 409, "ALREADY_FINAL")


def test_what_overlaps_is_dropped_and_gaps_are_told(stack):
    run = new_run(stack)
    assert log(stack, run, 0, "0123456789") == 10
    assert log(stack, run, 0, "0123456789") == 10
    assert log(stack, run, 5, "56789abc") == 13
    got = stack.call("log_task", {"data": piece(run, 14, "x")}, 400, "OFFSET_GAP")
    assert got["offset"] == 13 and got["message"].startswith("Invalid parameter")
    got = stack.call("logs_task", {"data": {"task_id": run[0], "offset": 14}}, 400, "OFFSET_GAP")
    assert got["offset"] == 13
    assert logs(stack, run)["text"] == "0123456789abc"


def test_an_array_is_answered_item_by_item(stack):
    one, two, gone = new_run(stack), new_run(stack), ("ts_echo_none", str(uuid.uuid4()))
    answer = stack.call("log_task", {"data": [
        piece(one, 0, "a"), piece(two, 0, "b", "stderr"), piece(one, 1, "c"), piece(one, 5, "d"), piece(gone, 0, "e"),
        piece((one[0], two[1]), 0, "f"), {"task_id": one[0]}, 7, piece(one, 2, "", end=True)]})
    assert answer["count"] == 9
    told = [(item.get("offset"), item.get("code")) for item in answer["data"]]
    assert told == [(1, None), (1, None), (2, None), (2, "OFFSET_GAP"), (None, "UNKNOWN_TASK"), (None, "STALE_RUN"),
                    (None, "INVALID_PARAMETER"), (None, "INVALID_PARAMETER"), (2, None)]
    assert [item["task_id"] for item in answer["data"][:3]] == [one[0], two[0], one[0]]
    assert [item["stream"] for item in answer["data"][:2]] == ["stdout", "stderr"]
    assert logs(stack, one) == {"result": "ok", "text": "ac", "offset": 2, "is_end": True}
    assert logs(stack, two, stream="stderr")["text"] == "b"
    assert stack.call("log_task", {"data": []})["data"] == []
    stack.call("log_task", {"data": [piece(one, 0, "a")] * 1001}, 400, "TOO_MANY")


def test_a_run_that_has_ended_still_logs(stack):
    run = new_run(stack)
    stack.update(run[0], "finished", run_id=run[1])
    assert log(stack, run, 0, "late") == 4
    assert logs(stack, run) == {"result": "ok", "text": "late", "offset": 4, "is_end": False}
    assert log(stack, run, 4, end=True) == 4
    assert logs(stack, run)["is_end"] is True


def test_a_module_of_the_base_contract_logs_without_a_run(stack):
    task_id = stack.create()
    stack.call("log_task", {"data": piece((task_id, None), 0, "x")}, 409, "STALE_RUN")
    stack.update(task_id, "running")
    assert log(stack, (task_id, None), 0, "mine") == 4
    stack.call("log_task", {"data": piece((task_id, str(uuid.uuid4())), 4, "x")}, 409, "STALE_RUN")
    assert logs(stack, (task_id, None))["text"] == "mine"
    run = new_run(stack)
    stack.call("log_task", {"data": piece((run[0], None), 0, "x")}, 409, "STALE_RUN")


def test_each_attempt_has_its_log(stack):
    run = new_run(stack)
    log(stack, run, 0, "first")
    stack.update(run[0], "failed", run_id=run[1], error={"class": "fatal", "text": "no"})
    stack.call("start_task", {"task_id": run[0]})
    again = run[0], str(uuid.uuid4())
    stack.update(again[0], "running", run_id=again[1])
    log(stack, again, 0, "second!")
    assert log(stack, run, 5, " and late") == 14
    assert logs(stack, run)["text"] == "second!"
    assert logs(stack, run, attempt=1)["text"] == "first and late"
    assert logs(stack, run, attempt=2)["text"] == "second!"
    got = stack.call("logs_task", {"data": {"task_id": run[0], "attempt": 3}}, 400, "INVALID_PARAMETER")
    assert "attempt must be an integer from 1 to 2" in got["message"]


@pytest.mark.parametrize("wrong, says", [
    ({"stream": "stdin"}, "stream must be stdout or stderr"), ({"stream": 1}, "stream"), ({"offset": -1}, "offset"),
    ({"offset": "0"}, "offset"), ({"offset": None}, "offset"), ({"text": 5}, "text must be a string"),
    ({"base64": "AA=="}, "text and base64"), ({"text": None, "base64": "A"}, "base64"), ({"end": 1}, "end must be true or false"),
    ({"skipped": 1}, "skipped"), ({"run_id": "r"}, "run_id must be a UUID"), ({"task_id": ""}, "task_id")])
def test_wrong_pieces_are_refused_by_name(stack, wrong, says):
    item = {**piece(new_run(stack), 0, "x"), **wrong}
    item = {key: value for key, value in item.items() if value is not None}
    if "offset" in wrong and wrong["offset"] is None:
        item.pop("offset", None)
    got = stack.call("log_task", {"data": item}, 400, "INVALID_PARAMETER")
    assert got["message"].startswith("Invalid parameter: ") and says in got["message"]


def test_a_piece_without_bytes_is_refused(stack):
    run = new_run(stack)
    got = stack.call("log_task", {"data": piece(run, 0)}, 400, "INVALID_PARAMETER")
    assert "text, base64 or end must be given" in got["message"]
    stack.call("log_task", {"data": piece(("ts_echo_no", run[1]), 0, "x")}, 404, "UNKNOWN_TASK")


@pytest.mark.parametrize("wrong, says", [
    ({"stream": "both"}, "stream must be stdout or stderr"), ({"offset": -1}, "offset"), ({"attempt": 0}, "attempt"),
    ({"bytes": 3}, "bytes must be an integer from 4 to 1048576"), ({"lines": 0}, "lines"), ({"bytes": 9, "lines": 1}, "bytes and lines"),
    ({"wait_s": 61}, "wait_s"), ({"encoding": "utf-8"}, "encoding must be text or base64")])
def test_wrong_questions_are_refused_by_name(stack, wrong, says):
    run = new_run(stack)
    got = stack.call("logs_task", {"data": {"task_id": run[0], **wrong}}, 400, "INVALID_PARAMETER")
    assert says in got["message"]
    stack.call("logs_task", {"data": {"task_id": "ts_echo_no", }}, 404, "UNKNOWN_TASK")


def test_a_form_body(stack):
    run = new_run(stack)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = f"task_id={run[0]}&run_id={run[1]}&stream=stdout&offset=0&text=12"
    assert stack.post("log_task", body, headers=form).json == {"result": "ok", "offset": 2}
    assert stack.post("logs_task", f"task_id={run[0]}&offset=1", headers=form).json["text"] == "2"


# ---- logs_task


def test_a_character_is_never_split(stack):
    run, text = new_run(stack), "aé€😀" * 50
    raw = text.encode()
    for at in range(0, len(raw), 3):
        log(stack, run, at, raw[at:at + 3])
        assert text.startswith(logs(stack, run)["text"])
    got, at = "", 0
    while at < len(raw):
        answer = logs(stack, run, offset=at, bytes=5)
        assert answer["text"] and "\ufffd" not in answer["text"]
        got, at = got + answer["text"], answer["offset"]
    assert got == text
    assert log(stack, run, len(raw), b"\xe2\x82") == len(raw) + 2
    assert logs(stack, run, offset=len(raw))["text"] == ""          # the rest may come
    log(stack, run, len(raw) + 2, end=True)
    assert logs(stack, run, offset=len(raw)) == {"result": "ok", "text": "\ufffd\ufffd", "offset": len(raw) + 2, "is_end": True}


def test_lines(stack):
    run = new_run(stack)
    lines = [f"line {number}\n" for number in range(1000)]
    log(stack, run, 0, "".join(lines))
    assert logs(stack, run, lines=3)["text"] == "".join(lines[-3:])
    assert logs(stack, run, lines=5000)["text"] == "".join(lines)
    at = len("".join(lines))
    log(stack, run, at, "half")
    answer = logs(stack, run, lines=2)
    assert answer["text"] == lines[-1] + "half" and answer["offset"] == at + 4
    answer = logs(stack, run, lines=2, offset=0)
    assert answer["text"] == "line 0\nline 1\n" and answer["offset"] == 14
    assert logs(stack, run, lines=2, offset=14)["text"] == "line 2\nline 3\n"


def test_the_middle_of_a_long_log_is_cut(stack):
    run, rng = new_run(stack), random.Random(7)
    cap, half = CAP_KB * 1024, CAP_KB * 512
    raw = bytes(rng.randrange(256) for _ in range(3 * cap + 17))
    at = 0
    while at < len(raw):
        size = rng.randrange(1, 9000)
        at = log(stack, run, at, raw[at:at + size])
    got, skips = read_all(stack, run[0], wait=False)
    assert got == raw[:half] + raw[-half:]
    assert skips == [(half, len(raw) - cap)]
    answer = logs(stack, run, offset=half + 5, encoding="base64")
    assert answer["skipped"] == len(raw) - cap - 5
    assert base64.b64decode(answer["base64"]) == raw[-half:][:65536]
    log(stack, run, len(raw), end=True)
    assert read_all(stack, run[0])[0] == raw[:half] + raw[-half:]


def test_a_sender_that_has_cut_the_middle_itself(stack):
    run = new_run(stack)
    log(stack, run, 0, "head")
    got = stack.call("log_task", {"data": piece(run, 1000, "tail", skipped=995)}, 400, "OFFSET_GAP")
    assert got["offset"] == 4
    assert log(stack, run, 1000, "tail", skipped=996) == 1004
    assert logs(stack, run)["text"] == "head"
    assert logs(stack, run, offset=4) == {"result": "ok", "text": "tail", "offset": 1004, "is_end": False, "skipped": 996}


def timed_read(stack, run, api=0, **more):
    began = time.monotonic()
    answer = logs(stack, run, api=api, **more)
    return answer, time.monotonic() - began


def test_wait_is_held_until_there_is_more(stack):
    run = new_run(stack)
    answer, seconds = timed_read(stack, run, wait_s=0.3)
    assert answer == {"result": "ok", "text": "", "offset": 0, "is_end": False} and seconds >= 0.3
    log(stack, run, 0, "there")
    answer, _ = timed_read(stack, run, wait_s=60)       # there is something: at once
    assert answer["text"] == "there"

    def follow(offset):
        return lambda: logs(stack, run, offset=offset, wait_s=60)
    asked = questions(stack)
    answers = in_threads([follow(5), follow(5), lambda: log_after(stack, asked + 2, run, 5, " more")])
    assert [answer["text"] for answer in answers[:2]] == [" more", " more"]
    answers = in_threads([follow(10), lambda: log_after(stack, asked + 3, run, 10, end=True)])
    assert answers[0] == {"result": "ok", "text": "", "offset": 10, "is_end": True}


def questions(stack, api=0):
    """How many calls of logs_task the API has got; its log is at debug level."""
    return len(stack.apis[api].find(msg="request", path="/api/logs_task"))


def log_after(stack, asked, run, offset, data=b"", api=0, **more):
    """Appends once the API has got so many questions."""
    wait_until(lambda: questions(stack, api) >= asked, "for the readers to ask")
    return log(stack, run, offset, data, **more)


def test_wait_ends_when_the_log_counts_as_complete(make_stack, any_store):
    stack = make_stack(store=any_store, config={"log_wait_s": 0.5})
    run = new_run(stack)
    log(stack, run, 0, "x")
    stack.update(run[0], "finished", run_id=run[1])
    answer, _ = timed_read(stack, run, offset=1, wait_s=60)
    assert answer == {"result": "ok", "text": "", "offset": 1, "is_end": True}
    assert logs(stack, run)["is_end"] is True
    assert log(stack, run, 1, "y") == 2                 # and still it is taken
    assert logs(stack, run)["text"] == "xy"


@pytest.mark.cluster
def test_through_another_process(make_stack):
    stack = make_stack(store="mongodb", apis=2, api_args=("--log-level", "debug"))
    run = new_run(stack)

    def follow():
        return logs(stack, run, api=1, offset=0, wait_s=60)
    answers = in_threads([follow, lambda: log_after(stack, 1, run, 0, "over there", api=1)])
    assert answers[0]["text"] == "over there"


def test_logs_survive_kill_9_of_the_api(make_stack, any_store):
    stack = make_stack(store=any_store)
    run = new_run(stack)
    log(stack, run, 0, b"a" * 5000)
    log(stack, run, 5000, b"b")
    stack.api.kill()
    stack.api.restart()
    assert read_all(stack, run[0], wait=False)[0] == b"a" * 5000 + b"b"
    assert log(stack, run, 5001, b"c") == 5002


@pytest.mark.parametrize("api_count", [1, pytest.param(2, marks=pytest.mark.cluster)])
def test_many_senders_of_one_stream_double_nothing(make_stack, api_count):
    stack = make_stack(store="mongodb" if api_count == 2 else "sqlite", apis=api_count)
    run, rng = new_run(stack), random.Random(3)
    raw = bytes(rng.randrange(256) for _ in range(200_000))

    def send(number):
        own, at = random.Random(number), 0
        while at < len(raw):
            begin = max(0, at - own.randrange(3000))
            at = log(stack, run, begin, raw[begin:begin + 3000 + own.randrange(9000)], api=number % api_count)
    in_threads([lambda number=number: send(number) for number in range(4)])
    assert read_all(stack, run[0], wait=False)[0] == raw


# ---- real modules through a real consumer


def random_bytes(seed, n):
    return random.Random(seed).randbytes(n)


def printers(make_stack, slots=4, consumers=1, **more):
    config = {"max_status_task": 100, **more.pop("config", {})}
    return make_stack(services={"printer": module("printer", slots=slots)}, consumers=consumers, config=config, **more)


def spooled(stack):
    """The files that hold what is not shipped yet."""
    return list((stack.dir / "data" / "spool").glob("*/*.log"))


def test_a_silent_run_has_its_end_with_its_last_word(make_stack, any_store):
    """Of either attempt, at once, though log_wait_s is an hour."""
    stack = make_stack(store=any_store, config={"log_wait_s": 3600})
    task_id, runs = stack.create(), [str(uuid.uuid4()) for _ in range(2)]

    def ends(attempt):
        return [logs(stack, [task_id], attempt=attempt, stream=stream)["is_end"] for stream in ("stdout", "stderr")]
    stack.update(task_id, "running", run_id=runs[0])
    stack.update(task_id, "running", 400, "INVALID_PARAMETER", run_id=runs[0], silent=True)
    assert ends(1) == [False, False]
    stack.update(task_id, "waiting", run_id=runs[0], silent=True)
    assert ends(1) == [True, True]
    stack.update(task_id, "running", run_id=runs[1])
    assert ends(1) == [True, True] and ends(2) == [False, False]
    stack.update(task_id, "finished", run_id=runs[1], silent=True)
    assert ends(1) == ends(2) == [True, True]
    assert [run["silent"] for run in stack.call("timeline_task", {"task_id": task_id})["data"]] == [True, True]


def test_a_module_that_prints_nothing(make_stack, any_store):
    stack = make_stack(store=any_store, config={"log_wait_s": 3600}, services={"echo": module("echo")}, consumers=1)
    task_id = stack.create()
    stack.wait_finished([task_id])
    check_log(stack, task_id, b"", "stderr")
    assert stack.call("timeline_task", {"task_id": task_id})["data"][0]["silent"] is True


def check_log(stack, task_id, want, stream="stdout", **more):
    got, skips = read_all(stack, task_id, stream, **more)
    assert not skips
    assert got == want, f"{len(got)} bytes of {len(want)}, equal up to {same_up_to(got, want)}"


def same_up_to(got, want):
    return next((at for at, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))


def test_what_modules_print_is_there_byte_for_byte(make_stack, any_store):
    stack = printers(make_stack, store=any_store)
    ids = [stack.create("printer", [["bytes", 1, seed, 3_000_000 + seed, 50_000], ["bytes", 2, seed + 100, 100_001, 777]])
           for seed in range(3)]
    for seed, task_id in enumerate(ids):
        check_log(stack, task_id, random_bytes(seed, 3_000_000 + seed))
        check_log(stack, task_id, random_bytes(seed + 100, 100_001), "stderr")
    assert {stack.wait_final(task_id)["status"] for task_id in ids} == {"finished"}
    wait_until(lambda: not spooled(stack), "for the spool to be empty")


def test_a_log_is_followed_while_the_run_goes_on(make_stack, tmp_path):
    stack = printers(make_stack)
    go = [tmp_path / f"go{number}" for number in range(3)]
    task_id = stack.create("printer", [step for number, file in enumerate(go)
                                       for step in (["text", 1, f"line {number} é\n"], ["until", str(file)])])
    stack.wait_status(task_id, "running")
    at = 0
    for number, file in enumerate(go):
        answer = stack.call("logs_task", {"data": {"task_id": task_id, "offset": at, "wait_s": 60}})
        assert answer["text"] == f"line {number} é\n" and answer["is_end"] is False
        assert stack.status(task_id)["status"] == "running"
        at = answer["offset"]
        file.touch()
    answer = stack.call("logs_task", {"data": {"task_id": task_id, "offset": at, "wait_s": 60}})
    assert answer == {"result": "ok", "text": "", "offset": at, "is_end": True}
    assert stack.call("logs_task", {"data": {"task_id": task_id, "lines": 1}})["text"] == "line 2 é\n"


def test_a_silent_run_closes_its_log(make_stack):
    stack = printers(make_stack)
    task_id = stack.create("printer", [])
    stack.wait_final(task_id)
    for stream in ("stdout", "stderr"):
        assert read_all(stack, task_id, stream) == (b"", [])
    assert not (stack.dir / "data" / "spool").exists()


def test_a_long_log_keeps_head_and_tail(make_stack, any_store):
    stack = printers(make_stack, store=any_store, config={"limits": {"log_kb": CAP_KB}})
    cap, half, n = CAP_KB * 1024, CAP_KB * 512, 5_000_000
    task_id = stack.create("printer", [["bytes", 1, 5, n, 4000], ["bytes", 2, 6, n, 100_000]])
    for stream, seed in (("stdout", 5), ("stderr", 6)):
        raw = random_bytes(seed, n)
        stack.wait_final(task_id)
        wait_until(lambda: stack.call("logs_task", {"data": {"task_id": task_id, "stream": stream, "lines": 1}})["is_end"],
                   "for the log's end")
        assert read_all(stack, task_id, stream) == (raw[:half] + raw[-half:], [(half, n - cap)])


def slow(seed, n=400_000):
    """About 2 s of printing."""
    return ["bytes", 1, seed, n, 4001, 0.02]


def test_kill_9_of_the_api_in_the_middle(make_stack, any_store):
    stack = printers(make_stack, store=any_store, config={"lease_s": 30})
    ids = [stack.create("printer", [slow(seed)]) for seed in range(3)]
    for kill in range(3):
        def grown(least=(kill + 1) * 40_000):
            return all(stack.call("logs_task", {"data": {"task_id": task_id, "lines": 1}})["offset"] > least for task_id in ids)
        wait_until(grown, "for the logs to grow")
        stack.api.kill()
        stack.api.restart()
    for seed, task_id in enumerate(ids):
        check_log(stack, task_id, random_bytes(seed, 400_000))
    stack.wait_finished(ids)
    assert {status["attempt"] for status in stack.status_of(*ids)} == {1}


def test_all_that_is_printed_while_the_api_is_away_comes_later(make_stack, tmp_path):
    stack = printers(make_stack, config={"lease_s": 30})
    began, go = tmp_path / "began", tmp_path / "go"
    task_id = stack.create("printer", [["text", 1, "begin\n"], ["touch", str(began)], ["until", str(go)],
                                       ["bytes", 1, 3, 2_000_000, 60_000], ["bytes", 2, 4, 50_000, 999]])
    wait_until(began.exists, "for the run")
    stack.api.kill()
    go.touch()
    stack.consumer.wait_line(msg="run finished")
    stack.api.restart()
    check_log(stack, task_id, b"begin\n" + random_bytes(3, 2_000_000))
    check_log(stack, task_id, random_bytes(4, 50_000), "stderr")


def test_kill_9_of_the_consumer_loses_nothing_that_it_had(make_stack, tmp_path):
    stack = printers(make_stack, config={"lease_s": 4, "sweep_s": 0.1, "log_wait_s": 3600})
    began, go, never = tmp_path / "began", tmp_path / "go", tmp_path / "never"
    task_id = stack.create("printer", [["touch", str(began)], ["until", str(go)], ["bytes", 1, 8, 300_000, 5000],
                                       ["bytes", 2, 9, 20_000, 100], ["until", str(never)]])
    wait_until(began.exists, "for the run")
    stack.api.kill()
    go.touch()
    wait_until(lambda: sorted(file.stat().st_size - FILE_HEADER for file in spooled(stack)) == [20_000, 300_000],
               "for the output to be on disk")
    stack.consumer.kill()
    stack.api.restart()
    never.touch()                           # the next attempt ends
    after = stack.start_consumer()
    check_log(stack, task_id, random_bytes(8, 300_000), attempt=1)
    check_log(stack, task_id, random_bytes(9, 20_000), "stderr", attempt=1)
    assert stack.wait_final(task_id)["attempt"] == 2
    check_log(stack, task_id, random_bytes(8, 300_000), attempt=2)
    assert not after.find(msg="output refused")
    wait_until(lambda: not spooled(stack), "for the spool to be empty")


def test_a_consumer_that_stops_ships_first(make_stack):
    stack = printers(make_stack, config={"drain_s": 60})
    task_id = stack.create("printer", [["bytes", 1, 2, 1_000_000, 5000, 0.005]])
    stack.wait_status(task_id, "running")
    assert stack.consumer.stop() == 0
    check_log(stack, task_id, random_bytes(2, 1_000_000), wait=False)
    assert not spooled(stack)


def test_what_a_stopped_consumer_could_not_ship_the_next_one_does(make_stack, tmp_path):
    stack = printers(make_stack, config={"drain_s": 0.5, "lease_s": 30})
    began, go = tmp_path / "began", tmp_path / "go"
    task_id = stack.create("printer", [["touch", str(began)], ["until", str(go)], ["bytes", 1, 1, 200_000, 5000]])
    wait_until(began.exists, "for the run")
    stack.api.kill()
    go.touch()
    stack.consumer.wait_line(msg="run finished")
    assert stack.consumer.stop() == 0
    assert spooled(stack)
    stack.api.restart()
    stack.start_consumer()
    check_log(stack, task_id, random_bytes(1, 200_000))
    assert stack.wait_final(task_id)["attempt"] == 1


def test_the_timeline_tells_the_first_output(make_stack, any_store):
    """Once for each run, on whichever stream; a run that prints nothing has none."""
    stack = make_stack(store=any_store)
    task_id, runs = stack.create(), [str(uuid.uuid4()) for _ in range(2)]

    def first_outputs():
        return [run["first_output_time"] for run in stack.call("timeline_task", {"task_id": task_id})["data"]]

    def log(run_id, stream, offset):
        stack.call("log_task", {"data": {"task_id": task_id, "run_id": run_id, "stream": stream, "offset": offset, "text": "x"}})
    stack.update(task_id, "running", run_id=runs[0])
    assert first_outputs() == [None]
    log(runs[0], "stderr", 0)
    first = wait_until(lambda: first_outputs()[0], "for the first output")
    for stream, offset in (("stderr", 1), ("stdout", 0)):
        log(runs[0], stream, offset)
    stack.update(task_id, "waiting", run_id=runs[0])
    stack.update(task_id, "running", run_id=runs[1])
    assert first_outputs() == [first, None]
    stack.update(task_id, "finished", run_id=runs[1])
    log(runs[1], "stdout", 0)
    wait_until(lambda: first_outputs()[1], "for what came after the end")
    last = stack.call("timeline_task", {"task_id": task_id})["data"][1]
    assert last["claimed_time"] <= last["first_output_time"] == last["ended_time"]
