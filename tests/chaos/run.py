"""Behind scripts/chaos: one run in rounds, each with processes and a store of its own; the verdict of the checker.

Exit status: 0 clean; 1 an invariant is broken, or a process ended by itself; 2 a wrong command line; 3 clean, but no fault fell
where one has to, so that the run does not count. Of a mutant: 1 caught; 4 red, but for another reason than the mutant's.
5: the run itself went wrong.
"""
import argparse
import asyncio
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("LONGHAUL_BUILD", str(ROOT / "build-chaos"))

from tests.chaos.checker import check  # noqa: E402
from tests.chaos.faults import Faults, rng_of  # noqa: E402
from tests.chaos.history import History, load  # noqa: E402
from tests.chaos.load import NO_LEASH, Load  # noqa: E402
from tests.chaos.net import Client, Pipe  # noqa: E402
from tests.chaos.world import World  # noqa: E402
from tests.services.services import Kafka, Mongo, install  # noqa: E402
from tests.system.stack import TOKEN  # noqa: E402

# Mutant -> the mode in which it bites first, and what the checker has to say of it.
MUTANTS = {
    "outbox-sweep": ("cluster", r"invariant 1: .* is ready/producing .* at the end"),
    "claim-before-offset": ("cluster", r"invariant 1: .* is waiting/queued .* at the end"),
    "compare-and-set": ("cluster", r"invariant 3: .*(runs have attempt|was accepted .* after run)"),
    "run-fence": ("embedded", r"invariant 3: .*(was accepted .* after run|has the result of attempt)|invariant 5: .* before the lease of run"),
    "service-gate": ("embedded", r"services: .* began (while service|beside)"),
    "final-removal": ("embedded", r"invariant 2: .* was removed while it was|invariant 2: .* had been removed, and"),
    "durable-write": ("embedded", r"invariant 1: .* was answered ok, (later|the list)|invariant 2: .* reported finished, accepted; later"),
}
ROUND_MAX = {"embedded": 20000, "cluster": 10000}
LEASE_S = 2
LEASH, LEASH_S = 0.1, 10  # how far the load may be ahead of the faults, and for how long it waits for one that cannot be brought about
# Where a fault has to have fallen: the windows of which the run says that it has tried them.
WINDOWS = {"insert-produce": ("insert-produce",), "claim-offset": ("claim-answer", "claim-offset")}


def say(text):
    print(text, flush=True)


# ---- servers ---------------------------------------------------------------------------------------------------


class KafkaServer(Kafka):
    survives_kill = survives_restart = True  # what it has acknowledged is with the kernel


class MongoServer(Mongo):
    survives_kill = False  # the stand-in writes to its file later, if at all

    @property
    def survives_restart(self):
        return self.backend == "h2"


class OuterMongo:
    """The server that LONGHAUL_TEST_MONGO_URI names, with commands that stop and start it."""

    survives_kill = survives_restart = True
    external = True

    def __init__(self, uri, args):
        self.args = args
        self.inner = Mongo()
        self.uri, self.parts, self.uri_of = self.inner.uri, self.inner.parts, self.inner.uri_of

    def _run(self, command):
        subprocess.run(command, shell=True, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=180)

    def kill9(self):
        self._run(self.args.mongo_kill)

    def halt(self):
        self._run(self.args.mongo_stop)

    def restart(self):
        self._run(self.args.mongo_start)

    def stop(self):
        pass


class Servers:
    """Kafka and MongoDB of the cluster mode, each behind a pipe, for all rounds."""

    def __init__(self, folder, loop, args):
        self.kafka_pipe, self.mongo_pipe = self._pipe(loop), self._pipe(loop)
        uri = os.environ.get("LONGHAUL_TEST_MONGO_URI")
        self.mongo = OuterMongo(uri, args) if uri else MongoServer(folder / "mongo", backend=args.stand_in)
        self.mongo_pipe.upstream = self.mongo.parts["port"]
        self.kafka = KafkaServer(folder / "kafka", advertised=self.kafka_pipe.port)
        self.kafka_pipe.upstream = self.kafka.ports["plain"]

    @staticmethod
    def _pipe(loop):
        return asyncio.run_coroutine_threadsafe(Pipe(None).open(), loop).result()

    def faulty(self, args):
        """Those that faults may stop and kill."""
        found = {"kafka": self.kafka}
        if not self.mongo.external:
            found["mongo"] = self.mongo
        elif args.mongo_start and args.mongo_stop and args.mongo_kill:
            found["mongo"] = self.mongo
        return found

    def stop(self):
        self.kafka.stop()
        self.mongo.stop()


def clocks():
    """Both clocks at one moment, in ns and in ms: of many looks the one in which we stood still the least."""
    looks = []
    for _ in range(20):
        before, wall, after = time.monotonic_ns(), time.time() * 1000, time.monotonic_ns()
        looks.append((after - before, before, wall))
    return min(looks)[1:]


# ---- a round ---------------------------------------------------------------------------------------------------


class Round:
    """One world under load and faults. The thread that calls run() owns its processes; the load lives on the loop."""

    def __init__(self, folder, number, n_tasks, n_faults, args, loop, servers):
        self.folder, self.number, self.n_tasks, self.n_faults = folder, number, n_tasks, n_faults
        self.args, self.loop, self.servers = args, loop, servers
        folder.mkdir(parents=True)
        self.history = History(folder)
        self.world = self.load = self.faults = None

    def run(self):
        args, cluster = self.args, self.args.mode == "cluster"
        retention = self._retention()
        t, wall = clocks()
        self.history.add("begin", t, wall=wall, seed=args.seed, round=self.number, mode=args.mode, lease_ms=LEASE_S * 1000,
                         mutant=args.mutant, retention_ms=retention and {name[:-2]: s * 1000 for name, s in retention.items()})
        more = {"mongo": self.servers.mongo, "kafka": self.servers.kafka, "mongo_pipe": self.servers.mongo_pipe,
                "kafka_pipe": self.servers.kafka_pipe, "apis": 2} if cluster else {}
        self.world = World(self.folder, self.loop, self.history, mode=args.mode, lease_s=LEASE_S, mutant=args.mutant, retention=retention, **more)
        try:
            self._work()
        finally:
            self.world.end()
            self.history.close()

    def _retention(self):
        """Every other round removes what has ended soon after; in the others everything is still there to be compared in the end."""
        if self.number % 2 or self.args.mutant:
            return None
        rng = rng_of(self.args.seed, self.number, "retention")
        return {name: round(rng.uniform(5, 30), 2) for name in ("finished_s", "failed_s")}

    def _work(self):
        args = self.args
        clients = [Client(self.history, number, api.host_port[1], TOKEN) for number, api in enumerate(self.world.apis)]
        self.load = Load(self.world, self.history, clients, rng_of(args.seed, self.number, "load"), self.n_tasks)
        self.faults = Faults(self.world, self.history, rng_of(args.seed, self.number, "faults"),
                             self.servers.faulty(args) if self.servers else {})
        self.faults.clients = clients
        running = asyncio.run_coroutine_threadsafe(self.load.run(), self.loop)
        self._strike(running)
        running.result()
        self._wait(2)
        self.faults.mend()
        self._watch(self.load.settle(args.patience))
        self._watch(self.load.finish())

    def _watch(self, coroutine):
        """A process that passed its fault point before all was mended may do what it was told only now."""
        work = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        while not work.done():
            self._wait(0.1)
        work.result()

    def _wait(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.faults.tick()
            time.sleep(0.05)

    def _strike(self, running):
        """Each fault when the share of the tasks that is its own has been created. The load does not run far ahead of them: a fault
        after the last create falls into no window."""
        plan, rng = self.faults.plan(self.n_faults), rng_of(self.args.seed, self.number, "when")
        times = sorted(self.n_tasks * rng.uniform(0.02, 0.98) for _ in plan)
        told = struck = time.monotonic()
        while not running.done():
            if time.monotonic() - told > 10:
                told = time.monotonic()
                self._progress()
            due = bool(plan) and self.load.made >= times[0]
            if due and self.faults.strike(plan[0]):
                plan.pop(0)
                times.pop(0)
                due = False
            elif due:
                plan.append(plan.pop(0))  # its target is busy: another first
            struck = struck if due else time.monotonic()
            held = plan and time.monotonic() - struck < LEASH_S
            self.load.leash = times[0] + LEASH * self.n_tasks if held else NO_LEASH
            self._wait(0.1)
        for row in plan:
            if self.faults.strike(row):
                self._wait(0.3)

    def _progress(self):
        load = self.load
        say(f"  round {self.number}: {load.made} of {self.n_tasks} created, {len(load.open)} open, {len(load.final)} final, "
            f"{len(self.faults.done)} faults")

    def verdict(self):
        return check(load(self.folder))


# ---- the run ---------------------------------------------------------------------------------------------------


class Run:
    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        self.statuses, self.faults, self.windows, self.actions = Counter(), Counter(), Counter(), Counter()
        self.overlaps = self.tasks = self.calls = 0
        self.problems, self.off = [], set()

    def add(self, played, verdict):
        self.statuses += verdict.statuses
        self.tasks += sum(verdict.statuses.values())
        self.calls += verdict.book.counts["calls"]
        self.faults += Counter(played.faults.done)
        self.windows += verdict.windows()
        self.actions += played.load.counts
        self.overlaps += len(verdict.book.overlaps)
        self.off |= played.load.off
        self.problems += [f"round {played.number}: {death}" for death in played.faults.deaths]
        self.problems += [f"round {played.number}: {violation}" for violation in verdict.violations]
        for task_id in list(dict.fromkeys(violation.task for violation in verdict.violations))[:3]:
            if task_id:
                self.problems.append("\n".join([f"round {played.number}: history of {task_id}", *verdict.story(task_id)]))

    def missed(self):
        """The windows in which no fault fell."""
        return [window for window, points in WINDOWS.items() if not any(self.windows[point] for point in points)]

    def summary(self, seconds):
        def table(counter):
            return ", ".join(f"{name} {n}" for name, n in sorted(counter.items(), key=lambda pair: -pair[1])) or "none"
        say(f"seed {self.args.seed}, {self.args.mode}{f', mutant {self.args.mutant}' if self.args.mutant else ''}: {self.tasks} tasks, "
            f"{self.calls} calls, {sum(self.faults.values())} faults in {seconds:.0f} s")
        say(f"tasks     {table(self.statuses)}")
        say(f"faults    {table(self.faults)}")
        say(f"windows   {table(self.windows)}")
        say(f"actions   {table(self.actions)}")
        say(f"overlaps  {self.overlaps} (a run that had lost its lease went on while the next one ran)")
        if self.off:
            say(f"not supported by this version: {', '.join(sorted(self.off))}")
        for problem in self.problems[:40]:
            say(problem)
        if len(self.problems) > 40:
            say(f"... and {len(self.problems) - 40} more")

    def caught(self):
        """What the mutant was caught by, or None."""
        return next((problem for problem in self.problems if re.search(MUTANTS[self.args.mutant][1], problem)), None)

    def status(self):
        if self.problems and self.args.mutant:
            caught = self.caught()
            say(f"CAUGHT after {self.tasks} tasks: {caught}" if caught else "RED, but not as this mutant has to be")
            return 1 if caught else 4
        if self.problems:
            say("RED: an invariant is broken")
            return 1
        if self.missed():
            say(f"DOES NOT COUNT: no fault fell in: {', '.join(self.missed())}")
            return 3
        say("CLEAN: all six invariants and the rules of services hold")
        return 0


def parts_of(total, most):
    """Sizes of the rounds that a total is done in."""
    n = max(1, -(-total // most))
    return [total // n + (number < total % n) for number in range(n)]


def play(args, folder, loop):
    """All rounds; on the thread that owns the processes."""
    run, began, servers = Run(args, folder), time.monotonic(), None
    sizes = parts_of(args.tasks, args.round or ROUND_MAX[args.mode])
    faults = parts_of(args.faults, -(-args.faults // len(sizes))) if args.faults else [0]
    try:
        if args.mode == "cluster":
            install()
            servers = Servers(folder, loop, args)
        for number, size in enumerate(sizes):
            played = Round(folder / f"round{number}", number, size, faults[number] if number < len(faults) else 0, args, loop, servers)
            played.run()
            run.add(played, played.verdict())
            if run.caught() if args.mutant else run.problems:
                break
            if not args.keep:
                shutil.rmtree(played.folder, ignore_errors=True)  # a module that outlives its consumer for a moment may write there
    finally:
        if servers:
            servers.stop()
    run.summary(time.monotonic() - began)
    return run.status()


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/chaos", description="A load under faults, and whether the six invariants hold.")
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--faults", type=int, default=25)
    parser.add_argument("--seed", type=int, help="default: a new one, which is printed")
    parser.add_argument("--mode", choices=list(ROUND_MAX), help="default: embedded, or what the mutant needs")
    parser.add_argument("--mutant", choices=MUTANTS, help="leave this rule out: the run has to turn red")
    parser.add_argument("--keep", metavar="DIR", help="keep histories and logs there; without it they stay only if the run is red")
    parser.add_argument("--stand-in", choices=["memory", "h2"], default="memory",
                        help="where the stand-in for MongoDB keeps its data; h2 outlives a restart and is slow")
    parser.add_argument("--round", type=int, help="most tasks in one store; then a new one is begun")
    parser.add_argument("--patience", type=float, default=45, help="seconds without progress after which open tasks are lost")
    for name in ("start", "stop", "kill"):
        parser.add_argument(f"--mongo-{name}", metavar="COMMAND", help=f"how to {name} the server of LONGHAUL_TEST_MONGO_URI")
    args = parser.parse_args()
    args.mode = args.mode or (MUTANTS[args.mutant][0] if args.mutant else "embedded")
    args.seed = random.randrange(1 << 32) if args.seed is None else args.seed
    return args


def main():
    args = arguments()
    folder = Path(args.keep or tempfile.mkdtemp(prefix="longhaul-chaos-")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    say(f"chaos: {args.mode}, {args.tasks} tasks, {args.faults} faults, seed {args.seed}, in {folder}")
    # The main thread owns the processes, which die with it; the loop has a thread of its own.
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    status = 5
    try:
        status = play(args, folder, loop)
    except Exception:
        traceback.print_exc()
    finally:
        if status == 0 and not args.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            say(f"histories and logs: {folder}")
        loop.call_soon_threadsafe(loop.stop)
    return status


if __name__ == "__main__":
    sys.exit(main())
