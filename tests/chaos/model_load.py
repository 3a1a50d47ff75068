"""The clients, workers and consumers of the model: what load.py and the consumers do, in virtual time."""
from tests.chaos.book import FINAL, iso_of
from tests.chaos.model_world import LEASE_S, World


class Play(World):
    """play() gives the events of a whole run."""

    def play(self):
        until = self.rng.uniform(5, 20)
        for process in (self.clients() + [self.sweeper(api) for api in self.apis] + [self.doorkeeper(), self.reader()]):
            self.spawn(process)
        if self.rng.random() < 0.5:
            for _ in range(self.rng.choice([1, 2])):
                self.at(self.rng.uniform(0.5, until), self.kill, self.rng.choice(self.apis))
        self.run(until)
        self.calm = True
        self.run(until + 8)  # whatever was slow is over
        self.spawn(self.settle())
        for _ in range(60):
            self.run(self.now + 2)
            if self.stopping:
                break
        self.events.sort(key=lambda event: event["t"])
        return self.events

    def kill(self, api):
        if api.alive:
            self.death(api)

    def clients(self):
        rng = self.rng
        made = [self.creator() for _ in range(rng.randint(1, 3) + self.crowd)]
        made += [self.meddler() for _ in range(rng.randint(0, 4))]
        made += [self.worker("consumer0", self.apis[0]) for _ in range(rng.randint(0, 3))]
        made += [self.worker(None, None) for _ in range(rng.randint(1, 3))]
        return made + [self.base_worker()] if "base" in self.services else made

    def api(self):
        return self.rng.choice(self.apis)

    # ---- creates

    def item(self):
        rng = self.rng
        self.tokens += 1
        item = {"service": rng.choice(self.services), "condition": {"n": self.tokens}}
        more = {"start": (0.05, False), "idempotency_key": (0.4, f"key-{self.tokens}"), "delay_s": (0.25, round(rng.uniform(0.05, 3), 3)),
                "timeout_s": (0.2, rng.choice([0.5, 1, 2])), "expire_s": (0.2, rng.choice([0.2, 1, 3])), "max_attempts": (0.8, rng.randint(1, 4))}
        item.update({name: value for name, (share, value) in more.items() if rng.random() < (share / 5 if self.crowd else share)})
        if "delay_s" not in item and rng.random() < 0.1:
            item["run_at_ms"] = self.core.ms() + rng.randrange(-500, 2000)
            item["run_at"] = iso_of(item["run_at_ms"])
        return item

    def creator(self):
        for _ in range(self.rng.randint(1, 4)):
            yield self.rng.uniform(0, 3)
            if self.calm:
                return
            what = self.rng.uniform(0.5, 0.6) if self.crowd else self.rng.random()
            if what < 0.5:
                yield from self.create(self.item())
            elif what < 0.65:
                yield from self.create([self.item() for _ in range(self.rng.randint(2, 5))])
            elif what < 0.8:
                item = self.item()
                item.setdefault("idempotency_key", f"key-{self.tokens}")
                for _ in range(self.rng.randint(1, 3)):
                    self.spawn(self.create(item))
                    yield self.rng.choice([0, 0, self.rng.uniform(0, 2)])
            elif self.creates:
                yield from self.create(self.rng.choice(self.creates))

    def create(self, what):
        items = what if isinstance(what, list) else [what]
        http, answer = yield from self.call(self.api(), "create_task", {"data": what})
        for item, part in zip(items, (answer or {}).get("data") or [answer or {}]):
            if http == 200 and "task_id" in part:
                self.known.setdefault(part["task_id"], item["service"])
        self.creates += [item for item in items if item.get("idempotency_key")]

    # ---- calls that meddle

    def any_task(self, *services, final=False):
        """Rather one that is open, or final, as the store knows."""
        tasks = [task_id for task_id, service in self.known.items() if not services or service in services]
        stored = [self.core.tasks.get(task_id) for task_id in tasks]
        fit = [task.id for task in stored if task and (task.status in FINAL) == final and not task.removed]
        return self.rng.choice(fit if fit and self.rng.random() < 0.85 else tasks) if tasks else None

    def meddler(self):
        rng = self.rng
        for _ in range(rng.randint(5, 25)):
            yield rng.uniform(0, 0.9)
            if self.calm:
                return
            what = rng.choice(["start", "start", "start", "cancel", "cancel", "update", "delete", "repeat", "repeat", "repeat", "forge", "result"])
            task_id = self.any_task(final=what in ("start", "delete") and rng.random() < 0.8)
            if what == "repeat" and self.said:
                yield from self.call(self.api(), *rng.choice(list(self.said)))
            elif what == "forge" and self.ended:
                yield from self.forge(*rng.choice(self.ended))
            elif task_id and what not in ("repeat", "forge"):
                more = {"force": True} if what == "start" and rng.random() < 0.3 else {}
                yield from self.call(self.api(), f"{what}_task", {"data": {"task_id": task_id, **more}})

    def forge(self, task_id, run_id):
        """Other words of a run that has surely said its last one."""
        kind = self.rng.choice(["finished", "failed", "waiting", "beat", "running"])
        item = {"task_id": task_id, "run_id": run_id}
        if kind == "beat":
            yield from self.call(self.api(), "heartbeat_task", {"data": [item]})
        else:
            more = {"result": {"run": run_id, "forged": True}} if kind == "finished" else {}
            yield from self.call(self.api(), "update_status_task", {"data": {**item, "status": kind, **more}})

    def doorkeeper(self):
        rng = self.rng
        yield rng.uniform(0, 1)
        for _ in range(rng.choice([0, 2, 8])):
            if self.calm:
                return
            service = rng.choice(self.services)
            limits = {name: rng.randint(1, 2) for name in rng.sample(["max_running", "max_waiting"], rng.choice([1, 2]))}
            opened = {name: rng.choice([0, None]) for name in limits}
            for shut, more in rng.choice([(("pause_service_task", {}), ("resume_service_task", {})),
                                          (("limit_service_task", limits), ("limit_service_task", opened))]):
                for api in rng.choice([[self.api()], self.apis]):
                    self.spawn(self.call(api, shut, {"data": {"service": service, **more}}))
                yield rng.uniform(0, 2)

    # ---- workers, with a tap those of a consumer

    def worker(self, tap, at):
        rng = self.rng
        services = [service for service in self.services if service != "base"]
        while not self.stopping and services:
            yield rng.uniform(0, 0.5)
            task_id = self.any_task(*services)
            due = [task.id for task in self.core.tasks.values() if task.takeable() and task.service in services and not task.removed]
            if (due or rng.random() < 0.1) and rng.random() < 0.4:
                yield from self.polls(tap, at, services)
            elif task_id and (due or rng.random() < 0.2):
                task_id = rng.choice(due) if due and rng.random() < 0.9 else task_id
                for _ in range(rng.choice([1, 1, 2])):
                    self.spawn(self.claim(tap, at, task_id, self.uuid()))
                    yield rng.choice([0, 0.02])

    def polls(self, tap, at, services):
        claim = {"claim_id": self.uuid()} if tap or self.rng.random() < 0.3 else {}
        body = {"data": {"services": services, "max": self.rng.choice([1, 2]), **claim}}
        for _ in range(4 if claim else 1):
            http, answer = yield from self.call(at or self.api(), "claim_task", body, tap)
            if http == 200:
                for item in answer["data"]:
                    self.spawn(self.work(tap, at, item["Task"]["task_id"], item["run_id"], item["attempt"]))
                return
            yield 0.05

    def claim(self, tap, at, task_id, run_id):
        body = {"data": {"task_id": task_id, "status": "running", "run_id": run_id}}
        for _ in range(self.rng.choice([1, 6, 12])):
            http, answer = yield from self.call(at or self.api(), "update_status_task", body, tap)
            if http == 200:
                yield from self.work(tap, at, task_id, run_id, answer["status"]["attempt"])
            if http not in (0, None, 503, 504, 429) and (answer or {}).get("code") != "SERVICE_PAUSED":
                return
            yield self.span(0.3, 4)

    def work(self, tap, at, task_id, run_id, attempt):
        """A run: of a consumer with a process, which it outlives."""
        if any(run == run_id for _, run in self.live.get(task_id, {}).values()) or run_id in self.last:
            return  # an answer that came again
        self.last[run_id] = True
        rng = self.rng
        pid = self.process(task_id, run_id, attempt) if tap else 0
        until, report = self.now + rng.choice([0.05, 0.5, 2, 3.5]) * (0.1 if self.calm else 1), None
        beats, hasty = rng.random() < 0.8, rng.random() < 0.2
        while self.now < until:
            yield min(until - self.now, LEASE_S / 3) + 0.001
            if beats or self.calm:
                beat = self.call(at or self.api(), "heartbeat_task", {"data": [{"task_id": task_id, "run_id": run_id}]}, tap)
                if hasty:  # it does not wait for the answer
                    self.spawn(beat)
                    continue
                http, answer = yield from beat
                if http == 200 and answer["data"][0].get("cancel"):
                    report = {"status": "failed", "cause": "cancelled"}
                    break
        fate = rng.choice(["finished", "failed", "failed", "fatal", "back", "crash", "timeout", "lost", "lost", "both"] if not self.calm else ["finished"])
        self.live.get(task_id, {}).pop(pid, None)
        if fate == "lost" and not report:
            return
        words = {"finished": {"status": "finished", "result": {"run": run_id, "attempt": attempt, "pid": pid}},
                 "failed": {"status": "failed", "error": {"class": "retryable"}}, "fatal": {"status": "failed", "error": {"class": "fatal"}},
                 "back": {"status": "waiting"}, "crash": {"status": "waiting", "cause": "crash"}, "timeout": {"status": "failed", "cause": "timeout"}}
        report = report or words["finished" if fate == "both" else fate]
        if fate == "both" and not tap:
            self.spawn(self.report(tap, at, task_id, run_id, words["fatal"]))
        yield from self.report(tap, at, task_id, run_id, report)

    def process(self, task_id, run_id, attempt):
        self.pids += 1
        alive = self.live.setdefault(task_id, {})
        others = [[pid, role, run] for pid, (role, run) in alive.items()]
        alive[self.pids] = ("main", run_id)
        self.add("start", self.now, task=task_id, run=run_id, attempt=attempt, pid=self.pids, role="main", others=others)
        return self.pids

    def report(self, tap, at, task_id, run_id, report):
        body = {"data": {"task_id": task_id, "run_id": run_id, **report}}
        for _ in range(self.rng.choice([1, 2, 12])):
            http, _ = yield from self.call(at or self.api(), "update_status_task", body, tap)
            if http == 200 and report["status"] in FINAL:
                self.ended.append((task_id, run_id))
            if http in (200, 404, 409, 410) and self.rng.random() < 0.8:
                return
            yield self.rng.uniform(0, 0.3)

    def base_worker(self):
        rng = self.rng
        while not self.stopping:
            yield rng.uniform(0, 1)
            task_id = self.any_task("base")
            for status in ("running", rng.choice(FINAL)) if task_id else ():
                if status in FINAL or rng.random() < 0.7:
                    for _ in range(5):
                        http, _ = yield from self.call(self.api(), "update_status_task", {"data": {"task_id": task_id, "status": status}})
                        if http in (200, 404, 409, 410, 429):
                            break
                    yield rng.uniform(0, 0.5)

    # ---- reading

    def reader(self):
        while not self.stopping:
            yield self.rng.uniform(0.1, 0.6)
            yield from self.look(list(self.known))
            for task_id in self.fresh if self.retention else ():
                self.spawn(self.call(self.api(), "result_task", {"data": {"task_id": task_id}}))
            if self.known and self.rng.random() < 0.5:
                yield from self.call(self.api(), self.rng.choice(["result_task", "timeline_task"]), {"data": {"task_id": self.any_task()}})
            self.fresh = []

    def look(self, ids, last=False):
        t0, api = self.now, self.api()
        http, answer = yield from self.call(api, "status_task", {"data": [{"task_id": task_id} for task_id in ids]})
        if http != 200:
            return False
        changed = [item for item in answer["status"] if last or self.last.get(item["task_id"]) != item]
        if changed:
            self.add("call", t0, t1=round(self.now * 1e9), by="reader", api=api.number, route="status_task", http=200, answer={"status": changed},
                     body={"data": [{"task_id": item["task_id"]} for item in changed]})
        for item in changed:
            before = self.last.get(item["task_id"])
            self.last[item["task_id"]] = item
            if item["status"] in FINAL and (before or {}).get("status") not in FINAL:
                self.fresh.append(item["task_id"])
                if item["sub_status"] == "cancelled":
                    alive = self.live.get(item["task_id"], {})
                    self.add("look", self.now, task=item["task_id"], pids=[[pid, role] for pid, (role, _) in alive.items()])
        return True

    # ---- the end

    def settle(self):
        for service in self.services:
            yield from self.call(self.apis[0], "resume_service_task", {"data": {"service": service}})
            yield from self.call(self.apis[0], "limit_service_task", {"data": {"service": service, "max_running": None, "max_waiting": None}})
        self.known.update({task.id: task.service for task in self.core.tasks.values() if not task.removed})
        yield 2
        open_ids = list(self.known)
        for _ in range(60):
            yield from self.look(open_ids)
            open_ids = [task_id for task_id in self.known if (self.last.get(task_id) or {}).get("status") not in (*FINAL, "Invalid")]
            for task_id in open_ids:
                yield from self.bring_on(task_id)
            if not open_ids:
                break
            yield 0.3
        self.add("settled", self.now, open=open_ids)
        t0 = self.now
        yield 0.01
        rows = [[task.id, task.item["condition"]["n"], iso_of(task.create_at)] for task in self.core.tasks.values() if not task.removed]
        self.add("listed", self.now, t0=round(t0 * 1e9), tasks=rows)
        yield from self.look(list(self.known), last=True)
        for task_id in self.known:
            yield from self.call(self.api(), "result_task", {"data": {"task_id": task_id}})
            yield from self.call(self.api(), "timeline_task", {"data": {"task_id": task_id}})
        self.stopping = True

    def bring_on(self, task_id):
        """What is held is started, what waits is run to its end."""
        last = self.last.get(task_id) or {}
        if last.get("sub_status") == "held":
            yield from self.call(self.api(), "start_task", {"data": {"task_id": task_id}})
        elif self.known[task_id] == "base":
            yield from self.call(self.api(), "update_status_task", {"data": {"task_id": task_id, "status": "finished"}})
        elif last.get("status") in ("ready", "waiting"):
            yield from self.claim(None, None, task_id, self.uuid())


def history(seed, fault=None):
    return Play(seed, fault).play()
