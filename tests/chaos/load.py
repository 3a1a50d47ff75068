"""The load: clients that create, cancel, start, edit, repeat and forge, and workers of the driver's own that claim.

Everything that may be asked of the API stands in two tables: ACTIONS, and FEATURES of a create. What this version of the API refuses
as not supported is switched off for the run and reported.
"""
import asyncio
import time
import uuid
from collections import Counter, deque

from tests.chaos.book import FINAL, iso_of
from tests.chaos.world import DRIVEN, FOREIGN, MODULES

ANSWERED = (200, 400, 404, 409, 410)  # an update need not be repeated
SHUT = ("SERVICE_PAUSED", "LIMIT_REACHED")
OPEN_MAX = 600
STATUS_BATCH = 500
GIVE_UP_S = 90  # without a task that is new, or final
CALM_S = 1.5  # after which a call that nobody answered has had its effect, where no process stands still
FORGED_AT_ONCE = 2
LATE_MAX = 10  # times that such a call is waited for
CREATORS = 32
NO_LEASH = float("inf")
DIRECT_WORKERS = 12
BASE_WORKERS = 4
DOORKEEPERS = 3  # as many services are paused or limited at a time


# Fields of a create: how often, and a value. Held tasks are started by the run in the end.
FEATURES = {
    "start": (0.03, lambda load: False),
    "idempotency_key": (0.3, lambda load: f"key-{load.tokens}"),
    "priority": (0.3, lambda load: load.rng.randrange(10)),
    "delay_s": (0.06, lambda load: round(load.rng.uniform(0.05, 3), 3)),
    "run_at": (0.04, lambda load: iso_of(time.time() * 1000 + load.rng.uniform(-500, 3000))),
    "timeout_s": (0.08, lambda load: load.rng.choice([0.5, 1, 2, 60])),
    "expire_s": (0.05, lambda load: load.rng.choice([0.2, 1, 3, 600])),
    "max_attempts": (0.5, lambda load: load.rng.choice([1, 2, 3, 4])),
    "retry": (0.4, lambda load: {"kind": load.rng.choice(["exponential", "fixed"]), "base_s": 0.2, "max_s": 1, "jitter": 0.2}),
    "tags": (0.1, lambda load: {"colour": load.rng.choice(["red", "blue"])}),
}
# How often tasks are of a service.
SHARES = {"quick": 8, "slow": 3, "flaky": 4, "crash": 3, "tree": 2, "warm": 4, "object": 4, "direct": 3, "base": 2, FOREIGN: 2}
# Not together in one create.
APART = (("delay_s", "run_at"),)


class Known:
    """What the driver knows of a task."""

    __slots__ = ("id", "service", "token", "last", "held", "owned", "removed")

    def __init__(self, task_id, service, token):
        self.id, self.service, self.token = task_id, service, token
        self.last, self.held, self.owned, self.removed = None, False, False, False


class Patience:
    """Over when for so long no fewer tasks were open than ever before and none had begun another attempt; in the end however often
    they do: of some that come and go nothing is to be hoped."""

    def __init__(self, patience_s):
        self.patience_s, self.fewest, self.attempts = patience_s, None, {}
        self.fewer_at = self.moved_at = time.monotonic()

    def is_over(self, open_tasks, now=None):
        now = now or time.monotonic()
        if self.fewest is None or len(open_tasks) < self.fewest:
            self.fewest, self.fewer_at, self.moved_at = len(open_tasks), now, now
        for task in open_tasks.values():
            attempt = (task.last or {}).get("attempt") or 0
            if attempt > self.attempts.get(task.id, 0):
                self.attempts[task.id], self.moved_at = attempt, now
        return now - self.moved_at > self.patience_s or now - self.fewer_at > 3 * self.patience_s


class Load:
    workers = ()

    def __init__(self, world, history, clients, rng, n_tasks):
        self.world, self.history, self.clients, self.rng, self.n_tasks = world, history, clients, rng, n_tasks
        self.services = [*MODULES, *DRIVEN, *([FOREIGN] if world.mode == "cluster" else [])]
        self.open, self.final, self.final_ids = {}, {}, []
        self.removed_ids = deque(maxlen=512)
        self.shut, self.doorkeepers = set(), []  # services that are paused or limited
        self.creates = deque(maxlen=64)  # with a key, to be repeated
        self.ended_runs = deque(maxlen=512)  # (task_id, run_id) of runs that have surely ended
        self.base = asyncio.Queue()
        self.tokens = self.made = 0  # creates begun; tasks that they have surely made
        self.off = set()  # features and actions that the API does not have
        self.fresh = []  # final since the last poll
        self.counts = Counter()
        self.stopping = self.settling = False
        self.moved_at = time.monotonic()
        self.leash = NO_LEASH  # so many tasks may be made: the faults are behind

    # ---- calls

    def client(self):
        return self.rng.choice(self.clients)

    async def call(self, route, body, client=None, **more):
        http, answer = await (client or self.client()).call(route, body, **more)
        if http in (0, None, 503):
            await asyncio.sleep(0.2)
        return http, answer

    def refused_feature(self, answer):
        """Notes what the API says it does not support; true where it says so."""
        message = (answer or {}).get("message", "")
        if "not supported" not in message:
            return False
        for name in FEATURES:
            if name in message or (name == "idempotency_key" and "Idempotency" in message):
                self.off.add(name)
        return True

    # ---- creating

    def new_item(self):
        self.tokens += 1
        (service,) = self.rng.choices(self.services, [SHARES[name] for name in self.services])
        steps = MODULES[service][1] if service in MODULES else ["", "", "fail"]
        item = {"service": service, "condition": {"n": self.tokens, "do": self.rng.choice(steps)}}
        for name, (share, make) in FEATURES.items():
            if name not in self.off and self.rng.random() < share and not any(
                    name in pair and set(pair) & set(item) for pair in APART):
                item[name] = make(self)
        if "run_at" in item and "expire_s" in item or "delay_s" in item and "expire_s" in item:
            del item["expire_s"]
        return item

    def learn(self, item, answer):
        """A task that a create has made."""
        if "task_id" not in answer or answer["task_id"] in self.open or answer["task_id"] in self.final:
            return
        task = Known(answer["task_id"], item["service"], item["condition"]["n"])
        task.held = item.get("start") is False
        self.open[task.id] = task
        self.made += 1
        self.moved_at = time.monotonic()
        if task.service == "base" and not task.held:
            self.base.put_nowait(task)

    async def create(self, item=None, client=None):
        item = item or self.new_item()
        http, answer = await self.call("create_task", {"data": item}, client)
        self.refused_feature(answer)
        if http == 200:
            self.learn(item, answer)
        if item.get("idempotency_key"):
            self.creates.append(item)
        return http

    async def create_bulk(self):
        items = [self.new_item() for _ in range(self.rng.randint(2, 40))]
        http, answer = await self.call("create_task", {"data": items})
        if http != 200:
            self.refused_feature(answer)
            return
        for item, part in zip(items, answer["data"]):
            self.refused_feature(part)
            self.learn(item, part)

    async def create_twice(self):
        """The same key and data at the same time, at any processes; and some earlier one again."""
        if "idempotency_key" in self.off:
            return
        item = self.new_item()
        item["idempotency_key"] = f"key-{self.tokens}"
        await asyncio.gather(*[self.create(item, self.client()) for _ in range(self.rng.randint(2, 4))])

    async def create_again(self):
        if self.creates:
            await self.create(self.rng.choice(list(self.creates)))

    # ---- changing

    def any_open(self):
        return self.open[self.rng.choice(list(self.open))] if self.open else None

    def any_final(self):
        """A final task that has not been removed, as far as one knows. Forgets the others that it meets."""
        while self.final_ids:
            at = self.rng.randrange(len(self.final_ids))
            task = self.final.get(self.final_ids[at])
            if task and not task.removed:
                return task
            self.final_ids[at] = self.final_ids[-1]
            self.final_ids.pop()
        return None

    def any_removed(self):
        return self.final.get(self.rng.choice(self.removed_ids)) if self.removed_ids else None

    async def edit(self):
        task = self.any_open()
        if task and task.service in MODULES:
            await self.call("update_task", {"task_id": task.id, "condition": {
                "n": task.token, "do": self.rng.choice(MODULES[task.service][1])}})

    async def start(self):
        """A final task runs again, or a waiting one is asked to, or a removed one, which must not."""
        (find,) = self.rng.choices((self.any_final, self.any_removed, self.any_open), (60, 10, 30))
        task = find() or self.any_open()
        if task:
            await self.start_one(task)

    async def start_one(self, task):
        body = {"task_id": task.id}
        if task.last and task.last.get("sub_status") == "kill_unconfirmed":
            body["force"] = True
        http, _ = await self.call("start_task", {"data": body} if "force" in body else body)
        if http in (200, None) and task.id in self.final and not task.removed:
            self.open[task.id] = self.final.pop(task.id)
            task.last = None
        if http == 200:
            task.held = False
            if task.service == "base" and not task.owned:
                self.base.put_nowait(task)

    async def cancel(self):
        if "cancel_task" in self.off:
            return
        task = self.any_open()
        if not task:
            return
        body = {"task_id": task.id, "reason": "chaos", "grace_s": self.rng.choice([0, 0.2, 1])}
        http, answer = await self.call("cancel_task", {"data": body})
        if http == 404 and answer.get("code") == "NOT_FOUND":
            self.off.add("cancel_task")

    async def delete(self):
        """A final task is removed; others must not be."""
        (find,) = self.rng.choices((self.any_final, self.any_removed, self.any_open), (75, 10, 15))
        task = find() or self.any_final()
        if task:
            await self.call("delete_task", {"data": {"task_id": task.id}})

    # ---- services

    async def doorkeeper(self):
        """Now and then a service is paused or limited, by one process or by all, and opened again."""
        while not self.settling:
            await asyncio.sleep(self.rng.uniform(0, 0.3))
            (service,) = self.rng.choices(self.services, [SHARES[name] for name in self.services])
            if service in self.shut:
                continue
            self.shut.add(service)
            shut, opened = self.rng.choice((self.pause, self.limit))()
            await asyncio.gather(*[self.gate(service, *shut, client) for client in self.rng.choice([[self.client()], self.clients])])
            await asyncio.sleep(self.rng.uniform(0.2, 1.2))
            await self.open_service(service, *opened)
            self.shut.discard(service)

    def pause(self):
        self.counts["pause"] += 1
        return ("pause_service_task", {}), ("resume_service_task", {})

    def limit(self):
        self.counts["limit"] += 1
        limits = {"max_running": self.rng.randint(1, 4), "max_waiting": self.rng.randint(1, 80)}
        if self.rng.random() < 0.6:
            del limits[self.rng.choice(list(limits))]
        return ("limit_service_task", limits), ("limit_service_task", {name: self.rng.choice([0, None]) for name in limits})

    async def gate(self, service, route, limits, client=None):
        http, _ = await self.call(route, {"data": {"service": service, **limits}}, client)
        return http == 200

    async def open_service(self, service, route, limits):
        while not self.stopping and not await self.gate(service, route, limits):
            pass

    async def open_all(self):
        """No service stays paused or limited: a call that nobody answered may have shut one late."""
        http, answer = await self.call("service_task", {"data": {"detail": True}}, record=False)
        for row in answer["data"] if http == 200 else ():
            if row["paused"]:
                await self.open_service(row["service"], "resume_service_task", {})
            if any(row["limits"].values()):
                await self.open_service(row["service"], "limit_service_task", {"max_running": None, "max_waiting": None})

    # ---- what must change nothing

    async def repeat(self):
        """An update of a consumer once more, as a retry would send it, whatever has happened since."""
        taps = [tap for tap in self.world.taps if tap.updates and tap.name != "foreign"]
        if taps:
            route, body = self.rng.choice(self.rng.choice(taps).updates)
            await self.call(route, body)

    async def forge(self):
        """Words of a run that has ended: they are refused, all of them. Rather of one whose task goes on with another run."""
        if not self.ended_runs:
            return
        ended = [pair for pair in self.ended_runs if pair[0] in self.open] if self.rng.random() < 0.7 else []
        await self.forge_word(*self.rng.choice(ended or list(self.ended_runs)))

    async def forge_at_running(self):
        """The same, of tasks that another run has just now: there a word that is not refused does harm."""
        running = [pair for pair in self.ended_runs if pair[0] in self.open and (self.open[pair[0]].last or {}).get("status") == "running"]
        for pair in self.rng.sample(running, min(FORGED_AT_ONCE, len(running))):
            await self.forge_word(*pair)

    async def forge_word(self, task_id, run_id):
        what = self.rng.choice(["finished", "failed", "waiting", "beat", "running"])
        if what == "beat":
            await self.call("heartbeat_task", {"data": [{"task_id": task_id, "run_id": run_id}]})
            return
        item = {"task_id": task_id, "run_id": run_id, "status": what}
        if what == "finished":
            item["result"] = {"run": run_id, "forged": True}
        await self.call("update_status_task", {"data": item})

    def learn_ended(self):
        """Runs whose final report the API has accepted, from the taps."""
        for tap in self.world.taps:
            for route, body in tap.updates[-20:]:
                items = body.get("data") if isinstance(body.get("data"), list) else [body.get("data") or {}]
                for item in items:
                    if route == "update_status_task" and item.get("status") in FINAL and item.get("run_id"):
                        task = self.final.get(item.get("task_id"))
                        if task:
                            self.ended_runs.append((item["task_id"], item["run_id"]))

    # ---- reading

    async def look_at(self, ids, last=False):
        """Reads statuses; the history keeps those that have changed."""
        data = [{"task_id": task_id} for task_id in ids]
        t0 = time.monotonic_ns()
        http, answer = await self.call("status_task", {"data": data}, record=False)
        if http != 200:
            return False
        t1 = time.monotonic_ns()
        changed = [item for item in answer["status"] if last or self.note(item)]
        if changed:
            self.history.add("call", t0, t1=t1, by="reader", route="status_task",
                             body={"data": [{"task_id": item["task_id"]} for item in changed]}, http=200, answer={"status": changed})
        return True

    def note(self, item):
        """True where the status is another than at the last look."""
        task = self.open.get(item["task_id"]) or self.final.get(item["task_id"])
        if task is None or task.last == item:
            return False
        task.last = item
        if item.get("sub_status") == "removed" and not task.removed:
            task.removed = True
            self.removed_ids.append(task.id)
        if item["status"] in FINAL and task.id in self.open:
            self.final[task.id] = self.open.pop(task.id)
            self.final_ids.append(task.id)
            self.fresh.append(task.id)
            self.moved_at = time.monotonic()
            if item.get("sub_status") == "cancelled":
                self.history.add("look", task=task.id, pids=self.world.live_pids(task.id))
        elif item["status"] not in FINAL and task.id in self.final:
            self.open[task.id] = self.final.pop(task.id)
        return True

    async def poll(self):
        while not self.stopping:
            ids = list(self.open)
            for at in range(0, len(ids), STATUS_BATCH):
                await self.look_at(ids[at:at + STATUS_BATCH])
            finals = [task.id for task in (self.any_final() for _ in range(50)) if task]
            if finals:
                await self.look_at(finals)
                await self.call("result_task", {"data": {"task_id": finals[0]}})
            if self.removed_ids:
                await self.look_at([self.rng.choice(self.removed_ids)], last=True)
            if self.world.retention:  # in the end they will be gone
                await self.read_results(self.fresh)
            self.fresh = []
            self.learn_ended()
            if not self.settling:
                await self.forge_at_running()
            self.adopt_base()
            await asyncio.sleep(0.3)

    async def read_results(self, ids):
        gate = asyncio.Semaphore(32)

        async def read(task_id):
            async with gate:
                await self.call("result_task", {"data": {"task_id": task_id}})
        await asyncio.gather(*[read(task_id) for task_id in ids])

    def adopt_base(self):
        """Tasks of the base service that nobody works on (an answer was lost, or they were found later)."""
        for task in self.open.values():
            if task.service == "base" and not task.owned and task.last and task.last["status"] != "ready":
                task.owned = True
                self.base.put_nowait(task)

    # ---- workers of the driver

    async def direct_worker(self, number):
        while not self.stopping:
            if self.rng.random() < 0.5:
                await self.direct_take()
            else:
                await self.direct_race()

    async def direct_take(self):
        http, answer = await self.call("claim_task", {"data": {"services": ["direct"], "max": 2, "wait_s": 0.3}})
        if http == 200:
            await asyncio.gather(*[self.direct_run(item["Task"]["task_id"], item["run_id"], item["attempt"]) for item in answer["data"]])

    async def direct_race(self):
        """Several runs claim one task at the same moment, at all processes."""
        waiting = [task for task in self.open.values() if task.service == "direct" and not task.held
                   and (task.last is None or task.last["status"] in ("waiting", "ready"))]
        if not waiting:
            await asyncio.sleep(0.1)
            return
        task_id = self.rng.choice(waiting).id
        await asyncio.gather(*[self.direct_claim(task_id, self.clients[number % len(self.clients)])
                               for number in range(self.rng.randint(2, 4))])
        if "direct" in self.shut:
            await asyncio.sleep(0.1)

    async def direct_claim(self, task_id, client):
        run_id = str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
        claim = {"data": {"task_id": task_id, "status": "running", "run_id": run_id}}
        http, answer = await self.call("update_status_task", claim, client)
        if http in (None, 504) and self.rng.random() < 0.7:
            http, answer = await self.call("update_status_task", claim)
        if http == 200:
            await self.direct_run(task_id, run_id, answer["status"].get("attempt"))

    async def direct_run(self, task_id, run_id, attempt):
        """A run without a process: it beats and reports as a consumer would, or is lost and speaks too late."""
        lease_s = self.world.lease_s
        fate = self.rng.choice(["done", "done", "done", "fail", "back", "late", "lost", "both"])
        if self.settling:
            fate = "done"
        until = time.monotonic() + (0 if self.settling else self.rng.choice([0, 0, 0.2, 0.2, 1.5 * lease_s]))
        while time.monotonic() < until:
            http, answer = await self.call("heartbeat_task", {"data": [{"task_id": task_id, "run_id": run_id}]})
            if http == 200 and answer["data"][0].get("code"):
                break
            if http == 200 and answer["data"][0].get("cancel"):
                await self.direct_end(task_id, run_id, {"status": "failed", "cause": "cancelled"})
                return
            await asyncio.sleep(lease_s / 3)
        result = {"run": run_id, "attempt": attempt, "pid": 0}
        done = {"status": "finished", "result": result}
        failed = {"status": "failed", "error": {"class": self.rng.choice(["fatal", "retryable"]), "text": "as told"}}
        if fate == "late":
            await asyncio.sleep(lease_s * self.rng.uniform(1.2, 2))
        if fate == "both":
            await asyncio.gather(self.direct_end(task_id, run_id, done), self.direct_end(task_id, run_id, failed))
        elif fate != "lost":
            await self.direct_end(task_id, run_id, {"fail": failed, "back": {"status": "waiting"}}.get(fate, done))

    async def direct_end(self, task_id, run_id, report):
        body = {"data": {"task_id": task_id, "run_id": run_id, **report}}
        for _ in range(self.rng.choice([1, 2, 20])):
            http, _ = await self.call("update_status_task", body)
            if http == 200 and report["status"] != "waiting":
                self.ended_runs.append((task_id, run_id))
            if http in ANSWERED and self.rng.random() < 0.9:
                return

    async def base_worker(self, number):
        """A module of the base contract: no run_id, and it repeats a report until it is answered."""
        while not self.stopping:
            try:
                task = await asyncio.wait_for(self.base.get(), 0.5)
            except asyncio.TimeoutError:
                continue
            task.owned = True
            code = await self.base_report(task.id, "running") if self.rng.random() < 0.8 else None
            if code not in SHUT or self.rng.random() < 0.3:  # its last word is taken without a claim too
                await asyncio.sleep(self.rng.choice([0, 0.05, 0.5]))
                await self.base_report(task.id, self.rng.choice(["finished", "finished", "failed"]))
            task.owned = False
            task.last = None

    async def base_report(self, task_id, status):
        while not self.stopping:
            http, answer = await self.call("update_status_task", {"data": {"task_id": task_id, "status": status}})
            if http in (*ANSWERED, 429):
                return answer.get("code")
            await asyncio.sleep(0.1)

    # ---- the run

    ACTIONS = ((create, 60), (create_bulk, 3), (create_twice, 4), (create_again, 3), (edit, 4), (start, 4), (cancel, 5),
               (delete, 4), (repeat, 5), (forge, 5))

    async def creator(self):
        actions, weights = zip(*self.ACTIONS)
        while self.made < self.n_tasks and not self.stopping:
            if time.monotonic() - self.moved_at > GIVE_UP_S:
                return  # what does not get on is the checker's to name
            if self.made >= self.leash:
                self.moved_at = time.monotonic()
            if len(self.open) >= OPEN_MAX or self.made >= self.leash:
                await asyncio.sleep(0.05)
                continue
            (action,) = self.rng.choices(actions, weights)
            self.counts[action.__name__] += 1
            await action(self)

    async def run(self):
        """Creates all tasks while the workers work; these go on until finish()."""
        self.workers = [asyncio.ensure_future(self.poll())]
        self.workers += [asyncio.ensure_future(self.direct_worker(number)) for number in range(DIRECT_WORKERS)]
        self.workers += [asyncio.ensure_future(self.base_worker(number)) for number in range(BASE_WORKERS)]
        self.doorkeepers = [asyncio.ensure_future(self.doorkeeper()) for _ in range(DOORKEEPERS)]
        for worker in self.workers + self.doorkeepers:
            worker.add_done_callback(self.complain)
        await asyncio.gather(*[self.creator() for _ in range(CREATORS)])

    def check_workers(self):
        """Without one of them tasks stay open, which is no fault of the service."""
        for worker in self.workers:
            if worker.done():
                worker.result()

    def complain(self, worker):
        if not worker.cancelled() and worker.exception():
            self.history.add("driver", error=repr(worker.exception()))
            raise worker.exception()

    # ---- the end

    async def pages(self):
        """All tasks of the store: (task_id, token, create_time, service, status)."""
        found, after = {}, {}
        while True:  # by cursors, which do not shift when tasks are removed
            http, answer = await self.call("tasks", {"p_size": 1000, **after}, record=False, patience_s=60)
            if http != 200:
                await asyncio.sleep(0.2)
                continue
            for row in answer["data"]:
                token = row["condition"].get("n") if isinstance(row["condition"], dict) else None
                found[row["task_id"]] = (row["task_id"], token, row["create_time"], row["service"], row["status"])
            if not answer["next"]:
                return found
            after = {"after": answer["next"]}

    async def find_open(self):
        """Tasks that are open though nobody knew: those whose creates, or starts, were never answered. How many."""
        found = [row for row in (await self.pages()).values() if row[0] not in self.open and (row[0] not in self.final or row[4] not in FINAL)]
        for task_id, token, _, service, _ in found:
            task = self.open[task_id] = self.final.pop(task_id, None) or Known(task_id, service, token)
            task.last = None
        return len(found)

    async def settle(self, patience_s):
        """All faults are over: waits until every task is final, and stays so for a while: a call that nobody answered may come late."""
        self.settling = True
        await asyncio.gather(*self.doorkeepers)
        await self.open_all()
        await self.find_open()
        patience = Patience(patience_s)
        for _ in range(LATE_MAX):
            while self.open and not patience.is_over(self.open):
                self.check_workers()
                await self.open_all()
                for task in [task for task in self.open.values() if task.last and task.last.get("sub_status") == "held"]:
                    await self.start_one(task)
                await asyncio.sleep(0.2)
            if self.open:
                break
            await asyncio.sleep(CALM_S)
            if not self.open and not await self.find_open():
                break
            patience = Patience(patience_s)
        self.history.add("settled", open=list(self.open))

    async def finish(self):
        """Stops the workers and reads everything once more, for the record."""
        self.stopping = True
        await asyncio.gather(*self.workers, return_exceptions=True)
        t0 = time.monotonic_ns()
        rows = list((await self.pages()).values())
        for at in range(0, len(rows), 1000):
            self.history.add("listed", t0=t0, tasks=[row[:3] for row in rows[at:at + 1000]])
        ids = sorted({*self.open, *self.final, *(row[0] for row in rows)})
        for at in range(0, len(ids), STATUS_BATCH):
            while not await self.look_at(ids[at:at + STATUS_BATCH], last=True):
                await asyncio.sleep(0.1)
        await self.read_results(ids)
