"""The faults: a table of what can be done to whom, and a seeded schedule of them.

A fault acts at once and names its end, which the schedule brings about later. A process that has a fault is left alone by others
until that one is over.
"""
import heapq
import json
import os
import random
import signal
import time
from collections import Counter

KILL = signal.SIGKILL
UP_S = 90  # until a program that was started again has to be ready, at the latest
AGAIN = object()  # says of an end that it is not over yet


class Start:
    """A program's new start, as the function of an end. It waits for nobody: what the program needs may be away until another
    fault is over, and a fault point may have stopped it meanwhile. An API comes with the faults of its store, if any."""

    def __init__(self, faults, program, plan=None, anew=False):
        self.faults, self.program, self.plan, self.anew, self.until = faults, program, plan, anew, None

    def __call__(self):
        program = self.program
        if self.anew and program.alive():
            program.kill(KILL)
        self.anew = False
        if self.until is None and program.alive():
            return None  # by another end
        if self.until is not None and program.find(msg="ready"):
            program.ready()
            return None
        assert self.until is None or time.monotonic() < self.until, f"{program.name} does not come up: {program.text()[-2000:]}"
        if not program.alive():
            self.start()
        return AGAIN

    def start(self):
        world, program = self.faults.world, self.program
        if self.until is None:
            self.until = time.monotonic() + UP_S
        else:
            self.plan = None  # which may have ended it before it was ready
        if program in world.apis:
            program.command = program.command[:3] + (["--store-fault", self.plan] if self.plan else [])
            self.faults.history.add("born", api=world.apis.index(program))
        program.start()


class Faults:
    """Runs on the thread that owns the processes (they die with it)."""

    def __init__(self, world, history, rng, servers):
        self.world, self.history, self.rng, self.servers = world, history, rng, servers
        self.ends = []  # heap of (when, number, target, function, record)
        self.busy = Counter()  # target -> its faults; one that is restarted may pass a fault point
        self.number = self.hits_seen = 0
        self.done = []  # kinds
        self.deaths = []  # processes that ended and nobody had killed them

    # ---- bookkeeping

    def free(self, targets):
        names = [target for target in targets if not self.busy[target]]
        return self.rng.choice(names) if names else None

    def later(self, target, seconds, function, **record):
        self.number += 1
        self.busy[target] += 1
        record = {"t0": time.monotonic_ns(), "target": str(target), **record}
        heapq.heappush(self.ends, (time.monotonic() + seconds, self.number, target, function, record))

    def tick(self, everything=False):
        """Ends what is over, obeys fault points that were hit, notices processes that died."""
        due, now = [], time.monotonic()
        while self.ends and (everything or self.ends[0][0] <= now):
            due.append(heapq.heappop(self.ends))
        for _, number, target, function, record in due:
            self.end(number, target, function, record)
        # What is dead or stopped now has noted its hit before: the other way round one between the two looks like one of its own.
        dead = [program for program in self.world.programs() if not program.alive()]
        stopped = [program for program in self.world.programs() if is_stopped(program.pid)]
        self.see_hits()
        self.see_deaths(dead)
        self.see_stopped(stopped)

    def end(self, number, target, function, record):
        if function() is AGAIN:
            heapq.heappush(self.ends, (time.monotonic() + 0.1, number, target, function, record))
            return
        self.busy[target] -= 1
        self.history.add("fault", record.pop("t0"), t1=time.monotonic_ns(), **record)

    def see_hits(self):
        hits = self.world.hits()
        for line in hits[self.hits_seen:]:
            hit = read_hit(line)
            program = hit and self.by_pid(hit["pid"])
            if not program:
                continue
            if hit["order"] == "kill":
                program.kill(KILL)  # it may have been stopped just before it did it itself
                self.later(program.name, self.rng.uniform(0, 1), Start(self, program), kind=f"{hit['point']} kill")
            elif hit["order"] == "stop":
                self.later(program.name, self.world.lease_s * self.rng.uniform(0.3, 2), lambda program=program: resume(program),
                           kind=f"{hit['point']} stop")
        self.hits_seen = len(hits)

    def by_pid(self, pid):
        return next((program for program in self.world.programs() if program.pid == pid), None)

    def see_deaths(self, dead):
        for program in dead:
            if program.alive() or self.busy[program.name]:
                continue
            status = program.process.returncode
            if status == -KILL and "--store-fault" in program.command:
                self.done.append("store kill")
            else:
                self.deaths.append(f"{program.name} ended by itself with {status}: {program.text()[-1500:]}")
            self.later(program.name, 0, Start(self, program), kind="store kill")

    def see_stopped(self, stopped):
        """One that passed a point, stood still before it stopped itself, and was resumed too early."""
        for program in stopped:
            if not self.busy[program.name]:
                resume(program)

    # ---- processes

    def programs_of(self, what):
        return {"api": self.world.apis, "consumer": self.world.consumers}[what]

    def pick(self, what):
        name = self.free([program.name for program in self.programs_of(what) if program.alive()])
        return next((program for program in self.programs_of(what) if program.name == name), None)

    def kill(self, what):
        program = self.pick(what)
        if program:
            program.kill(KILL)
            self.later(program.name, self.rng.choice([0, 0.3, 1, 1.5 * self.world.lease_s]), Start(self, program),
                       kind=f"kill {what}")
        return program

    def restart(self, what):
        program = self.pick(what)
        if program:
            program.terminate()
            self.later(program.name, self.rng.uniform(1, 2.5), Start(self, program, anew=True), kind=f"restart {what}")
        return program

    def stop(self, what, leases=(0.1, 0.7), how="stop"):
        program = self.pick(what)
        if program:
            program.pause()
            self.later(program.name, self.world.lease_s * self.rng.uniform(*leases), lambda: resume(program), kind=f"{how} {what}")
        return program

    def stop_long(self, what):
        return self.stop(what, (1.5, 3), "stop beyond the lease")

    def store(self, _):
        """An API whose store fails, hangs, lies or kills it at calls to come."""
        program = self.pick("api")
        if not program:
            return None
        plan, at = [], 0
        for _ in range(self.rng.randint(3, 8)):
            at += self.rng.randint(5, 60)
            fault = self.rng.choice(["unavailable", "unknown", "lost", "delay:200", "delay:900"])
            plan.append(f"{self.rng.choice(['apply', 'apply', 'query'])}:{at}={fault}")
        if self.rng.random() < 0.5:
            plan.append(f"apply:{at + self.rng.randint(5, 60)}={self.rng.choice(['kill', 'kill-after'])}")
        plan = ",".join(rule for rule in plan if not rule.startswith("query") or "lost" not in rule)
        program.kill(KILL)
        self.later(program.name, 0.1, Start(self, program, plan), kind="store faults", plan=plan)
        return program

    def child(self, what):
        """kill -9 of a supervisor or of a module's process."""
        found = []
        for consumer in self.world.consumers:
            if consumer.alive():
                for runner in children(consumer.pid):
                    found += [runner] if what == "runner" else children(runner)
        if not found:
            return None
        pid = self.rng.choice(found)
        try:
            os.kill(pid, KILL)
        except ProcessLookupError:
            return None
        self.history.add("fault", kind=f"kill {what}", target=str(pid), t1=time.monotonic_ns())
        return pid

    # ---- connections

    def cut(self, what):
        if what == "client":
            for client in self.clients:
                self.world.tell_loop(client.cut)
        elif what == "consumer":
            self.world.tell_loop(self.rng.choice(self.world.taps).cut)
        else:
            self.world.tell_loop(self.pipe_of(what).cut)
        self.history.add("fault", kind=f"cut {what}", target=what, t1=time.monotonic_ns())
        return what

    def pipe_of(self, what):
        return {"mongo": self.world.mongo_pipe, "kafka": self.world.kafka_pipe}[what]

    def freeze(self, what):
        pipe = self.rng.choice(self.world.taps) if what == "consumer" else self.pipe_of(what)
        target = f"pipe {pipe.port}"
        if self.busy[target]:
            return None
        self.world.tell_loop(pipe.freeze)

        def back():
            self.world.tell_loop(pipe.thaw)
            if self.rng.random() < 0.5:
                self.world.tell_loop(pipe.cut)
        self.later(target, self.world.lease_s * self.rng.choice([0.3, 0.8, 1.6]), back, kind=f"freeze {what}")
        return pipe

    def spoil(self, what):
        tap = self.rng.choice(self.world.taps)
        route = self.rng.choice(["update_status_task", "update_status_task", "heartbeat_task", "claim_task"])
        for _ in range(self.rng.randint(1, 4)):
            self.world.tell_loop(tap.spoil, what, route)
        self.history.add("fault", kind=f"lose {what}", target=f"{tap.name} {route}", t1=time.monotonic_ns())
        return tap

    # ---- servers

    def server_stop(self, what):
        server = self.servers[what]
        if self.busy[what]:
            return None
        server.pause()
        self.later(what, self.world.lease_s * self.rng.choice([0.4, 1.5]), server.resume, kind=f"stop {what}")
        return server

    def server_restart(self, what):
        server = self.servers[what]
        if self.busy[what]:
            return None
        server.halt()
        self.later(what, self.rng.uniform(0.2, 2), server.restart, kind=f"restart {what}")
        return server

    def server_kill(self, what):
        server = self.servers[what]
        if self.busy[what]:
            return None
        server.kill9()
        self.later(what, self.rng.uniform(0.2, 2), server.restart, kind=f"kill {what}")
        return server

    # ---- points

    def point(self, what):
        point, _, order = what.partition(" ")
        self.world.arm(point, order)
        return point

    # kind, its argument, weight, mode (None: both)
    TABLE = (
        (kill, "api", 3, None), (kill, "consumer", 3, None),
        (restart, "api", 2, None), (restart, "consumer", 2, None),
        (stop, "api", 2, None), (stop_long, "api", 2, None), (stop, "consumer", 2, None), (stop_long, "consumer", 4, None),
        (store, "api", 3, None), (child, "runner", 1, None), (child, "module", 2, None),
        (cut, "client", 2, None), (cut, "consumer", 3, None), (freeze, "consumer", 2, None),
        (spoil, "request", 2, None), (spoil, "answer", 4, None),
        (point, "insert-produce kill", 3, None), (point, "insert-produce stop", 1, None),
        (point, "claim-answer kill", 2, None), (point, "claim-offset kill", 3, None), (point, "claim-offset stop", 2, None),
        (point, "claim-offset delay 700", 1, None), (point, "end-answer kill", 2, None),
        (point, "remove-answer kill", 2, None), (point, "service-answer kill", 1, None), (point, "tombstone-remove kill", 2, "cluster"),
        (point, "tombstone-remove delay 700", 1, "cluster"),
        (cut, "mongo", 3, "cluster"), (freeze, "mongo", 2, "cluster"), (server_stop, "mongo", 2, "cluster"),
        (server_restart, "mongo", 1, "cluster"), (server_kill, "mongo", 2, "cluster"),
        (cut, "kafka", 2, "cluster"), (freeze, "kafka", 1, "cluster"), (server_stop, "kafka", 1, "cluster"),
        (server_restart, "kafka", 0.5, "cluster"), (server_kill, "kafka", 0.5, "cluster"),
    )
    # In every run, whatever the seed.
    ALWAYS = ("insert-produce kill", "claim-offset kill", "claim-answer kill", "end-answer kill", "insert-produce kill",
              "claim-offset stop")

    # What a server has to bear, or to offer.
    NEEDS = {server_stop: "pause", server_restart: "survives_restart", server_kill: "survives_kill"}

    def possible(self, row):
        act, what, _, mode = row
        return mode in (None, self.world.mode) and (act not in self.NEEDS or getattr(self.servers.get(what), self.NEEDS[act], False))

    def plan(self, n):
        """The run's faults, in order."""
        rows = [row for row in self.TABLE if self.possible(row)]
        always = [row for name in self.ALWAYS for row in rows if row[1] == name]
        chosen = (always + [row for row in rows if row[:2] == (Faults.stop_long, "consumer")] * 2)[:n]
        chosen += self.rng.choices(rows, [row[2] for row in rows], k=max(0, n - len(chosen)))
        self.rng.shuffle(chosen)
        return chosen

    def strike(self, row):
        """Does one fault; False where its target has one already, or there is none."""
        act, what = row[:2]
        if act(self, what) is None:
            return False
        self.done.append(f"{act.__name__} {what}")
        return True

    def mend(self):
        """Everything runs again, and stays."""
        self.world.disarm()
        self.end_all()
        for program in self.world.programs():
            resume(program)
        for api in self.world.apis:
            if "--store-fault" in api.command:
                self.later(api.name, 0, Start(self, api, anew=True), kind="no more store faults")
        self.end_all()

    def end_all(self):
        """Until no fault is left, nor one of a program that passed a point, or died, just now. One that dies again and again is red anyway."""
        until = time.monotonic() + 2 * UP_S
        while True:
            self.tick(everything=True)
            if not self.ends and all(program.alive() for program in self.world.programs()):
                return
            if self.deaths and time.monotonic() > until:
                return
            time.sleep(0.05)


def resume(program):
    if program.alive():
        program.resume()


def is_stopped(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def read_hit(line):
    """A hit, or None: behind the rest of a line whose process was killed while it wrote there is a whole one."""
    try:
        return json.loads(line[line.rindex("{"):])
    except ValueError:
        return None


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def rng_of(seed, *names):
    return random.Random(f"{seed} {' '.join(map(str, names))}")
