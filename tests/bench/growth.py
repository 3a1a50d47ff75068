"""The same store at 1 k, 10 k, … tasks: what its size costs. One file is grown step by step."""
from pathlib import Path

from tests.bench import stored
from tests.bench.stack import Stack

SIZES = [1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000]
CONNECTIONS = 64
NEARLY = 1.1  # what is measured leaves some tasks in a file that is kept: it is still of that size


def creates_at(size, counts):
    """Few enough that they do not make a small store a large one."""
    return min(counts["stored_creates"], max(1000, size // 10))


def worst(lines, depth):
    return max((line["p99_ms"] for line in lines if line["depth"] == depth), default=None)


def measure_size(bench, file, size):
    filled = stored.fill(bench, file, size)
    line = {"tasks": size, "fill_per_s": filled["per_s"] if filled["added"] else None,
            "bytes_per_task": round(stored.stored_bytes(file) / size, 1)}
    stored.drop_cached(file)
    with Stack(bench, file=file) as stack:
        stored.check_totals(stack, size)
        line.update(start_s=stack.start_s, start_mb=stack.api.rss_mb())
        stored.read_through(file)
        line["status_per_s"] = stored.status_load(stack, CONNECTIONS, bench.counts["status"])["per_s"]
        lists = list(stored.list_lines(stack, bench.counts["list"]))
        line["creates_per_s"], line["creates_empty_per_s"] = stored.creates_beside_empty(bench, stack, creates_at(size, bench.counts))
        line["mb"] = stack.api.rss_mb()
    line.update(list_first_p99_ms=worst(lists, "page 1"), list_deep_p99_ms=worst(lists, "deep"))
    bench.emit("growth", **line)


def sizes_to(most):
    return [size for size in SIZES if size < most] + [most]


def measure(bench, most):
    """Goes on with the file that is kept, where there is one."""
    kept = bench.kept
    file = kept or bench.build / "bench-growth.db"
    if not kept:
        stored.forget(file)
    had = stored.tasks_in(file)
    try:
        for size in sizes_to(most):
            if size * NEARLY >= had:
                measure_size(bench, file, size)
    finally:
        if not kept:
            stored.forget(file)


def lines_of(lines):
    """Sorted by size; the last one of each."""
    return [line for _, line in sorted({line["tasks"]: line for line in lines if line["bench"] == "growth"}.items())]


def picture_folder(root):
    folder = Path(root) / "docs" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
