"""The checker on histories made by hand: one of each kind that is right, and one for everything that it has to notice."""
import pytest

from tests.chaos.book import iso_of
from tests.chaos.checker import check

WALL = 1_800_000_000_000  # unix ms when the run begins
LEASE_MS = 2000
TASK, OTHER = "ts_quick_1", "ts_quick_2"
RUN_A, RUN_B = "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"


def iso(at_s):
    return iso_of(WALL + round(at_s * 1000))


class Story:
    """Events at seconds since the begin; a call takes 10 ms."""

    def __init__(self):
        self.events = [{"k": "begin", "t": 0, "wall": WALL, "lease_ms": LEASE_MS, "mode": "embedded", "seed": 1}]

    def add(self, k, at, **fields):
        self.events.append({"k": k, "t": round(at * 1e9), **fields})
        return self

    def call(self, at, route, body, answer, http=200, by="client", took=0.01, **more):
        return self.add("call", at, t1=round((at + took) * 1e9), by=by, route=route, body=body, http=http, answer=answer, **more)

    def create(self, at=1, task=TASK, token=1, http=200, code=None, **more):
        item = {"service": "quick", "condition": {"n": token}, **more}
        answer = {"result": "ok", "task_id": task} if code is None and http == 200 else {"code": code}
        return self.call(at, "create_task", {"data": item}, answer if http else None, http)

    def claim(self, at, run=RUN_A, attempt=1, claimed=None, task=TASK, code=None, http=200):
        at_claim = at + 0.005 if claimed is None else claimed
        answer = {"status": {"task_id": task, "status": "running", "now": "running", "run_id": run, "attempt": attempt,
                             "lease_until": iso(at_claim + LEASE_MS / 1000)}}
        return self.update(at, "running", run, task, {"code": code} if code else answer, http)

    def update(self, at, status, run=RUN_A, task=TASK, answer=None, http=200, **more):
        answer = answer or {"status": {"task_id": task, "status": status, "now": status}}
        if "code" in answer:
            http = 409
        return self.call(at, "update_status_task", {"data": {"task_id": task, "status": status, "run_id": run, **more}},
                         answer if http else None, http)

    def finish(self, at, run=RUN_A, attempt=1, task=TASK, **more):
        return self.update(at, "finished", run, task, result={"run": run, "attempt": attempt, "pid": 5}, **more)

    def beat(self, at, run=RUN_A, task=TASK, code=None):
        item = {"task_id": task, "lease_until": None if code else iso(at + 0.005 + LEASE_MS / 1000), "cancel": False}
        return self.call(at, "heartbeat_task", {"data": [{"task_id": task, "run_id": run}]}, {"data": [{**item, **({"code": code} if code else {})}]})

    def read(self, at, status="finished", task=TASK, sub=None, attempt=1, start=2.0, end=3.0):
        item = {"task_id": task, "status": status, "sub_status": sub, "attempt": attempt,
                "start_time": iso(start) if start is not None else None, "end_time": iso(end) if end is not None else None}
        return self.call(at, "status_task", {"data": [{"task_id": task}]}, {"status": [item]})

    def result(self, at, run=RUN_A, attempt=1, task=TASK, http=200, code="TASK_FAILED", **more):
        answer = {"data": {"run": run, "attempt": attempt, "pid": 5, **more}} if http == 200 else {"code": code}
        return self.call(at, "result_task", {"data": {"task_id": task}}, answer, http)

    def again(self, at, http=200, code=None):
        return self.call(at, "start_task", {"task_id": TASK}, {"code": code} if code else {"task_id": TASK} if http else None, 410 if code else http)

    def delete(self, at, task=TASK, code=None, http=200):
        answer = {"code": code} if code else {"result": "ok", "task_id": task}
        return self.call(at, "delete_task", {"data": {"task_id": task}}, answer if http else None, 409 if code and http else http)

    def gone(self, at, status="finished", end=3.0, **more):
        return self.read(at, status, sub="removed", attempt=0, end=end, **more)

    def gate(self, at, route, api=0, http=200, took=0.01, **more):
        data = {"service": "quick", **more}
        return self.add("call", at, t1=round((at + took) * 1e9), by=f"client{api}", api=api, route=route, body={"data": data}, http=http,
                        answer={"result": "ok", "service": "quick"} if http else None)

    def pause(self, at, **more):
        return self.gate(at, "pause_service_task", **more)

    def resume(self, at, **more):
        return self.gate(at, "resume_service_task", **more)

    def limit(self, at, **more):
        return self.gate(at, "limit_service_task", **more)

    def bulk(self, at, *answers, first=10, service="quick"):
        """Creates with tokens from `first` on: a task's id, or a code."""
        items = [{"service": service, "condition": {"n": first + number}} for number in range(len(answers))]
        return self.call(at, "create_task", {"data": items}, {"result": "ok", "data": [
            {"task_id": answer} if answer.startswith("ts_") else {"code": answer} for answer in answers]})

    def ended(self, at, *tasks):
        """The tasks are final in the end, without a run."""
        for task in tasks:
            self.read(at, "failed", task=task, sub="cancelled", attempt=0, start=None, end=at - 1)
        return self

    def process(self, at, run=RUN_A, attempt=1, others=(), role="main", pid=5):
        return self.add("start", at, task=TASK, run=run, attempt=attempt, pid=pid, role=role, others=list(others))

    def listed(self, at, *rows):
        return self.add("listed", at, tasks=[list(row) for row in rows])

    def verdict(self):
        return check(sorted(self.events, key=lambda event: event["t"]))


def whole():
    """A task from its create to its result."""
    return Story().create().claim(2).process(2.1).beat(2.5).finish(3).read(4).result(5)


def two_runs(at=2.5, api=0):
    """A run and, while it surely runs, another one of the same service."""
    story = Story().create().create(1.1, OTHER, 2).claim(2)
    claim = {"data": {"task_id": OTHER, "status": "running", "run_id": RUN_B}}
    story.add("call", at, t1=round((at + 0.01) * 1e9), by=f"client{api}", api=api, route="update_status_task", body=claim, http=200, answer={
        "status": {"task_id": OTHER, "run_id": RUN_B, "attempt": 1, "lease_until": iso(at + 0.005 + LEASE_MS / 1000)}})
    return story.finish(at + 1).finish(at + 1.1, RUN_B, task=OTHER).read(9, end=at + 1).read(9, task=OTHER, start=at, end=at + 1.1)


def cluster(story):
    story.events[0]["mode"] = "cluster"
    return story


def retaining(story, finished_s=2):
    story.events[0]["retention_ms"] = {"finished": finished_s * 1000, "failed": finished_s * 1000}
    return story


def polled(since=1, at=2, claimed=2.0):
    """claim_task, sent at `since`, brings a run at `at`, whose lease tells that it was claimed at `claimed`."""
    answer = {"data": [{"Task": {"task_id": TASK}, "run_id": RUN_A, "attempt": 1, "lease_until": iso(claimed + LEASE_MS / 1000)}]}
    return Story().create().call(since, "claim_task", {"data": {"services": ["quick"], "claim_id": "c"}}, answer, took=at - since).finish(3).read(4)


WAITING = ["ts_quick_11", "ts_quick_12", "ts_quick_13"]


def waiting(*created, stay=WAITING):
    """A service in which two tasks may wait, and creates one after another; those that stay have not run in the end."""
    story = Story().limit(1, max_waiting=2)
    for number, answer in enumerate(created):
        story.bulk(2 + number, answer, first=10 + number)
    tasks = [answer for answer in created if answer.startswith("ts_")]
    for task in set(tasks) & set(stay):
        story.read(20, "waiting", task=task, sub="queued", attempt=0, start=None, end=None)
    return story.ended(25, *tasks)


def found(story):
    return sorted({violation.invariant for violation in story.verdict().violations})


GOOD = {
    "one run": whole(),
    "listed": whole().listed(9, (TASK, 1, iso(1.005))),
    "a create that nobody answered, and that does not exist": whole().create(1.5, token=2, http=None),
    "a create that nobody answered, and that exists": whole().create(1.5, token=2, http=None).listed(
        9, (TASK, 1, iso(1.005)), (OTHER, 2, iso(1.6))),
    "a refused create": whole().create(1.5, token=2, code="STORE_UNAVAILABLE", http=503).listed(9, (TASK, 1, iso(1.005))),
    "start_task runs it again": whole().again(6).read(6.5, "waiting", sub="queued", start=None, end=None).claim(7, RUN_B, 2).finish(
        8, RUN_B, 2).read(9, attempt=2, start=7.0, end=8.0).result(10, RUN_B, 2),
    "a start_task without an answer may have run it again": whole().again(6, http=None).read(
        9, "failed", sub="error", attempt=2, start=7.0, end=8.0),
    "a lease that ran out": Story().create().claim(2).claim(5, RUN_B, 2).finish(6, RUN_B, 2).read(7, attempt=2, start=5.0, end=6.0).result(
        8, RUN_B, 2),
    "a stale run is refused": Story().create().claim(2).claim(5, RUN_B, 2).finish(5.5, RUN_A, answer={"code": "STALE_RUN"}).beat(
        5.6, RUN_A, code="STALE_RUN").finish(6, RUN_B, 2).read(7, attempt=2, start=5.0, end=6.0),
    "a final report that is repeated": whole().finish(6),
    "a final report whose first answer was lost": Story().create().claim(2).finish(3, answer=None, http=None).claim(
        3.5, RUN_B, 2, code="ALREADY_FINAL").read(4).finish(5).result(6),
    "a final report that is repeated after start_task and cancel": Story().create().claim(2).finish(3, answer=None, http=None).again(4).read(
        5, "failed", sub="cancelled", start=None, end=4.5).finish(6).read(7, "failed", sub="cancelled", start=None, end=4.5),
    "a claim that is repeated": whole().claim(2.2, claimed=2.005),
    "handed back": Story().create().claim(2).update(2.5, "waiting").claim(2.6, RUN_B, 2).finish(3, RUN_B, 2).read(
        4, attempt=2, start=2.6, end=3.0),
    "a failed run is tried again at once": Story().create(max_attempts=2).claim(2).update(2.5, "failed", error={"class": "retryable"}).claim(
        2.6, RUN_B, 2).finish(3, RUN_B, 2).read(4, attempt=2, start=2.6, end=3.0),
    "a run that finished says so with another result, after start_task": whole().again(6).claim(7, RUN_B, 2).finish(8, RUN_B, 2).update(
        8.5, "finished", result={"run": RUN_A, "forged": True}).read(9, attempt=2, start=7.0, end=8.0).result(10, RUN_B, 2),
    "a failure told again in other words": Story().create(max_attempts=2).claim(2).update(2.5, "failed", error={"class": "retryable"}).claim(
        2.6, RUN_B, 2).finish(3, RUN_B, 2).update(3.5, "failed").read(4, attempt=2, start=2.6, end=3.0),
    "a fatal failure of a run that its deadline had ended": Story().create(max_attempts=3, timeout_s=0.5).claim(2).claim(4.8, RUN_B, 2).update(
        4.9, "failed", error={"class": "fatal"}).finish(5, RUN_B, 2).read(6, attempt=2, start=4.8, end=5.0),
    "a delay": Story().create(delay_s=1).process(2.1).claim(2.05).finish(3).read(4),
    "a delay counts from a create that nobody answered": Story().create(1, http=None, delay_s=1, idempotency_key="k").create(
        1.7, delay_s=1, idempotency_key="k").process(2.1).claim(2.05).finish(3).read(4),
    "start_task ends a delay": Story().create(delay_s=60).again(1.5).claim(2).process(2.1).finish(3).read(4),
    "a run that lost its lease overlaps the next": Story().create().claim(2).process(2.1).claim(5, RUN_B, 2).process(
        5.1, RUN_B, 2, [[5, "main", RUN_A]], pid=6).finish(6, RUN_B, 2).read(7, attempt=2, start=5.0, end=6.0),
    "the same key, the same task": whole().create(idempotency_key="k", at=1.2).create(idempotency_key="k", at=1.3),
    "cancelled, and started again before anybody looked": Story().create().claim(2).read(4, "failed", sub="cancelled").again(4.02).add(
        "look", 4.1, task=TASK, pids=[[5, "child"]]).claim(4.05, RUN_B, 2).finish(6, RUN_B, 2).read(7, attempt=2, start=4.05, end=6.0),
    "cancelled, and nothing left": Story().create().claim(2).read(4, "failed", sub="cancelled").add("look", 4.1, task=TASK, pids=[]),
}

GOOD.update({
    "deleted": whole().delete(6).gone(7).result(8, http=410, code="RESULT_EXPIRED").again(9, code="TASK_REMOVED").listed(9.5),
    "a delete without an answer that has removed it": whole().delete(6, http=None).gone(9),
    "a delete without an answer that has not": whole().delete(6, http=None).read(9).listed(9.5, (TASK, 1, iso(1.005))),
    "a delete that is refused": Story().create().delete(1.5, code="NOT_FINAL").claim(2).finish(3).read(4),
    "removed while the list was read": whole().delete(8.2).gone(9).add("listed", 8.5, t0=8e9, tasks=[[TASK, 1, iso(1.005)]]),
    "removed by retention": retaining(whole()).gone(6).result(7, http=410, code="RESULT_EXPIRED"),
    "run again, and removed by retention": retaining(whole()).again(4.5).claim(5, RUN_B, 2).finish(6, RUN_B, 2).gone(9, start=5.0, end=6.0),
    "run again, its result told, and removed before it is read again": retaining(Story().create().claim(2).finish(3).read(4)).again(4.5).claim(
        5, RUN_B, 2).finish(6, RUN_B, 2).result(6.5, RUN_B, 2).gone(9, start=5.0, end=6.0),
    "a create with the key of a removed task": whole().delete(6).gone(7).create(8, idempotency_key="k"),
    "claimed before the pause": whole().pause(2.2),
    "claimed while the pause is on its way": whole().pause(1.995, took=0.5),
    "claimed after the resume": whole().pause(1.2).resume(1.5),
    "claimed after a resume without an answer": whole().pause(1.2).resume(1.5, http=None),
    "claimed after a resume that was sent before the pause and never answered": whole().resume(1.1, http=None).pause(1.2),
    "claimed after a pause without an answer": whole().pause(1.2, http=None),
    "claimed at another process than the one that was paused": whole().pause(1.2, api=1),
    "a claim of before the pause is repeated": Story().create().claim(2, http=None).pause(2.2).claim(2.5, claimed=2.1).finish(3).read(4),
    "a poll of before the pause": polled(since=1, at=2.2).pause(2.15),
    "a poll that is made again": polled(since=2.5, at=2.6, claimed=2.5).call(
        1.5, "claim_task", {"data": {"services": ["quick"], "claim_id": "c"}}, None, None).pause(2),
    "a claim that a pause refuses": whole().pause(1.1).claim(1.2, RUN_B, code="SERVICE_PAUSED").resume(1.5),
    "a claim that a pause may refuse still": whole().pause(1.1, took=0.5).resume(1.2, took=0.5).claim(1.8, RUN_B, code="SERVICE_PAUSED"),
    "a claim that is refused by a process that was not told of the resume": whole().pause(1.1).resume(1.2, api=1).claim(
        1.8, RUN_B, code="SERVICE_PAUSED"),
    "as many run as may": two_runs().limit(1.5, max_running=2),
    "the limit is lowered while they run": two_runs().limit(1.5, max_running=2).limit(3, max_running=1),
    "the limit may have been lifted": two_runs().limit(1.5, max_running=1).limit(1.8, max_running=0, http=None),
    "no limit any more": two_runs().limit(1.5, max_running=1).limit(1.8, max_running=None),
    "beside one whose lease may have run out": two_runs(at=4.1).limit(1.5, max_running=1),
    "beside one that may have ended": two_runs().limit(1.5, max_running=1).update(2.2, "waiting", http=None),
    "a limit over several processes": cluster(two_runs().limit(1.5, max_running=1)),
    "a claim that a limit refuses": two_runs().limit(1.5, max_running=2).claim(2.6, "c", code="LIMIT_REACHED"),
    "as many wait as may": waiting(*WAITING[:2]),
    "more than may wait are refused": waiting(*WAITING[:2], "QUEUE_FULL"),
    "one has gone from those that wait": waiting(*WAITING, stay=WAITING[1:]).claim(3.5, task=WAITING[0]),
    "one that waits may have gone, and come back": waiting(*WAITING).call(3.5, "start_task", {"task_id": WAITING[0]}, None, None),
    "of one call the tail is refused": Story().limit(1, max_waiting=2).bulk(2, *WAITING[:2], "QUEUE_FULL", "QUEUE_FULL").ended(9, *WAITING[:2]),
})

GOOD.update({
    "a create that nobody answered comes when all others have ended": Story().create(http=None).read(
        9, "ready", sub="producing", attempt=0, start=None, end=None).add("settled", 8, open=[]),
    "a create that nobody answered is lost after all": Story().create(http=None).read(3, "ready", attempt=0, start=None, end=None).read(
        9, "Invalid", attempt=None, start=None, end=None).add("settled", 8, open=[TASK]),
})

# What model histories (test_sound.py) have shown to be right.
GOOD.update({
    "cancelled, when a run that had lost its lease went on": Story().create().claim(2).process(2.1).claim(5, RUN_B, 2).update(
        5.5, "failed", RUN_B, cause="cancelled").read(6, "failed", sub="cancelled", attempt=2, start=5.0, end=5.5).add(
        "look", 6.1, task=TASK, pids=[[5, "main"]]),
    "cancelled, when its run had been timed out": Story().create(max_attempts=2, timeout_s=0.5).claim(2).process(2.1).read(
        6, "failed", sub="cancelled", end=5.9).add("look", 6.1, task=TASK, pids=[[5, "main"]]),
    "the claim of a run in time was not answered, the next one took the task back": Story().create(expire_s=2).claim(2, http=None).claim(
        5).finish(6).read(7, end=6.0),
    "a run took its task back later than the next one's batch began": cluster(Story().create().claim(2, http=None).claim(5).update(
        5.1, "waiting").claim(5.2, RUN_B, 2, claimed=4.9).finish(6, RUN_B, 2).read(7, attempt=2, start=4.9, end=6.0)),
    "a failure of a run whose end nobody could confirm, told when the next one runs": Story().create().claim(2).call(
        2.5, "cancel_task", {"data": {"task_id": TASK}}, {"task_id": TASK}).again(8).claim(8.1, RUN_B, 2).update(8.5, "failed").finish(
        9, RUN_B, 2).read(10, attempt=2, start=8.1, end=9.0),
    "handed back, and failed by a cancel": Story().create().claim(2).update(2.5, "waiting").call(
        3, "cancel_task", {"data": {"task_id": TASK}}, {"task_id": TASK}).update(4, "failed").read(
        5, "failed", sub="cancelled", end=3.0),
    "a fatal failure, when it had failed retryably before": Story().create(max_attempts=2).claim(2).update(
        2.4, "failed", error={"class": "retryable"}, http=None).update(2.5, "failed", error={"class": "fatal"}).claim(2.6, RUN_B, 2).finish(
        3, RUN_B, 2).read(4, attempt=2, start=2.6, end=3.0),
    "a timeout that counts from a poll of before": Story().create(max_attempts=2, timeout_s=0.5).call(
        1.5, "claim_task", {"data": {"services": ["quick"], "claim_id": "c"}}, None, None).call(
        4, "claim_task", {"data": {"services": ["quick"], "claim_id": "c"}}, {"data": [
            {"Task": {"task_id": TASK}, "run_id": RUN_A, "attempt": 1, "lease_until": iso(4.05)}]}).claim(4.2, RUN_B, 2).update(
        4.3, "failed").finish(5, RUN_B, 2).read(6, attempt=2, start=4.2, end=5.0),
    "a failure that repeats a timeout, of a task whose create nobody answered": Story().create(http=None, timeout_s=0.5).claim(2).claim(
        4.2, RUN_B, 2).update(4.3, "failed", error={"class": "fatal"}).finish(5, RUN_B, 2).read(6, attempt=2, start=4.2, end=5.0),
    "given back, and expired, of a task whose create nobody answered": Story().create(http=None, expire_s=1).claim(1.5).update(
        1.8, "waiting").update(4, "failed").read(5, "failed", sub="expired", start=1.5, end=3.0),
    "a poll that is made again after OUTCOME_UNKNOWN": polled(since=2.5, at=2.6, claimed=2.5).call(
        1.5, "claim_task", {"data": {"services": ["quick"], "claim_id": "c"}}, {"code": "OUTCOME_UNKNOWN"}, 504).pause(2),
    "a poll at a process that is not paused is made again at one that is": cluster(polled(since=2.5, at=2.6, claimed=1.5).pause(1.2).call(
        1.5, "claim_task", {"data": {"services": ["quick"], "claim_id": "c"}}, None, None, api=1)),
    "claimed after a resume that outlived the birth of a process": whole().resume(1.1, http=None, took=0.2).add("born", 1.15, api=0).pause(1.2),
})

BAD = {
    "a run after a fatal failure": (4, Story().create(max_attempts=3).claim(2).update(2.5, "failed", error={"class": "fatal"}).claim(
        2.6, RUN_B, 2).finish(3, RUN_B, 2).read(4, attempt=2, start=2.6, end=3.0)),
    "a run after the last attempt": (4, Story().create().claim(2).update(2.5, "failed", error={"class": "retryable"}).claim(
        2.6, RUN_B, 2).finish(3, RUN_B, 2).read(4, attempt=2, start=2.6, end=3.0)),
    "a task that does not become final": (1, Story().create().read(9, "waiting", sub="queued", attempt=0, start=None, end=None)),
    "a task whose create nobody answered does not become final": (1, Story().create(http=None).read(
        9, "ready", sub="producing", attempt=0, start=None, end=None).add("settled", 8, open=[TASK])),
    "a task that is gone": (1, whole().read(9, "Invalid", attempt=None, start=None, end=None)),
    "a task that the list does not hold": (1, whole().listed(9, (OTHER, 2, iso(1)))),
    "a refused create that exists": (1, whole().create(1.5, token=2, code="STORE_UNAVAILABLE", http=503).listed(
        9, (TASK, 1, iso(1.005)), (OTHER, 2, iso(1.6)))),
    "one create, two tasks": (1, whole().listed(9, (TASK, 1, iso(1.005)), (OTHER, 1, iso(1.6)))),
    "one key, two tasks": (1, whole().create(1.2, idempotency_key="k", token=7).create(1.3, task=OTHER, idempotency_key="k", token=7)),
    "a task that nobody created": (1, whole().listed(9, (TASK, 1, iso(1.005)), (OTHER, 77, iso(1.6)))),
    "a final status that changes": (2, whole().read(9, "failed", sub="error")),
    "a final task that runs": (2, whole().read(9, "running", sub="claimed", attempt=2, end=None)),
    "a result that changes": (2, whole().result(9, RUN_A, 1, more=1)),
    "a result that is gone": (2, whole().result(9, http=409)),
    "an accepted result that is not on record": (2, Story().create().claim(2).finish(3).read(9, "failed", sub="error")),
    "a start_task before it does not excuse": (2, Story().create().again(0.5).claim(2).finish(3).read(4).read(9, "failed", sub="error")),
    "a stale run finishes": (3, Story().create().claim(2).claim(5, RUN_B, 2).finish(5.5, RUN_A).read(7, attempt=2, start=5.0, end=5.5)),
    "a stale run beats": (3, Story().create().claim(2).claim(5, RUN_B, 2).beat(5.5, RUN_A).finish(6, RUN_B, 2).read(
        7, attempt=2, start=5.0, end=6.0)),
    "two runs with one attempt": (3, Story().create().claim(2).claim(5, RUN_B, 1).finish(6, RUN_B, 1).read(7, start=5.0, end=6.0)),
    "a forged result": (3, Story().create().claim(2).finish(3).read(4).result(5, forged=True)),
    "a result of another attempt than is on record": (3, Story().create().claim(2).claim(5, RUN_B, 2).finish(6, RUN_B, 2).read(
        7, attempt=1, start=5.0, end=6.0).result(8, RUN_B, 2)),
    "a result of an attempt that is over": (3, Story().create().claim(2).finish(3).read(4).again(4.5).claim(5, RUN_B, 2).finish(6, RUN_B, 2).read(
        7, attempt=2, start=5.0, end=6.0).result(8)),
    "a result of nobody": (3, Story().create().claim(2).finish(3).read(4).result(5, RUN_B, 2)),
    "a run that is started twice": (3, whole().process(2.2, pid=6)),
    "a process outlives its run's end": (3, Story().create().claim(2).process(2.1).update(2.5, "failed", error={"class": "retryable"}).claim(
        2.6, RUN_B, 2).process(2.7, RUN_B, 2, [[5, "main", RUN_A]], pid=6).finish(3, RUN_B, 2).read(4, attempt=2, start=2.6, end=3.0)),
    "a child outlives its run's end": (3, Story().create().claim(2).update(2.5, "waiting").claim(2.6, RUN_B, 2).process(
        2.7, RUN_B, 2, [[9, "child", RUN_A]], pid=6).finish(3, RUN_B, 2).read(4, attempt=2, start=2.6, end=3.0)),
    "a run that ends in two ways": (4, whole().update(6, "failed", error={"class": "fatal"})),
    "a run after the one that finished": (4, whole().claim(6, RUN_B, 2)),
    "cancelled, and a process lives": (4, Story().create().claim(2).read(4, "failed", sub="cancelled").add(
        "look", 4.1, task=TASK, pids=[[5, "child"]])),
    "started before it was due": (5, Story().create(delay_s=5).claim(2).process(2.1).finish(3).read(4)),
    "started before it was due, by the first of two creates": (5, Story().create(1, http=None, delay_s=2, idempotency_key="k").create(
        1.7, delay_s=2, idempotency_key="k").claim(2).process(2.1).finish(3).read(4)),
    "started before run_at": (5, Story().create(run_at=iso(6)).claim(2).process(2.1).finish(3).read(4)),
    "begun after it had expired": (5, Story().create(expire_s=2).claim(5).finish(6).read(7, start=5.0, end=6.0)),
    "claimed while another's lease stands": (5, Story().create().claim(2).beat(2.5).claim(3, RUN_B, 2).finish(3.5, RUN_B, 2).read(
        4, attempt=2, start=3.0, end=3.5)),
    "an end before the start": (6, Story().create().claim(2).finish(3).read(4, start=3.0, end=2.0)),
    "a start before the create": (6, whole().listed(9, (TASK, 1, iso(1.005))).read(10, start=0.5)),
    "a start that goes back": (6, Story().create().claim(2).read(2.1, "running", start=2.0, end=None).read(
        2.2, "running", start=1.5, end=None).finish(3).read(4, start=2.0, end=3.0)),
    "created at a wrong time": (6, whole().listed(9, (TASK, 1, iso(1.9)))),
    "a later attempt with an earlier claim": (6, Story().create().claim(2, attempt=2).claim(2.5, RUN_B, 1, claimed=6).finish(3).read(4)),
}


BAD.update({
    "unknown to an operation": (1, whole().delete(6, code="UNKNOWN_TASK")),
    "a key of a removed task makes another": (1, whole().create(1.2, idempotency_key="k", token=7).delete(6).gone(7).create(
        8, task=OTHER, idempotency_key="k", token=7)),
    "removed by nobody": (2, whole().gone(9)),
    "removed by nobody, says an operation": (2, whole().again(9, code="TASK_REMOVED")),
    "removed by nobody, says result_task": (2, whole().result(9, http=410, code="RESULT_EXPIRED")),
    "removed before its delete was sent": (2, whole().gone(5.5).delete(6)),
    "removed too early for retention": (2, retaining(whole(), 5).gone(6)),
    "removed without being final": (2, Story().create().claim(2).delete(3).gone(4, "running", end=None)),
    "removed, and there again": (2, whole().delete(6).read(8)),
    "removed, and its result is there": (2, whole().delete(6).result(8)),
    "removed, and runs again": (2, whole().delete(6).again(8)),
    "removed, and a run holds it": (2, whole().delete(6).beat(8)),
    "removed twice": (2, whole().delete(6).delete(8)),
    "removed, and in the list": (2, whole().delete(6).listed(9, (TASK, 1, iso(1.005)))),
    "removed with another end": (2, whole().delete(6).gone(7, "failed")),
    "removed with another time": (2, whole().delete(6).gone(7, end=3.5)),
    "claimed while the service is paused": (7, whole().pause(1.2)),
    "claimed after the second pause": (7, whole().pause(1.2).resume(1.3).pause(1.4)),
    "claimed while all processes are paused": (7, cluster(whole().pause(1.2).pause(1.2, api=1))),
    "claimed without a run_id while the service is paused": (7, whole().update(1.5, "running", run=None, task=OTHER).pause(1.2)),
    "a poll brings a run while the service is paused": (7, polled(since=1, at=2.6, claimed=2.5).pause(2)),
    "a poll brings a run that began in a batch of before the answer to the pause": (7, cluster(polled(since=1, at=2.6, claimed=2.5)).pause(2)),
    "refused by a pause that nobody has sent": (7, whole().claim(1.5, RUN_B, code="SERVICE_PAUSED")),
    "refused by a pause that is over": (7, whole().pause(1.1).resume(1.2).claim(1.5, RUN_B, code="SERVICE_PAUSED")),
    "refused by a limit that is lifted": (7, whole().limit(1.1, max_running=1).limit(1.2, max_running=None).claim(1.5, RUN_B, code="LIMIT_REACHED")),
    "more run than may": (7, two_runs().limit(1.5, max_running=1)),
    "more run than may, as the heartbeat of one shows": (7, two_runs(at=4.3).limit(1.5, max_running=1).beat(3)),
    "more wait than may": (7, waiting(*WAITING)),
    "more wait than may, as the first run of one shows": (7, waiting(*WAITING, stay=WAITING[1:]).claim(6, task=WAITING[0])),
    "of one call more are created than may wait": (7, Story().limit(1, max_waiting=2).bulk(2, *WAITING).ended(9, *WAITING)),
    "created behind one that was refused": (7, Story().limit(1, max_waiting=2).bulk(2, WAITING[0], "QUEUE_FULL", WAITING[1]).ended(
        9, *WAITING[:2])),
    "claimed after a pause, though a call of before it died with its process": (7, whole().resume(1.1, http=None).add("born", 1.15, api=0).pause(1.2)),
    "refused by a limit that was never set": (7, whole().limit(1.1, max_running=1).bulk(1.5, "QUEUE_FULL")),
})


@pytest.mark.parametrize("name", GOOD)
def test_good(name):
    assert GOOD[name].verdict().violations == [], [str(violation) for violation in GOOD[name].verdict().violations]


@pytest.mark.parametrize("name", BAD)
def test_bad(name):
    invariant, story = BAD[name]
    assert invariant in found(story), [str(violation) for violation in story.verdict().violations]


def test_overlaps_are_counted():
    assert len(GOOD["a run that lost its lease overlaps the next"].verdict().book.overlaps) == 1


def test_the_story_of_a_task_tells_all():
    verdict = whole().again(6).verdict()
    words = "\n".join(verdict.story(TASK))
    for word in ("create", "claim", "start", "heartbeat", "finished", "read", "result"):
        assert word in words


def test_windows_are_counted():
    story = whole().add("hit", 2, point="insert-produce", order="kill", pid=1, task=TASK)
    assert story.verdict().windows() == {"insert-produce": 1}
