"""Removal, as a history shows it: of what, by whom, when, and that it is for good (docs/internals/chaos.md)."""
from tests.chaos.book import CLOCKS_APART_MS, FINAL, NEVER, OK, is_removed, ms_of, removed_sights, revived_between


def check_removal(book, task):
    sights = list(removed_sights(task))
    yield from check_last_word(task)
    if not sights:
        return
    yield from check_cause(book, task, sights)
    yield from check_gone(book, task, min(sight[1] for sight in sights))


def is_too_young(book, read, kept_ms):
    """True where retention cannot have removed it yet when it was read: its tombstone tells when it had ended."""
    ended = ms_of(read.get("end_time"))
    return ended is not None and book.wall_ms(read["t1"]) + CLOCKS_APART_MS < ended + kept_ms


def check_cause(book, task, sights):
    """Removed is what a delete_task may have removed, or what is older than retention keeps it."""
    kept = book.begin.get("retention_ms") or {}
    deletes = [op.t0 for op in task.of("delete") if op.maybe]
    for _, t1, by in sights:
        if not kept and not any(t0 < t1 for t0 in deletes):
            yield f"it is removed ({by}), and nobody has removed it"
            return
    for read in task.reads:
        if not is_removed(read):
            continue
        if read["status"] not in FINAL:
            yield f"it was removed while it was {read['status']}"
        elif not any(t0 < read["t1"] for t0 in deletes) and is_too_young(book, read, kept.get(read["status"], NEVER)):
            yield f"it was removed by nobody, too early for retention (it had ended at {read['end_time']})"
            return


def check_gone(book, task, since):
    """What is removed stays so, and does nothing any more."""
    for op in task.ops:
        if op.outcome == OK and op.t0 > since:
            yield f"it had been removed, and a {op.kind} was accepted later"
            return
    for read in task.reads:
        if read["t0"] > since and not is_removed(read):
            yield f"it had been removed, and is {read['status']}/{read.get('sub_status')} later"
            return
    for result in task.results:
        if result["t0"] > since and result["code"] != "RESULT_EXPIRED":
            yield f"it had been removed, and result_task answers {result['code'] or 'a result'} later"
            return
    if task.listed and since < book.listing_t0:
        yield "it had been removed, and the list of all tasks holds it"


def check_last_word(task):
    """A tombstone tells how the task had ended."""
    last = None
    for read in sorted(task.reads, key=lambda read: read["t0"]):
        seen = (read["status"], read.get("start_time"), read.get("end_time"))
        if is_removed(read) and last and read["t0"] > last[1] and seen != last[2] and not revived_between(task, last[0], read["t1"]):
            yield f"it was {last[2]}, and is removed as {seen}"
            return
        if read["status"] in FINAL:
            last = (read["t0"], read["t1"], seen)
