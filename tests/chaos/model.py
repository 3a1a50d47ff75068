"""A correct task core in virtual time: the rules of shared/task/lifecycle*.c, and API processes that serve them in batches.

Nothing here waits or runs beside anything else: a Sim calls functions in the order of their times. What a fault's name leaves out
(FAULTS in test_sound.py) is asked for by Core.broken().
"""
import heapq
import random
import uuid

from tests.chaos.book import FINAL

LEASE_MS, GUARD_MS, KILL_MAX_MS, MAX_CRASHES = 2000, 86_400_000, 3000, 4


class Refused(Exception):
    """A code that an op is answered with; it has changed nothing."""


class Sim:
    """Virtual time in seconds. A process is a generator that yields seconds to sleep, or a list that something will be put into."""

    def __init__(self, seed):
        self.now, self.heap, self.n, self.rng = 0.0, [], 0, random.Random(seed)

    def at(self, t, do, *args):
        self.n += 1
        heapq.heappush(self.heap, (max(t, self.now), self.n, do, args))

    def spawn(self, process, value=None):
        try:
            wants = process.send(value)
        except StopIteration:
            return
        if isinstance(wants, (int, float)):
            self.at(self.now + wants, self.spawn, process)
        else:
            wants.append(process)  # whoever has the answer spawns it on

    def run(self, until):
        while self.heap and self.heap[0][0] <= until:
            self.now, _, do, args = heapq.heappop(self.heap)
            do(*args)
        self.now = max(self.now, until)

    def uuid(self):
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))


class Run:
    def __init__(self, run_id, attempt, claim_id, now):
        self.id, self.attempt, self.claim_id, self.claimed_at, self.started_at, self.ended_at, self.end = run_id, attempt, claim_id, now, 0, 0, None


class Task:
    def __init__(self, task_id, item, now):
        self.id, self.item, self.service, self.create_at = task_id, item, item["service"], now
        self.status, self.sub, self.attempt, self.run, self.past = "ready", "held", 0, None, []
        self.due_at = self.lease_until = self.deadline = self.start_at = self.end_at = self.queued_at = self.cancel_at = 0
        self.tried = self.crashes = self.undelivered = 0
        self.beaten, self.lapse, self.result, self.removed = False, None, None, False
        self.expire_at = now + round(item["expire_s"] * 1000) if item.get("expire_s") else 0

    def known_time(self):
        run = self.run
        return max(self.create_at, self.start_at, self.end_at, self.queued_at, self.cancel_at,
                   *((run.claimed_at, run.started_at, run.ended_at) if run else ()))

    def takeable(self):
        return (self.status, self.sub) in (("waiting", "queued"), ("ready", "producing"))

    def run_id(self):
        return self.run.id if self.run else ""

    def drop_lease(self):
        self.lease_until = self.deadline = 0
        self.beaten, self.lapse = False, None


class Turn:
    """One op on one task, by an API process that dates it with the beginning of its batch; never before what the task knows."""

    def __init__(self, core, task, op, now, rules):
        self.core, self.task, self.op, self.rules = core, task, op, rules
        self.now = max(now, task.known_time())
        self.run_id = op.get("run_id") or ""
        self.same = bool(self.run_id) and self.run_id == task.run_id()
        self.lapsed = task.lapse is not None and self.same

    def holds(self):
        return self.core.broken("no fence") or self.run_id == self.task.run_id()

    # ---- what steps share

    def queue(self):
        task = self.task
        task.status, task.sub = ("ready", "producing") if self.core.broker else ("waiting", "queued")
        task.due_at, task.queued_at = 0, self.now

    def renew(self):
        task = self.task
        until = self.now + LEASE_MS
        if task.deadline:
            until = min(until, task.deadline + LEASE_MS)
        if task.lapse is None:
            until = max(until, task.lease_until)
        task.lease_until, task.lapse = until, None

    def take_back(self):
        task = self.task
        if task.lapse == "crash":
            task.crashes -= 1
        else:
            task.undelivered -= 1
        task.lapse, task.status, task.sub = None, "running", "started" if task.beaten else "claimed"
        task.run.end, task.run.ended_at = None, 0

    def begin(self):
        task = self.task
        if task.run:
            task.past.append(task.run)
        if not (self.core.broken("one attempt") and task.attempt):
            task.attempt += 1
        task.run = Run(self.run_id, task.attempt, self.op.get("claim_id"), self.now)
        task.status, task.sub, task.start_at, task.end_at = "running", "claimed", self.now, 0
        task.drop_lease()
        timeout = round((task.item.get("timeout_s") or 0) * 1000)
        task.deadline = self.now + timeout if timeout else 0
        if self.run_id:
            self.renew()
        else:
            task.lease_until = self.now + (timeout or GUARD_MS)

    def end(self, how):
        self.task.run.end, self.task.run.ended_at = how, self.now

    def fail(self, sub):
        task = self.task
        task.status, task.sub, task.end_at, task.expire_at = "failed", sub, self.now, 0
        task.drop_lease()

    def end_attempt(self, how, fatal):
        task = self.task
        task.expire_at = 0
        if task.sub == "cancelling" or how in ("cancelled", "kill_unconfirmed"):
            self.end("kill_unconfirmed" if how == "kill_unconfirmed" else "cancelled")
            self.fail(task.run.end)
            return
        self.end(how)
        task.tried += 1
        if self.core.broken("attempts") or not fatal and task.tried < task.item.get("max_attempts", 1):
            task.drop_lease()
            task.status, task.sub, task.due_at = "waiting", "retry", self.now + self.core.rng.randrange(50, 400)
        else:
            self.fail("dead" if task.tried > 1 and not fatal else how)

    def end_run(self):
        task, op = self.task, self.op
        if op["status"] == "failed":
            self.end_attempt(op.get("cause", "error"), (op.get("error") or {}).get("class") == "fatal")
            return
        self.end("finished")
        task.status, task.sub, task.end_at, task.expire_at = "finished", None, self.now, 0
        task.drop_lease()
        task.result = op.get("result")

    # ---- the steps

    def do_claim(self):
        task = self.task
        if task.status == "running":
            if not self.same:
                raise Refused("ALREADY_CLAIMED")
            return
        if task.status in FINAL:
            raise Refused("STALE_RUN" if self.same else "ALREADY_FINAL")
        if not task.takeable() and not (self.core.broken("not due") and task.sub == "delayed"):
            raise Refused("NOT_DUE")
        if self.lapsed:
            self.take_back()
            self.renew()
            return
        if self.same or self.run_id and any(run.id == self.run_id for run in task.past):
            raise Refused("STALE_RUN")
        if task.expire_at and task.expire_at <= self.now:
            raise Refused("NOT_DUE")
        self.core.admit(task.service, self.rules)
        self.begin()

    def said_again(self):
        """The report of a run that has ended: fine where it says what is on record."""
        task, finish = self.task, self.op["status"] == "finished"
        run = task.run if self.same else next((run for run in task.past if self.run_id and run.id == self.run_id), None)
        said = run.end if run and run.end not in (None, "lost", "back", "crash") else None
        if self.same and said is None and task.status in FINAL:
            said = task.status
        if said is None:
            raise Refused("STALE_RUN")
        same = finish == (said == "finished")
        if same and finish and self.same and task.status == "finished":
            same = task.result == self.op.get("result")
        if not same:
            raise Refused("ALREADY_FINAL" if self.same else "STALE_RUN")

    def do_end(self):
        task = self.task
        if task.status == "running":
            return self.end_run() if self.holds() else self.said_again()
        if self.lapsed:
            self.take_back()
            return self.end_run()
        if self.run_id:
            if self.core.broken("final changes") and task.status in FINAL:
                return self.end_run()
            return self.said_again()
        if task.status in FINAL:
            if task.status != self.op["status"]:
                raise Refused("ALREADY_FINAL")
            return None
        if not task.takeable() and task.sub != "retry":
            raise Refused("NOT_DUE")
        self.begin()
        return self.end_run()

    def do_heartbeat(self):
        task = self.task
        if task.status in FINAL:
            raise Refused("STALE_RUN")
        if task.status != "running":
            if not self.lapsed:
                raise Refused("STALE_RUN")
            self.take_back()
        elif not self.run_id or not self.holds():
            raise Refused("STALE_RUN")
        if not task.beaten or task.sub == "claimed":
            task.beaten, task.expire_at = True, 0
            task.sub = "started" if task.sub == "claimed" else task.sub
            task.run.started_at = task.run.started_at or self.now
        self.renew()

    def lose(self, lapse, how):
        task = self.task
        self.end(how)
        task.lease_until = 0
        name = "crashes" if lapse == "crash" else "undelivered"
        setattr(task, name, getattr(task, name) + 1)
        if getattr(task, name) < (MAX_CRASHES if lapse == "crash" else 20):
            self.queue()
        else:
            self.fail("crash")

    def do_back(self):
        task, crash = self.task, self.op.get("cause") == "crash"
        if task.status in FINAL:
            if self.same and crash and task.run.end == "crash":
                return
            raise Refused("STALE_RUN")
        if task.status != "running":
            if not self.same or not self.lapsed and task.run.end != ("crash" if crash else "back"):
                raise Refused("STALE_RUN")
            if not self.lapsed:
                return
            self.take_back()
        elif not self.run_id or not self.holds():
            raise Refused("STALE_RUN")
        if task.sub == "cancelling":
            self.end_attempt("cancelled", False)
        elif crash:
            self.lose("crash", "crash")
        else:
            self.end("back")
            self.queue()
        task.drop_lease()

    def do_lapse(self):
        task = self.task
        if task.status != "running" or self.run_id != task.run_id() or not task.lease_until:
            raise Refused("NOT_DUE")
        if task.lease_until > self.now and not self.core.broken("no lease check"):
            raise Refused("NOT_DUE")
        if task.lapse == "kill":
            self.end_attempt("kill_unconfirmed", True)
        elif task.sub == "cancelling":
            task.lapse, task.lease_until = "kill", self.now + KILL_MAX_MS
        elif not task.run.id or task.deadline and task.lease_until >= task.deadline + LEASE_MS:
            self.end_attempt("timeout", False)
        else:
            lapse = "crash" if task.beaten else "undelivered"
            self.lose(lapse, "lost")
            task.lapse = lapse if task.status != "failed" else None

    def do_start(self):
        task = self.task
        if task.status == "running" or (task.status, task.sub) == ("waiting", "queued"):
            raise Refused("ALREADY_QUEUED")
        if task.status in FINAL:
            if task.sub == "kill_unconfirmed" and not self.op.get("force"):
                raise Refused("KILL_UNCONFIRMED")
            task.result = None
            task.cancel_at = task.start_at = task.end_at = task.tried = task.crashes = task.undelivered = 0
            task.expire_at = self.now + round(task.item["expire_s"] * 1000) if task.item.get("expire_s") else 0
        task.drop_lease()
        self.queue()

    def do_edit(self):
        if self.task.status == "running":
            raise Refused("TASK_RUNNING")
        if self.task.lapse:
            self.task.drop_lease()

    def do_cancel(self):
        task = self.task
        if task.status in FINAL:
            raise Refused("ALREADY_FINAL")
        lapsed = task.status != "running" and task.lapse is not None
        if lapsed:
            self.take_back()
        if task.status != "running":
            task.cancel_at = self.now
            self.fail("cancelled")
        elif task.sub != "cancelling":
            task.cancel_at, task.sub = self.now, "cancelling"
            if lapsed or not task.run.id:
                task.lapse, task.lease_until = "kill", self.now + KILL_MAX_MS

    def do_delete(self):
        task = self.task
        if task.status not in FINAL and not self.core.broken("removes what runs"):
            raise Refused("NOT_FINAL")
        if self.op.get("before_ms") and task.end_at > self.op["before_ms"] and not self.core.broken("removes too early"):
            raise Refused("NOT_DUE")
        task.removed = True

    def do_alarm(self):
        task = self.task
        if task.status not in ("ready", "waiting"):
            raise Refused("NOT_DUE")
        if task.expire_at and task.expire_at <= self.now and not self.core.broken("never expires"):
            self.fail("expired")
        elif task.due_at and task.due_at <= self.now:
            self.queue()


class Core:
    """The store, with the rules. What stands here is durable and the same for all API processes."""

    def __init__(self, sim, mode, fault=None):
        self.sim, self.rng, self.mode, self.fault, self.broker = sim, sim.rng, mode, fault, mode == "cluster"
        self.tasks, self.keys, self.rules = {}, {}, {}
        self.wall = 1_800_000_000_321  # unix ms at 0

    def broken(self, fault):
        return self.fault == fault

    def ms(self):
        return self.wall + int(self.sim.now * 1000)

    def counted(self, service, running):
        return sum(task.service == service and not task.removed and (task.status == "running") == running and task.status not in FINAL
                   for task in self.tasks.values())

    def admit(self, service, rules):
        rule = rules.get(service, {})
        if rule.get("paused") and not self.broken("claims of the paused"):
            raise Refused("SERVICE_PAUSED")
        if rule.get("max_running") and self.counted(service, True) >= rule["max_running"] and not self.broken("more run"):
            raise Refused("LIMIT_REACHED")

    def create(self, items, now, rules):
        """Of each item its part of the answer; `now`: when the call was read."""
        parts = []
        for item, task_id in items:
            key = (item["service"], item.get("idempotency_key"))
            if key[1] and key in self.keys and not self.broken("two tasks of a key"):
                parts.append({"task_id": self.keys[key], "duplicate": True})
                continue
            most = rules.get(item["service"], {}).get("max_waiting")
            if most and self.counted(item["service"], False) >= most and not self.broken("more wait"):
                parts.append({"code": "QUEUE_FULL"})
                continue
            task = Task(task_id, item, now)
            self.enter(task, item, now)
            if not self.broken("lost create") or self.rng.random() < 0.8:
                self.tasks[task_id] = task
            if key[1]:
                self.keys[key] = task_id
            parts.append({"task_id": task_id})
        return parts

    def enter(self, task, item, now):
        delay = round(item.get("delay_s", 0) * 1000) if "run_at_ms" not in item else item["run_at_ms"] - now
        if item.get("start") is False:
            return
        if delay > 0 and not self.broken("no delay"):
            task.status, task.sub, task.due_at = "waiting", "delayed", now + delay
        else:
            Turn(self, task, {}, now, {}).queue()

    def change(self, kind, task_id, op, now, rules):
        """The task after the op; raises Refused."""
        task = self.tasks.get(task_id)
        if task is None:
            raise Refused("UNKNOWN_TASK")
        if task.removed and not (self.broken("comes back") and kind != "delete"):
            raise Refused("TASK_REMOVED")
        getattr(Turn(self, task, op, now, rules), f"do_{kind}")()
        return task

    def take(self, services, claim_id, most, now, rules):
        again = [task for task in self.tasks.values() if claim_id and task.status == "running" and task.run.claim_id == claim_id and not task.removed]
        if again:
            return again
        taken = []
        for task in list(self.tasks.values()):
            if len(taken) < most and task.service in services and task.takeable() and not task.removed:
                try:
                    taken.append(self.change("claim", task.id, {"run_id": self.sim.uuid(), "claim_id": claim_id}, now, rules))
                except Refused:
                    pass
        return taken
