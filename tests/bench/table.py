"""The table: each row's figure, what it is compared with, and whether the target is met. It knows the lines alone."""
import statistics
import sys
from typing import NamedTuple

# SQLite's page caches (shared/store/sqlite/conn.c): 16 MiB of the writer, 4 MiB of each of two readers.
CACHE_MB = 25.2

KEEPS_RESULTS = ("asynq", "asynq-tuned", "river", "river-tuned", "bullmq", "huey", "celery")


class Peer(NamedTuple):
    """Against the best of these peers: at least (a rate) or at most (a time) so many times its figure."""
    metric: str
    peers: tuple
    factor: float


class Own(NamedTuple):
    """Against another figure of ours in the same run: at least so many times that."""
    name: str
    match: dict
    key: str
    factor: float


class Limit(NamedTuple):
    """At most so much."""
    most: float


class Row(NamedTuple):
    title: str
    unit: str
    match: dict
    key: str
    against: object


def row(title, unit, bench, key, against, **match):
    return Row(title, unit, {"bench": bench, **match}, key, against)


def bulk_rows():
    return [row(f"bulk creates of {size}, {connections} connection{'s' if connections > 1 else ''}", "tasks/s", "bulk", "per_s",
                Peer("bulk_tps", ("river",), 2), size=size, connections=connections)
            for size in (100, 500) for connections in (1, 4)]


def drain_rows():
    """From the worker's start, and from the first task seen done to the last."""
    return [row(f"drain, {slots} warm modules{title}", "tasks/s", "drain", ours, Peer(theirs, peers, factor), kind="warm", slots=slots)
            for slots in (16, 64)
            for title, ours, theirs in (("", "per_s", "drain_tps"), (", steady", "steady_per_s", "drain_steady_tps"))
            for peers, factor in ((KEEPS_RESULTS, 2), (("rabbitmq",), 1.2))]


ROWS = [
    row("durable creates, 64 connections", "tasks/s", "create", "per_s", Peer("enqueue_tps", ("asynq",), 2), connections=64),
    *bulk_rows(),
    *drain_rows(),
    row("drain, a process per task", "tasks/s", "drain", "per_s", Own("posix_spawn loop", {"bench": "spawn"}, "per_s", 0.8),
        kind="command"),
    row("create to start of a warm module, p50", "ms", "latency", "start_p50_ms", Peer("lat_start_p50", ("beanstalkd",), 1.5),
        kind="warm"),
    row("create to start of a warm module, p99", "ms", "latency", "start_p99_ms", Limit(10), kind="warm"),
    row("create to result at the client, p50", "ms", "latency", "result_p50_ms", Peer("lat_result_p50", KEEPS_RESULTS, 0.5),
        kind="warm"),
    row("API memory, idle", "MB", "memory", "mb", Limit(12), what="api idle"),
    row("API memory after {tasks} tasks", "MB", "memory", "mb", Limit(64 + CACHE_MB), what="api after"),
    row("consumer memory, idle", "MB", "memory", "mb", Limit(10), what="consumer idle"),
    row("consumer memory, idle, with all its processes (PSS)", "MB", "memory", "tree_mb", None, what="consumer idle"),
    row("status_task of 10 ids, {tasks} stored", "requests/s", "status_task", "per_s",
        Own("/healthz", {"bench": "healthz", "connections": 64}, "per_s", 0.5)),
    row("list, first page, {tasks} stored, worst p99", "ms", "list", "p99_ms", Limit(5), depth="page 1"),
    row("list, deep page by cursor, {tasks} stored, worst p99", "ms", "list", "p99_ms", Limit(5), depth="deep"),
    row("creates at {tasks} stored", "tasks/s", "creates at size", "per_s",
        Own("empty store", {"bench": "creates at size"}, "per_s_empty", 0.8)),
    row("API start at {tasks} stored", "s", "start", "s", Limit(1)),
    row("create to start of a process per task, p50", "ms", "latency", "start_p50_ms", None, kind="command"),
    row("drain, shared object", "tasks/s", "drain", "per_s", None, kind="shared_object"),
    row("creates beside retention", "tasks/s", "retention", "per_s",
        Own("without", {"bench": "retention"}, "per_s_without", 0)),
]


def is_rate(unit):
    return unit.endswith("/s")


def found(lines, match):
    return [line for line in lines if all(line.get(name) == value for name, value in match.items())]


def largest(lines):
    """Those of the largest store."""
    most = max((line.get("tasks", 0) for line in lines), default=0)
    return [line for line in lines if line.get("tasks", 0) == most]


def value_of(lines, match, key):
    """The median of the repetitions; the worst of lists, of which there is a line for each filter. None: not measured."""
    values = [line[key] for line in largest(found(lines, match)) if key in line]
    if not values:
        return None
    return max(values) if match["bench"] == "list" else statistics.median(values)


def best_peer(lines, row):
    """(name, median) of the best one, or None."""
    figures = {}
    for name in row.against.peers:
        values = [line["value"] for line in found(lines, {"bench": "peer", "peer": name, "metric": row.against.metric})]
        if values:
            figures[name] = statistics.median(values)
    pick = max if is_rate(row.unit) else min
    return pick(figures.items(), key=lambda item: item[1]) if figures else None


def shown(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def size_name(tasks):
    for unit, name in ((1_000_000, "M"), (1000, "k")):
        if tasks >= unit:
            return f"{tasks / unit:g} {name}"
    return str(tasks)


def of_whom(against):
    if not isinstance(against, Peer):
        return ""
    return f" {against.peers[0]}" if len(against.peers) == 1 else " best peer"


def against_cells(lines, row, ours):
    """[beside, ratio, target, met]"""
    if row.against is None:
        return ["", "", "", ""]
    if isinstance(row.against, Limit):
        return ["", "", f"≤ {shown(row.against.most)} {row.unit}", "yes" if ours <= row.against.most else "no"]
    sign = "≥" if is_rate(row.unit) else "≤"
    target = f"{sign} {row.against.factor:g} ×" if row.against.factor else ""
    if isinstance(row.against, Own):
        other = (row.against.name, value_of(lines, row.against.match, row.against.key))
    else:
        other = best_peer(lines, row)
    if not other or not other[1]:
        return ["", "", target + of_whom(row.against), ""]
    ratio = ours / other[1]
    met = ratio >= row.against.factor if is_rate(row.unit) else ratio <= row.against.factor
    return [f"{other[0]} {shown(other[1])}", f"{ratio:.2f}", target, ("yes" if met else "no") if target else ""]


def title_of(lines, row):
    sizes = [line["tasks"] for line in found(lines, row.match) if "tasks" in line]
    return row.title.format(tasks=size_name(max(sizes))) if sizes else row.title


def cells_of(lines, row):
    ours = value_of(lines, row.match, row.key)
    if ours is None:
        return None
    return [title_of(lines, row), f"{shown(ours)} {row.unit}", *against_cells(lines, row, ours)]


GROWTH = ["tasks", "creates_per_s", "creates_empty_per_s", "status_per_s", "list_first_p99_ms", "list_deep_p99_ms", "start_s",
          "start_mb", "mb", "bytes_per_task", "fill_per_s"]


def growth_rows(lines):
    return [[size_name(line["tasks"]), *("" if line.get(key) is None else shown(line[key]) for key in GROWTH[1:])]
            for line in found(lines, {"bench": "growth"})]


def settings_rows(lines):
    for line in found(lines, {"bench": "settings"}):
        yield ", ".join(f"{name} {value}" for name, value in line.items() if name != "bench")


def peers_rows(lines):
    """Version and settings of each peer once, and which failed."""
    told = {}
    for line in found(lines, {"bench": "peer"}):
        told.setdefault(line["peer"], f"{line['peer']} {line['version']}: {line['durability']}; {line['worker']}")
    yield from told.values()
    for line in found(lines, {"bench": "peer failed"}):
        yield f"{line['peer']} FAILED: {line['why']}"


def padded(rows):
    widths = [max(len(cells[at]) for cells in rows) for at in range(len(rows[0]))]
    return [f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, widths))} |" for cells in rows]


def print_table(head, rows, file):
    if rows:
        text = padded([head, *rows])
        rule = f"|{'|'.join('-' * len(part) for part in text[0].split('|')[1:-1])}|"
        print("", text[0], rule, *text[1:], "", sep="\n", file=file)


def show(lines, file=sys.stderr):
    """The tables in Markdown, settings below."""
    rows = [cells for row in ROWS if (cells := cells_of(lines, row))]
    print_table(["measure", "ours", "beside", "ratio", "target", "met"], rows, file)
    print_table([key.replace("_per_s", "/s").replace("_", " ") for key in GROWTH], growth_rows(lines), file)
    for line in (*settings_rows(lines), *peers_rows(lines)):
        print(line, file=file)
