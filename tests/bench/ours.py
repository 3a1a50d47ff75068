"""One function for each thing that is measured of ours, without a filled store. Each emits lines of JSON."""
import json
import resource
import tempfile
import time

from tests.bench.stack import BenchError, Stack, many_tasks

DRAIN_S = 900
LOOK_S = 0.03  # as often as the peers' harness looks


def measure_bare(bench):
    """What the disk and one round trip cost by themselves."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=bench.build) as folder:
        bench.emit("fsync", **bench.tool("bench_fsync", folder, bench.counts["fsync"]))
    with Stack(bench) as stack:
        bench.emit("healthz", **stack.load("/healthz", 1, bench.counts["healthz"]))


def measure_create(bench):
    for connections, count in bench.counts["create"].items():
        with Stack(bench) as stack:
            bench.emit("create", **stack.creates(connections, count), stored=stack.total("waiting"))


def measure_bulk(bench):
    """Rates of tasks, not of requests."""
    for size in (100, 500):
        for connections in (1, 4):
            with Stack(bench) as stack:
                line = stack.load("/api/create_task", connections, bench.counts["bulk"] // size, many_tasks(size))
                stored = stack.total("waiting")
            bench.emit("bulk", **{**line, "size": size, "tasks": stored, "per_s": round(stored / line["s"], 1)})


# ---- drain ----


def children_cpu_s():
    """Of all children that have ended, and theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Watch:
    """Looks how many tasks are finished until all are; the two rates of the peers' harness."""

    def __init__(self, stack, count):
        self.stack, self.count = stack, count
        self.first = self.last = None

    def until_all(self):
        self.begun = time.monotonic()
        self.stack.start("consumer")
        end = self.begun + DRAIN_S
        while time.monotonic() < end:
            finished = self.look()
            if finished >= self.count:
                return
            time.sleep(LOOK_S)
        raise BenchError(f"{finished} of {self.count} tasks are finished after {DRAIN_S} s")

    def look(self):
        finished = self.stack.total("finished")
        if not finished and (failed := self.stack.total("failed")):
            raise BenchError(f"{failed} tasks failed")
        seen = (time.monotonic(), finished)
        if finished and not self.first:
            self.first = seen
        self.last = seen
        return finished

    def rates(self):
        seconds = self.last[0] - self.begun
        rates = {"s": round(seconds, 3), "per_s": round(self.count / seconds, 1)}
        if self.last[1] > self.first[1]:
            steady = (self.last[1] - self.first[1]) / (self.last[0] - self.first[0])
            rates["steady_per_s"] = round(steady, 1)
        return rates


def drain_of(bench, kind, slots):
    count = bench.counts["drain"][kind]
    with Stack(bench, kind, slots=slots) as stack:
        stack.creates(32, count)
        watch = Watch(stack, count)
        watch.until_all()
        before = children_cpu_s()
        stack.consumer.stop()
        cpu_ms = (children_cpu_s() - before) * 1000 / count
        bench.emit("drain", kind=kind, count=count, slots=slots, **watch.rates(), cpu_ms=round(cpu_ms, 3),
                   note="per_s: from the consumer's start; steady: from the first task seen finished to the last; "
                        "cpu_ms: of the consumer and all that it started, per task")


def measure_drain(bench):
    for kind in ("warm", "shared_object"):
        for slots in bench.slots[kind]:
            drain_of(bench, kind, slots)


def measure_command(bench):
    """A process per task, beside a bare loop that starts and waits for the same program."""
    for slots in bench.slots["command"]:
        bench.emit("spawn", **bench.tool("bench_spawn", bench.counts["drain"]["command"], slots,
                                         bench.build / "tests/bench/bench_module"))
        drain_of(bench, "command", slots)


# ---- one task at a time ----


def measure_latency(bench):
    for kind in ("warm", "command"):
        with Stack(bench, kind) as stack:
            stack.start("consumer")
            took = bench.tool("bench_latency", stack.host, stack.port, "bench", bench.counts["latency"])
            bench.emit("latency", kind=kind, **took, note="start: from before create_task's first byte to the module's first "
                                                          "line; result: to the end of result_task's answer")


# ---- memory ----


def fill_by_http(stack, count):
    """So many tasks, created and reported finished through the API."""
    for at in range(0, count, 500):
        made = stack.call("create_task", many_tasks(min(500, count - at)))["data"]
        stack.call("update_status_task", {"data": [{"task_id": item["task_id"], "status": "finished", "result": at}
                                                   for item in made]})


def measure_memory(bench):
    count = bench.counts["memory"]
    with Stack(bench) as stack:
        stack.start("consumer")
        stack.call("result_task", {"data": {"task_id": stack.call("create_task", json.loads(many_tasks(1)))["data"][0]["task_id"]},
                                   "wait_s": 30})
        time.sleep(1)
        bench.emit("memory", what="api idle", mb=stack.api.rss_mb(), note="one task done")
        bench.emit("memory", what="consumer idle", mb=stack.consumer.rss_mb(), tree_mb=stack.consumer.tree_pss_mb(),
                   slots=stack.slots, note="one task done; tree_mb: Pss of it and all processes that it has started")
    with Stack(bench) as stack:
        fill_by_http(stack, count)
        bench.emit("memory", what="api after", tasks=count, mb=stack.api.rss_mb())


# ---- retention ----


def measure_retention(bench):
    """Creates while a backlog is removed, and while it is let be: in turns on one store."""
    backlog, creates = bench.counts["retention"].values()
    took, p99_ms, removed = {False: 0.0, True: 0.0}, {False: 0.0, True: 0.0}, 0
    with Stack(bench) as stack:
        fill_by_http(stack, backlog)
        for removes in (False, True) * 2:
            stack.restart_api(sweep_s=0.05, retention={"finished_s": 0.01 if removes else 0})
            before = stack.total("finished")
            line = stack.creates(32, creates)
            took[removes] += creates / line["per_s"]
            p99_ms[removes] = max(p99_ms[removes], line["p99_ms"])
            removed += before - stack.total("finished")
        left = stack.total("finished")
    bench.emit("retention", connections=32, creates=4 * creates, per_s=round(2 * creates / took[True], 1),
               per_s_without=round(2 * creates / took[False], 1), ratio=round(took[False] / took[True], 3),
               p99_ms=p99_ms[True], p99_ms_without=p99_ms[False], removed=removed,
               removed_per_s=round(removed / took[True], 1), left=left,
               note="creates while old tasks are removed; ratio to creates without")
