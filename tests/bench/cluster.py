"""What is ours in cluster mode: CPU, round trips and rates over a MongoDB server and a Kafka, beside a bare loop in C that
writes the same documents and messages. The rates are the servers' more than ours; only ratios of one run count."""
import copy
import os
import secrets
import shutil
import statistics
import struct
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

from tests.bench import table
from tests.bench.stack import BenchError, Server, Stack, children_of, many_tasks, one_task

COLLECTION = "dev_task"
PARTITIONS = 4
LOOK_S = 0.5  # a look counts tasks on the server
SETTLE_S = 120
COUNTS = {"rounds": 2, "create": 3000, "bulk": 5000, "pair": 4000, "drain": 4000, "slots": 64}
QUICK = {"rounds": 1, "create": 1500, "bulk": 2000, "pair": 1500, "drain": 1500, "slots": 64}
TICKS = os.sysconf("SC_CLK_TCK")
# Of the Kafka protocol; others are shown by their number.
KAFKA_NAMES = {0: "Produce", 1: "Fetch", 2: "ListOffsets", 3: "Metadata", 8: "OffsetCommit", 9: "OffsetFetch", 10: "FindCoordinator",
               11: "JoinGroup", 12: "Heartbeat", 13: "LeaveGroup", 14: "SyncGroup", 18: "ApiVersions", 22: "InitProducerId"}


# ---- what is read while it runs ----


def own_cpu_s(pid):
    """Of one process, exactly: the sum over its threads, where none of them has ended."""
    ticks = sum(map(int, stat_of(pid)[11:13])) / TICKS
    exact = 0
    for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            exact += int(file.read_text().split()[0])
        except OSError:
            pass  # it has just ended
    return max(ticks, exact / 1e9)


def stat_of(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_s(pid):
    """Of a process and all its children, those that have ended among them."""
    total = 0
    for each in [pid, *children_of(pid)]:
        try:
            total += own_cpu_s(each) + sum(map(int, stat_of(each)[13:15])) / TICKS
        except OSError:
            pass  # it has just ended
    return total


def busy_s():
    """Of all cores."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8])
    return (user + nice + system + irq + softirq) / TICKS


class Counts:
    """What bench_count.so has counted in one of our processes."""

    def __init__(self, file):
        data = file.read_bytes()
        _, _, mongo_out, kafka_out, _, _, mongo_in, kafka_in = struct.unpack_from("<8q", data)
        self.bytes = {"mongo_out": mongo_out, "mongo_in": mongo_in, "kafka_out": kafka_out, "kafka_in": kafka_in}
        self.kafka = {KAFKA_NAMES.get(api, str(api)): n for api, n in enumerate(struct.unpack_from("<128q", data, 64)) if n}
        self.mongo = {}
        for name, n in struct.iter_unpack("<24sq", data[64 + 128 * 8:]):
            if n:
                self.mongo[name.split(b"\0", 1)[0].decode()] = n


def difference(after, before):
    return {name: n - before.get(name, 0) for name, n in after.items() if n != before.get(name, 0)}


def added(to, more):
    for name, n in more.items():
        to[name] = to.get(name, 0) + n
    return to


def per_thousand(numbers, tasks):
    return {name: round(n * 1000 / tasks, 1) for name, n in sorted(numbers.items(), key=lambda item: -item[1])}


class Servers:
    """Where MongoDB and Kafka are, and which processes they are, as far as that is known."""

    def __init__(self, bench, uri, brokers, pids):
        self.bench, self.uri, self.brokers, self.pids = bench, uri, brokers, pids
        self.mongo_port = urllib.parse.urlsplit(uri).port or 27017
        self.kafka_port = int(brokers.rsplit(":", 1)[1])

    def cpu(self):
        return {name: sum(map(cpu_s, pids)) for name, pids in self.pids.items()}


class Cluster(Stack):
    """An API over a database and a topic of their own; both go with it. `beside`: one more over those of another."""

    def __init__(self, servers, beside=None, slots=None):
        self.servers_of = servers
        self.name = beside.name if beside else f"bench_{secrets.token_hex(4)}"
        self.owner = beside is None
        super().__init__(servers.bench, "warm", slots=slots or COUNTS["slots"], store="mongodb", broker="kafka", service=["bench"],
                         source_db={"bench": {"source_name": "", "topic_name": self.name, "consumer_id": f"c_{self.name}"}},
                         mq_conf={"bootstrap_servers": [servers.brokers],
                                  "create_topics": {"partitions": PARTITIONS, "replication_factor": 1}},
                         TEST={"MONGO_URI": servers.uri, "MONGO_DBNAME": self.name})

    def start(self, name):
        """With what it says to the servers counted."""
        counted = copy.copy(self.bench)
        counted.env = {**self.bench.env, "LD_PRELOAD": str(self.bench.build / "tests/bench/bench_count.so"),
                       "BENCH_COUNT_FILE": str(self.folder / f"{name}.count"),
                       "BENCH_COUNT_MONGO": str(self.servers_of.mongo_port), "BENCH_COUNT_KAFKA": str(self.servers_of.kafka_port)}
        server = Server(counted, name, self.folder)
        self.servers.append(server)
        return server.ready()

    def counts(self, name="api"):
        return Counts(self.folder / f"{name}.count")

    def __exit__(self, *more):
        super().__exit__(*more)
        if self.owner:
            self.bench.tool("bench_bulk", "drop", self.servers_of.uri, self.name, self.servers_of.brokers, self.name)

    def settle(self):
        """Until every message is delivered and noted."""
        end = time.monotonic() + SETTLE_S
        while self.total("ready"):
            if time.monotonic() > end:
                raise BenchError(f"{self.total('ready')} tasks are not delivered after {SETTLE_S} s")
            time.sleep(0.1)

    def bare(self, batch, count, *more):
        return self.bench.tool("bench_bulk", "run", self.servers_of.uri, self.name, COLLECTION, self.servers_of.brokers, self.name,
                               batch, count, *more)


class Model:
    """A database with our indexes and one task of ours, whose API is gone: the bare loop's."""

    def __init__(self, servers):
        self.stack = Cluster(servers)

    def __enter__(self):
        self.stack.__enter__()
        self.stack.call("create_task", one_task())
        self.stack.settle()
        self.stack.servers.pop().stop()
        return self.stack

    def __exit__(self, *more):
        self.stack.__exit__(*more)


class Meter:
    """CPU and messages from its making to done(), of stacks and the servers."""

    def __init__(self, servers, *stacks):
        self.servers, self.stacks = servers, stacks
        self.before = self.read()

    def read(self):
        cpu = self.servers.cpu()
        counts = {}  # (program, what) -> numbers, of all processes of that program
        for stack in self.stacks:
            for server in stack.servers:
                own = own_cpu_s(server.process.pid)
                added(cpu, {server.name: own})
                if server.name == "consumer":
                    cpu["modules"] = cpu_s(server.process.pid) - own
                seen = stack.counts(server.name)
                for what in ("mongo", "kafka", "bytes"):
                    added(counts.setdefault((server.name, what), {}), getattr(seen, what))
        return {"at": time.monotonic(), "busy": busy_s(), "cpu": cpu, "counts": counts}

    def done(self, tasks):
        """In microseconds per task, messages per 1000 tasks, bytes per task, and shares of all cores."""
        after, before = self.read(), self.before
        wall = (after["at"] - before["at"]) * os.cpu_count()
        cpu = {name: s - before["cpu"].get(name, 0) for name, s in after["cpu"].items()}
        line = {"cpu_us": {name: round(s * 1e6 / tasks, 1) for name, s in cpu.items()},
                "share": {name: round(s / wall, 3) for name, s in cpu.items()}}
        line["share"]["all"] = round((after["busy"] - before["busy"]) / wall, 3)
        for (name, what), numbers in after["counts"].items():
            if numbers := difference(numbers, before["counts"][name, what]):
                if what == "bytes":
                    line[f"{name}_bytes"] = {way: round(n / tasks) for way, n in numbers.items()}
                else:
                    line[f"{name}_{what}_per_1000"] = per_thousand(numbers, tasks)
        return line


# ---- creates ----


def tasks_per_insert(line):
    return max(1, round(1000 / line["api_mongo_per_1000"]["insert"]))


def create_round(servers, stack, size, connections, count):
    """One round of ours, until the last answer; the meter until the last message is noted."""
    meter = Meter(servers, stack)
    begun = time.monotonic()
    body = one_task() if size == 1 else many_tasks(size)
    line = stack.load("/api/create_task", connections, max(count // size, connections), body)
    stack.settle()
    settled_s = time.monotonic() - begun
    tasks = line["count"] * size
    return {"size": size, "connections": connections, "tasks": tasks, "per_s": round(tasks / line["s"], 1),
            "settled_per_s": round(tasks / settled_s, 1), "p50_ms": line["p50_ms"], "p99_ms": line["p99_ms"], **meter.done(tasks)}


def bare_round(servers, model, batch, count, *more):
    meter = Meter(servers)
    line = model.bare(batch, count, *more)
    own_us = line.pop("cpu_us")
    done = meter.done(count)
    done["cpu_us"]["loop"] = own_us
    return {**line, **done}


def measure_creates(servers, counts):
    for size, connections, count in ((1, 64, counts["create"]), (100, 4, counts["bulk"]), (500, 4, counts["bulk"])):
        with Cluster(servers) as stack, Model(servers) as model:
            for _ in range(counts["rounds"]):
                ours = create_round(servers, stack, size, connections, count)
                batch = tasks_per_insert(ours)
                bare = bare_round(servers, model, batch, count)
                marked = bare_round(servers, model, batch, count, "mark")
                servers.bench.emit("cluster create", **ours, batch=batch, bare_per_s=bare["per_s"],
                                   share_of_bare=round(ours["settled_per_s"] / bare["per_s"], 3), marked_per_s=marked["per_s"],
                                   share_of_marked=round(ours["settled_per_s"] / marked["per_s"], 3))
                for line in (bare, marked):
                    servers.bench.emit("cluster bare", size=size, **line)


# ---- two of each ----


def at_once(commands, env, count):
    """Runs all together; the rate of all, until the slowest ends."""
    begun = time.monotonic()
    running = [subprocess.Popen([str(part) for part in command], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
               for command in commands]
    if any([process.wait() for process in running]):
        raise BenchError(f"{Path(commands[0][0]).name} failed")
    return round(len(commands) * count / (time.monotonic() - begun), 1)


def pair_round(servers, stacks, connections, count):
    tools = servers.bench.build / "tests/bench"
    each = count // len(stacks)
    meter = Meter(servers, *stacks)
    per_s = at_once([[tools / "bench_http", stack.host, stack.port, "/api/create_task", connections, each, one_task()]
                     for stack in stacks], servers.bench.env, each)
    stacks[0].settle()
    return {"apis": len(stacks), "connections": connections * len(stacks), "tasks": each * len(stacks), "per_s": per_s,
            **meter.done(each * len(stacks))}


def bare_pair_round(servers, model, loops, batch, count):
    each = count // loops
    command = [servers.bench.build / "tests/bench/bench_bulk", "run", servers.uri, model.name, COLLECTION, servers.brokers, model.name,
               batch, each, "mark"]
    meter = Meter(servers)
    per_s = at_once([command] * loops, servers.bench.env, each)
    return {"loops": loops, "batch": batch, "tasks": each * loops, "per_s": per_s, **meter.done(each * loops)}


def measure_pair(servers, counts):
    """One API, then two over the same database and topic, in turns; the same of bare loops, which shows what the servers can."""
    count = counts["pair"]
    with Cluster(servers) as one, Cluster(servers, beside=one) as two, Model(servers) as model:
        for _ in range(counts["rounds"]):
            for stacks, connections in (([one], 64), ([one], 128), ([one, two], 64)):
                line = pair_round(servers, stacks, connections, count)
                servers.bench.emit("cluster pair", **line)
            for loops in (1, 2):
                servers.bench.emit("cluster bare pair", **bare_pair_round(servers, model, loops, tasks_per_insert(line), count))


# ---- drain ----


def until_finished(stack, count):
    end = time.monotonic() + 600
    while (finished := stack.total("finished")) < count:
        if time.monotonic() > end or stack.total("failed"):
            raise BenchError(f"{finished} of {count} tasks are finished, {stack.total('failed')} failed")
        time.sleep(LOOK_S)


def measure_drain(servers, counts):
    count = counts["drain"]
    with Cluster(servers, slots=counts["slots"]) as stack:
        stack.load("/api/create_task", 4, count // 100, many_tasks(100))
        stack.settle()
        stack.start("consumer")
        begun, meter = time.monotonic(), Meter(servers, stack)
        until_finished(stack, count)
        seconds = time.monotonic() - begun
        servers.bench.emit("cluster drain", tasks=count, slots=counts["slots"], partitions=PARTITIONS,
                           per_s=round(count / seconds, 1), **meter.done(count))


# ---- all of it ----

PARTS = {"creates": measure_creates, "pair": measure_pair, "drain": measure_drain}


def settings(line, args):
    """Those of the embedded service, in our words."""
    left_out = ("journal_mode", "synchronous", "sqlite", "reps")
    counts = QUICK if args.quick else COUNTS
    return {**{name: value for name, value in line.items() if name not in left_out}, "store": "mongodb", "broker": "kafka",
            "slots": counts["slots"], "partitions": PARTITIONS, "rounds": counts["rounds"],
            "kafka": "given" if args.kafka else "of tests/services"}


def own_kafka(folder):
    from tests.services.services import Kafka
    return Kafka(folder)



def measure(bench, args):
    counts = QUICK if args.quick else COUNTS
    folder, kafka = bench.build / "bench-kafka", None
    pids = {"mongo": [int(pid) for pid in args.mongo_pids.split(",")]} if args.mongo_pids else {}
    try:
        if not args.kafka:
            shutil.rmtree(folder, ignore_errors=True)
            kafka = own_kafka(folder)
            pids["kafka"] = [kafka.pid]
        servers = Servers(bench, args.cluster, args.kafka or kafka.bootstrap, pids)
        for name in args.parts:
            PARTS[name](servers, counts)
    finally:
        if kafka:
            kafka.stop()
            shutil.rmtree(folder, ignore_errors=True)


# ---- the table ----

HEAD = ["measure", "tasks/s", "bare loop", "share", "with marks", "share", "API µs", "consumer µs", "MongoDB µs", "Kafka µs",
        "cores busy"]


def title_of(line):
    if line["bench"] == "cluster create":
        what = "creates" if line["size"] == 1 else f"bulk of {line['size']}"
        return f"{what}, {line['connections']} connections"
    if line["bench"] == "cluster bare pair":
        return f"bare loop with marks, {line['loops']} at once"
    if line["bench"] == "cluster pair":
        return f"creates, {line['apis']} API{'s' if line['apis'] > 1 else ''}, {line['connections']} connections"
    return f"drain, {line['slots']} warm modules"


KEYS = ("per_s", "bare_per_s", "share_of_bare", "marked_per_s", "share_of_marked")
PROGRAMS = ("api", "consumer", "mongo", "kafka")


def cells_of(title, lines):
    """Medians of the rounds."""
    def median(values):
        values = [value for value in values if value is not None]
        return table.shown(statistics.median(values)) if values else ""
    return [title, *(median([line.get(key) for line in lines]) for key in KEYS),
            *(median([line["cpu_us"].get(name) for line in lines]) for name in PROGRAMS),
            median([line["share"]["all"] for line in lines])]


def show(lines, file=sys.stderr):
    rounds = {}
    for line in lines:
        if line["bench"] in ("cluster create", "cluster pair", "cluster bare pair", "cluster drain"):
            rounds.setdefault(title_of(line), []).append(line)
    table.print_table(HEAD, [cells_of(title, some) for title, some in rounds.items()], file)
