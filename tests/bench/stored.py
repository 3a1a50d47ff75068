"""What is measured of an API over a store that is filled already."""
import os
import random
import sqlite3
from pathlib import Path

from tests.bench.stack import SERVICES as ALL_SERVICES
from tests.bench.stack import BenchError, Stack

IDS_PER_CALL = 10
PAGE_SIZE = 10
DEEP_PAGE = 100_000
WALK = 1000  # tasks per call on the way to a page deep down
SERVICES = ["fill00", "fill07"]  # of half of the tasks, of one in 38
STATUSES = ["finished", "failed", "waiting"]
ALL_STATUSES = [*STATUSES, "ready", "running"]
SUBS = ["queued", "error", "timeout"]
FILTERS = {
    "service": [{"service": service} for service in SERVICES],
    "status": [{"status": status} for status in STATUSES],
    "sub_status": [{"sub_status": sub} for sub in SUBS],
    "service, status": [{"service": service, "status": status} for service in SERVICES for status in STATUSES],
    "service, sub_status": [{"service": service, "sub_status": sub} for service in SERVICES for sub in SUBS],
    "status, sub_status": [{"status": "failed", "sub_status": "error"}, {"status": "waiting", "sub_status": "queued"},
                           {"status": "finished", "sub_status": "error"}],
}


def fill(bench, file, total):
    """Makes the store have so many tasks; the ids of some of them lie beside it."""
    return bench.tool("bench_fill", file, total, f"{file}.ids")


def forget(file):
    for name in file.parent.glob(f"{file.name}*"):
        name.unlink()


def stored_bytes(file):
    return sum(name.stat().st_size for end in ("", "-wal") if (name := Path(f"{file}{end}")).exists())


def tasks_in(file):
    """As the store counts them; 0 where there is no file."""
    if not file.exists():
        return 0
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as store:
        return store.execute("SELECT coalesce(sum(n), 0) FROM count").fetchone()[0]


def drop_cached(file):
    """What follows finds nothing of the file in memory."""
    with open(file, "rb") as store:
        os.fsync(store.fileno())
        os.posix_fadvise(store.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_through(file):
    """What follows finds it in memory, as far as that is large enough."""
    with open(file, "rb", buffering=0) as store:
        while store.read(1 << 20):
            pass


def status_load(stack, connections, count):
    ids = Path(f"{stack.file}.ids").read_text().split()
    dice = random.Random(1)
    bodies = [{"data": [{"task_id": task_id} for task_id in dice.choices(ids, k=IDS_PER_CALL)]} for _ in range(2000)]
    return stack.load("/api/status_task", connections, count, stack.bodies("status_bodies", bodies))


def deep_cursor(stack, fields):
    """Where page 100 000 begins, or the middle where there are fewer pages: reached by walking. None: nothing is there."""
    answer = stack.call("tasks", {**fields, "p_size": WALK, "fields": ["task_id"]})
    left = min((DEEP_PAGE - 1) * PAGE_SIZE, answer["total"] // 2 // PAGE_SIZE * PAGE_SIZE)
    cursor = None
    while left > 0:
        size = min(WALK, left)
        answer = stack.call("tasks", {**fields, "p_size": size, "fields": ["task_id"], **({"after": cursor} if cursor else {})})
        cursor, left = answer["next"], left - answer["count"]
        if cursor is None:
            return None
    return cursor


def list_bodies(stack, deep):
    """For each kind of filter the bodies of its requests."""
    kinds = {}
    for kind, filters in FILTERS.items():
        bodies = []
        for fields in filters:
            cursor = deep_cursor(stack, fields) if deep else None
            if not deep or cursor:
                bodies.append({**fields, "p_size": PAGE_SIZE, **({"after": cursor} if deep else {})})
        kinds[kind] = bodies
    return kinds


def list_lines(stack, count):
    """One line for each kind of filter and depth."""
    for depth in ("page 1", "deep"):
        for kind, bodies in list_bodies(stack, depth == "deep").items():
            if bodies:
                name = f"list {depth} {kind}".replace(" ", "_").replace(",", "")
                line = stack.load("/api/tasks", 1, count, stack.bodies(name, bodies))
                yield {"depth": depth, "filter": kind, **line}


def check_totals(stack, expected):
    """That `total` is exact by service and by status."""
    def total(**fields):
        return stack.call("tasks", {**fields, "p_size": 1})["total"]
    if (whole := total()) < expected:
        raise BenchError(f"the store has {whole} tasks, not {expected}")
    for name, values in (("service", ALL_SERVICES), ("status", ALL_STATUSES)):
        if (parts := sum(total(**{name: value}) for value in values)) != whole:
            raise BenchError(f"the totals by {name} are {parts} together, not {whole}")


def measure_stored(bench):
    """Everything that the size of the store may change, and creates on an empty store beside it."""
    size, kept = bench.counts["stored"], bench.kept
    file = kept or bench.build / "bench-stored.db"
    if not kept:
        forget(file)
    try:
        bench.emit("fill", tasks=size, **fill(bench, file, size), bytes_per_task=round(stored_bytes(file) / size, 1))
        drop_cached(file)
        with Stack(bench, file=file) as stack:
            check_totals(stack, size)
            bench.emit("start", tasks=size, s=stack.start_s, mb=stack.api.rss_mb(), note="nothing of the file in memory")
            read_through(file)
            measure_reads(bench, stack, size)
            count = bench.counts["stored_creates"]
            per_s, empty = creates_beside_empty(bench, stack, count)
            bench.emit("creates at size", tasks=size, connections=64, count=2 * count, per_s=per_s, per_s_empty=empty)
    finally:
        if not kept:
            forget(file)


def measure_reads(bench, stack, size):
    requests = bench.counts["status"]
    for _ in range(2):  # in turns; the second round has warm caches
        bare = stack.load("/healthz", 64, requests)
        status = status_load(stack, 64, requests)
    bench.emit("healthz", tasks=size, **bare)
    bench.emit("status_task", tasks=size, ids=IDS_PER_CALL, **status)
    for line in list_lines(stack, bench.counts["list"]):
        bench.emit("list", tasks=size, **line)


def creates_beside_empty(bench, stack, count):
    """(creates per second, those of an empty store), in turns, so that noise hits both."""
    took = [0.0, 0.0]
    with Stack(bench) as empty:
        for _ in range(2):
            for which, at in enumerate((stack, empty)):
                took[which] += at.creates(64, count)["s"]
    return [round(2 * count / seconds, 1) for seconds in took]
