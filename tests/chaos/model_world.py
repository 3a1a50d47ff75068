"""API processes over the task core of model.py, and clients whose calls are as slow, lost and repeated as can be: histories of a service
that is right, in the form of history.py.
"""
from collections import deque

from tests.chaos.book import FINAL, iso_of
from tests.chaos.model import LEASE_MS, Core, Refused, Sim

HTTP = {"UNKNOWN_TASK": 404, "TASK_REMOVED": 410, "RESULT_EXPIRED": 410, "QUEUE_FULL": 429, "LIMIT_REACHED": 429}
KINDS = {"running": "claim", "finished": "end", "failed": "end", "waiting": "back"}
LEASE_S = LEASE_MS / 1000
# What a call changes of what a service is told.
GATES = {
    "pause_service_task": lambda data: {"paused": True},
    "resume_service_task": lambda data: {"paused": False},
    "limit_service_task": lambda data: {name: data[name] or 0 for name in ("max_running", "max_waiting") if name in data},
}


class Api:
    def __init__(self, number):
        self.number, self.alive, self.busy, self.life = number, True, False, 0
        self.queue, self.open, self.rules, self.changes = [], set(), {}, 0


class Call:
    def __init__(self, api, by, route, body, t, tap):
        self.api, self.by, self.route, self.body, self.t, self.tap, self.over, self.box = api, by, route, body, t, tap, False, []
        self.data = body.get("data", body)
        self.items = self.data if isinstance(self.data, list) else [self.data]


class World(Sim):
    """A run of the model. `events` is its history when play() is over."""

    def __init__(self, seed, fault=None):
        super().__init__(seed)
        rng = self.rng
        mode = rng.choice(["embedded", "cluster"])
        self.core, self.events = Core(self, mode, fault), []
        self.apis = [Api(number) for number in range(1 if mode == "embedded" else 2)]
        self.calm, self.loss, self.slow = False, rng.choice([0.05, 0.3, 0.7]), rng.choice([0.03, 0.15, 0.4])
        self.crowd = rng.random() < 0.3  # many tasks that are due at once, and calls that are quick
        if self.crowd:
            self.loss, self.slow = 0.02, 0.02
        self.retention = {name: rng.randrange(1000, 4000) for name in FINAL} if rng.random() < 0.25 else None
        self.services = rng.sample(["quick", "direct", "base"], rng.choice([1, 1, 2, 3]))
        self.known, self.last, self.said, self.creates, self.live, self.tokens, self.pids = {}, {}, deque(maxlen=30), [], {}, 0, 0
        self.fresh, self.ended, self.stopping = [], [], False
        self.add("begin", 0, wall=self.core.wall, lease_ms=LEASE_MS, mode=mode, seed=seed, retention_ms=self.retention)

    def add(self, k, t, **fields):
        self.events.append({"k": k, "t": round(t * 1e9), **fields})

    def span(self, usual, long=2.5):
        """How long something takes: as a rule `usual` at most, at times up to `long`."""
        rng = self.rng
        return usual * 0.1 * rng.random() if self.calm else rng.uniform(0, long) if rng.random() < self.slow else rng.uniform(0, usual)

    def by_luck(self, share):
        return not self.calm and self.rng.random() < share

    # ---- API processes

    def submit(self, api, do, done=None):
        api.queue.append((do, done))
        if not api.busy:
            api.busy = True
            self.at(self.now + self.span(0.003, 0.3), self.begin, api, api.life)

    def begin(self, api, life):
        """A batch begins: what is dated by it, and the rules that it is decided by, are those of now."""
        if life != api.life:
            return
        batch, api.queue = api.queue, []
        now, rules, took = self.core.ms(), {name: dict(rule) for name, rule in api.rules.items()}, self.span(0.05)
        fate = self.rng.choice(["refused", "unknown", "done but unknown"]) if self.by_luck(self.loss / 4) else "done"
        times = sorted(self.rng.uniform(0, took) if self.core.broker else took for _ in batch)
        for (do, done), at in zip(batch, times):
            self.at(self.now + at, self.effect, api, life, do, done, now, rules, fate)
        self.at(self.now + took, self.end_batch, api, life)

    def end_batch(self, api, life):
        if life == api.life:
            api.busy = bool(api.queue)
            if api.queue:
                self.begin(api, life)

    def effect(self, api, life, do, done, now, rules, fate):
        if life != api.life:
            return
        answer = do(now, rules) if fate in ("done", "done but unknown") else None
        if fate == "unknown" and self.core.broker and self.rng.random() < 0.3:  # the store does it later
            self.at(self.now + self.span(0.2), do, now, rules)
        if done:
            self.at(self.now + self.span(0.01, 0.3), done, answer if fate == "done" else fate)

    def death(self, api):
        """kill -9, and a new process a while later."""
        api.alive, api.busy, api.queue = False, False, []
        api.life += 1
        for call in list(api.open):
            self.at(self.now + self.span(0.01, 0.1), self.answer, call, None, None)
        self.at(self.now + self.rng.uniform(0.05, 2), self.birth, api)

    def birth(self, api):
        self.add("born", self.now, api=api.number)
        api.alive, api.rules = True, {name: dict(rule) for name, rule in self.core.rules.items()}

    def reread(self, api, changes, rules):
        if api.alive and changes == api.changes:
            api.rules = rules

    def sweeper(self, api):
        while not self.stopping:
            yield self.rng.uniform(0.05, 0.5)
            rules = {name: dict(rule) for name, rule in self.core.rules.items()}
            self.at(self.now + self.span(0.1, 0.5), self.reread, api, api.changes, rules)
            now = self.core.ms()
            for task in list(self.core.tasks.values()) if api.alive else ():
                before = now - (self.retention or {}).get(task.status, 0)
                if self.core.broken("removes too early"):
                    before = now
                if task.removed:
                    continue
                if task.status == "running" and task.lease_until and (task.lease_until <= now or self.core.broken("no lease check")):
                    self.sweep(api, "lapse", task, run_id=task.run_id())
                elif task.due_at and task.due_at <= now or task.expire_at and task.expire_at <= now:
                    self.sweep(api, "alarm", task)
                elif task.sub == "producing":
                    task.status, task.sub = "waiting", "queued"
                elif self.retention and task.status in FINAL and task.end_at <= before:
                    self.sweep(api, "delete", task, before_ms=before)

    def sweep(self, api, kind, task, **op):
        self.submit(api, lambda now, rules: self.change(kind, task.id, op, now, rules))

    # ---- calls

    def call(self, api, route, body, tap=None):
        """(http, answer), as the caller has them. tap: the name of a consumer, whose calls are recorded on their way."""
        t = self.now
        by = tap or f"client{api.number}"
        if not api.alive:
            if not tap:
                self.record(Call(api, by, route, body, t, tap), 0, None)
            yield 0.02
            return 0, None
        call = Call(api, by, route, body, t, tap)
        api.open.add(call)
        if not self.by_luck(self.loss / 3):
            self.at(t + self.span(0.01), self.arrive, call, api.life)
        elif not tap:
            self.at(t + self.span(0.5), self.answer, call, None, None)  # never arrived
        if self.by_luck(self.loss / 2):
            self.at(t + self.span(0.1, 4), self.answer, call, None, None)  # given up, wherever it is
        self.at(t + 20, self.answer, call, None, None)
        return (yield call.box)

    def arrive(self, call, life):
        if life != call.api.life:
            return
        if self.by_luck(self.loss / 10):
            self.answer(call, 503, {"code": self.rng.choice(["OVERLOADED", "STORE_UNAVAILABLE"])})
        elif call.route in READS:
            self.at(self.now + self.span(0.01, 0.5), self.read, call)
        else:
            read_ms = self.core.ms()
            ids = [f"ts_{item['service']}_{self.rng.getrandbits(64):x}" for item in call.items] if call.route == "create_task" else None
            self.submit(call.api, lambda now, rules: WRITES[call.route](self, call, read_ms if ids else now, rules, ids),
                        lambda answer: self.tell(call, answer, ids, life))

    def read(self, call):
        if not call.over and call.api.alive:
            self.tell(call, READS[call.route](self, call), None, call.api.life)

    def tell(self, call, answer, ids, life):
        """What the process answers goes on its way. Of a service it knows itself now, and no batch of before goes on when it says so."""
        if life != call.api.life:
            return
        if call.route in GATES and not isinstance(answer, str):
            call.api.rules.setdefault(call.data["service"], {}).update(GATES[call.route](call.data))
            call.api.changes += 1
            self.submit(call.api, lambda now, rules: None, lambda _: self.send(call, *answer))
            return
        if answer == "refused":
            answer = 503, {"code": "STORE_UNAVAILABLE"}
        elif isinstance(answer, str):
            parts = [{"task_id": task_id, "code": "OUTCOME_UNKNOWN"} for task_id in ids or ()]
            answer = 504, {"code": "OUTCOME_UNKNOWN", **({"data": parts} if isinstance(call.data, list) else (parts or [{}])[0])}
        self.send(call, *answer)

    def send(self, call, http, answer):
        self.at(self.now + self.span(0.01), self.answer, call, http, answer)

    def answer(self, call, http, answer):
        if call.over:
            return
        call.over = True
        call.api.open.discard(call)
        lost = call.tap and http is not None and self.by_luck(self.loss)
        if not call.tap and http is not None and self.by_luck(self.loss / 3):
            http, answer = None, None
        self.record(call, http, answer, **({"lost": True} if lost else {}))
        for process in call.box:
            self.spawn(process, (None, None) if lost else (http, answer))

    def record(self, call, http, answer, **more):
        if call.tap and call.route in ("update_status_task", "heartbeat_task"):
            self.said.append((call.route, call.body))
        if call.route in ("status_task",) or call.route == "claim_task" and call.tap and http == 200 and not answer["data"]:
            return  # the reader records what has changed
        self.add("call", call.t, t1=round(self.now * 1e9), by=call.by, api=call.api.number, route=call.route, body=call.body, http=http,
                 answer=answer, **more)

    # ---- what the routes do: (http, answer)

    def change(self, kind, task_id, op, now, rules):
        try:
            task = self.core.change(kind, task_id, op, now, rules)
        except Refused as refused:
            return {"task_id": task_id, "code": str(refused)}
        run = task.run if kind == "claim" and op.get("run_id") else None
        told = {"now": task.status, "run_id": run.id, "attempt": run.attempt} if run else {}
        beat = {"cancel": task.sub == "cancelling"} if kind == "heartbeat" else {}
        lease = {"lease_until": iso_of(task.lease_until)} if run or kind == "heartbeat" else {}
        return {"task_id": task_id, **told, **beat, **lease}

    def do_create(self, call, now, rules, ids):
        parts = self.core.create(list(zip(call.items, ids)), now, rules)
        return whole(parts) if not isinstance(call.data, list) else (200, {"result": "ok", "data": parts})

    def do_update(self, call, now, rules, ids):
        parts = [{"status": item["status"], **self.change(KINDS[item["status"]], item["task_id"], item, now, rules)} for item in call.items]
        if not isinstance(call.data, list) and "code" in parts[0]:
            return whole(parts)
        return 200, {"result": "ok", "status": parts if isinstance(call.data, list) else parts[0]}

    def do_beat(self, call, now, rules, ids):
        return 200, {"result": "ok", "data": [self.change("heartbeat", item["task_id"], item, now, rules) for item in call.items]}

    def do_take(self, call, now, rules, ids):
        data = call.data
        taken = self.core.take(data["services"], data.get("claim_id"), data["max"], now, rules)
        return 200, {"result": "ok", "data": [{"Task": {"task_id": task.id}, "run_id": task.run.id, "attempt": task.attempt,
                                               "lease_until": iso_of(task.lease_until)} for task in taken]}

    def do_one(kind):
        return lambda self, call, now, rules, ids: whole([self.change(kind, call.data["task_id"], call.data, now, rules)])

    def do_gate(self, call, now, rules, ids):
        self.core.rules.setdefault(call.data["service"], {}).update(GATES[call.route](call.data))
        return 200, {"result": "ok", "service": call.data["service"]}

    def do_status(self, call):
        return 200, {"status": [self.status_of(item["task_id"]) for item in call.items]}

    def status_of(self, task_id):
        task = self.core.tasks.get(task_id)
        if task is None:
            return {"task_id": task_id, "status": "Invalid", "sub_status": None, "attempt": None, "start_time": None, "end_time": None}
        sub, attempt = ("removed", 0) if task.removed else (task.sub, task.attempt)
        return {"task_id": task_id, "status": task.status, "sub_status": sub, "attempt": attempt, "start_time": iso_of(task.start_at),
                "end_time": iso_of(task.end_at)}

    def do_result(self, call):
        task = self.core.tasks.get(call.data["task_id"])
        code = ("UNKNOWN_TASK" if task is None else "RESULT_EXPIRED" if task.removed else "TASK_FAILED" if task.status == "failed"
                else "NOT_FINISHED" if task.status != "finished" else None)
        return (HTTP.get(code, 409), {"code": code}) if code else (200, {"result": "ok", "data": task.result})

    def do_timeline(self, call):
        task = self.core.tasks.get(call.data["task_id"])
        if task is None or task.removed:
            return 410, {"code": "TASK_REMOVED"}
        return 200, {"data": [{"attempt": run.attempt, "run_id": run.id or None} for run in [*task.past, *([task.run] if task.run else [])]]}

    WRITES = {"create_task": do_create, "update_status_task": do_update, "heartbeat_task": do_beat, "claim_task": do_take,
              "start_task": do_one("start"), "update_task": do_one("edit"), "cancel_task": do_one("cancel"), "delete_task": do_one("delete"),
              **dict.fromkeys(GATES, do_gate)}
    READS = {"status_task": do_status, "result_task": do_result, "timeline_task": do_timeline}


WRITES, READS = World.WRITES, World.READS


def whole(parts):
    """The answer of a call about one thing."""
    code = parts[0].get("code")
    return (HTTP.get(code, 409), {"code": code}) if code else (200, {"result": "ok", **parts[0]})
