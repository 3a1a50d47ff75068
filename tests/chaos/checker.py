"""Decides from a history alone whether the six invariants of the lifecycle held, and what services promise (docs/internals/chaos.md).

The checker only ever says that something is wrong where no order of the moments at which calls took effect (book.py) could be right:
"A before B" below means that A was answered before B was sent.
"""
import sys
from collections import Counter, defaultdict
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.chaos.book import (CLOCKS_APART_MS, FINAL, NEVER, OK, REFUSED, SLACK_MS, Book, Op, claimed_ms, first_claims, is_removed, lease_end,  # noqa: E402
                              ms_of, removed_sights, revived_between, runs_of, token_of)
from tests.chaos.gates import check_gates  # noqa: E402
from tests.chaos.history import load  # noqa: E402
from tests.chaos.removal import check_removal  # noqa: E402


# Numbered behind the six invariants of the lifecycle: services that are paused and limited.
GATES = 7


class Violation:
    def __init__(self, invariant, task, text):
        self.invariant, self.task, self.text = invariant, task, text

    def __str__(self):
        return f"{'services' if self.invariant == GATES else f'invariant {self.invariant}'}: {self.task or 'run'}: {self.text}"


# ---- 1: nothing that was acknowledged is lost ------------------------------------------------------------------


def check_ended(book, task):
    """One whose create nobody answered has to end too, if it was there, and waited for, when all faults were over."""
    acknowledged = any(op.outcome == OK for op in task.creates)
    last = task.reads[-1] if task.reads else None
    if last is None and acknowledged:
        yield "its create was answered ok and nobody has read it"
    elif last and last["status"] not in FINAL and (acknowledged or task.id in book.left_open and last["status"] != "Invalid"):
        yield f"it is {last['status']}/{last.get('sub_status')} (attempt {last.get('attempt')}) at the end, not final"


def check_stored(book, task):
    created = [op for op in task.creates if op.outcome == OK]
    if not created:
        return
    known = min(op.t1 for op in created)
    for read in task.reads:
        if read["status"] == "Invalid" and read["t0"] > known:
            yield "its create was answered ok, later it does not exist"
            return
    for result in task.results:
        if result["code"] == "UNKNOWN_TASK" and result["t0"] > known:
            yield "its create was answered ok, later result_task does not know it"
            return
    for op in task.ops:
        if op.code == "UNKNOWN_TASK" and op.t0 > known:
            yield f"its create was answered ok, later it is unknown to a {op.kind}"
            return


def check_listing(book):
    """All tasks as the pages at the end show them, against the creates that were sent."""
    if book.listing is None:
        return
    ids_of = defaultdict(set)
    for task_id, token, _ in book.listing:
        ids_of[token].add(task_id)
    for token, ids in ids_of.items():
        task_id = sorted(ids)[0]
        if len(ids) > 1:
            yield Violation(1, task_id, f"one create made {len(ids)} tasks: {sorted(ids)}")
        if token in book.tokens:
            continue
        if token in book.refused_tokens:
            yield Violation(1, task_id, "its create was refused (surely not stored), yet it exists")
        else:
            yield Violation(1, task_id, f"nobody has created it (token {token})")
    listed = {task_id for task_id, _, _ in book.listing}
    for task in book.tasks.values():
        removed = any(True for _ in removed_sights(task)) or any(op.maybe for op in task.of("delete"))
        if any(op.outcome == OK for op in task.creates) and task.id not in listed and not removed:
            yield Violation(1, task.id, "its create was answered ok, the list of all tasks does not hold it")


def check_keys(book):
    """The same key and data: the same task."""
    for (service, key), creates in book.keys.items():
        ids = {op.answer["task_id"] for op in creates if op.outcome == OK and op.answer.get("task_id")}
        if len(ids) > 1:
            yield Violation(1, sorted(ids)[0], f"idempotency key {key} of {service} has answered {len(ids)} tasks: {sorted(ids)}")


# ---- 2: what is final stays ------------------------------------------------------------------------------------


def final_sights(task):
    """Every look at the task while it was there, whether final or not: (t0, t1, what was seen)."""
    for read in task.reads:
        if read["status"] in FINAL and not is_removed(read):
            yield read["t0"], read["t1"], (read["status"], read.get("sub_status"), read.get("attempt"), read.get("end_time"))
        elif not is_removed(read):
            yield read["t0"], read["t1"], (read["status"],)


def check_final(book, task):
    yield from check_sights(task, sorted(final_sights(task), key=lambda sight: sight[0]), lambda seen: seen[0] in FINAL)
    results = [(result["t0"], result["t1"], repr(result["data"]) if result["code"] is None else result["code"])
               for result in task.results if result["code"] != "RESULT_EXPIRED"]
    yield from check_sights(task, sorted(results), lambda seen: seen not in ("NOT_FINISHED",))
    for run in runs_of(task).values():
        ended = [op for op in run.accepted("finished") if op.answer.get("now", "finished") == "finished"]
        if not ended:
            continue
        t0, t1 = effect_of(run, "finished")
        for read in task.reads:
            if read["t0"] > t1 and read["status"] != "finished" and not revived_between(task, t0, read["t1"]):
                yield f"run {run.id[:8]} reported finished, accepted; later it is {read['status']}/{read.get('sub_status')}"
                break


def check_sights(task, sights, is_final):
    last = None
    for t0, t1, seen in sights:
        if last and t0 > last[1] and seen != last[2] and not revived_between(task, last[0], t1):
            yield f"it was {last[2]}, and is {seen} later without start_task"
            return
        if is_final(seen) and (last is None or t0 > last[1]):
            last = (t0, t1, seen)


# ---- 3: one run holds it, and no other changes anything ---------------------------------------------------------


def effect_of(run, kind):
    """When a final report or hand-back has taken effect: a copy of it that nobody answered may have been the one that did, and
    an answer that says ok comes after it."""
    same = [op for op in run.ops if op.kind == kind and op.maybe]
    return min(op.t0 for op in same), min(op.t1 for op in same)


def may_time_out(book, task, run, t):
    """Whether the API may have ended the run by its deadline before a moment. What nobody has seen created may have any."""
    timeouts = [op.item["timeout_s"] for op in task.creates if op.item.get("timeout_s")]
    claimed = min((t0 for t0, _ in first_claims(book, run)), default=NEVER)
    return not task.creates or bool(timeouts) and t >= claimed + min(timeouts) * 1e9


def may_repeat_end(book, task, run, t1):
    """Whether a failed report that was answered then may only repeat what the API had made of its run, by its deadline or by a cancel:
    such a word is answered ok and changes nothing."""
    return may_time_out(book, task, run, t1) or any(op.maybe and op.t0 < t1 for op in task.of("cancel"))


def hold_points(book, task, run):
    """Intervals in each of which there is a moment at which the run held the task. A final report or hand-back may be
    repeated after its effect, so that only its first effect counts, which is not after the first answer."""
    for op in run.accepted("claim", "heartbeat"):
        yield op.t0, op.t1, op.kind
    for kind in {op.kind for op in run.accepted("finished", "failed", "back")}:
        t0, t1 = effect_of(run, kind)
        if kind != "failed" or not may_repeat_end(book, task, run, t1):
            yield t0, t1, kind


def check_fence(book, task):
    runs = [run for run in runs_of(task).values() if run.attempt is not None]
    attempts = Counter(run.attempt for run in runs)
    for attempt, n in attempts.items():
        if n > 1:
            yield f"{n} runs have attempt {attempt}: {[run.id[:8] for run in runs if run.attempt == attempt]}"
    for run in runs:
        told = {op.answer.get("attempt") for op in run.accepted("claim")} | {run.attempt}
        if len(told - {None}) > 1:
            yield f"run {run.id[:8]} was told {len(told)} attempts: {sorted(told)}"
    runs.sort(key=lambda run: run.attempt)
    earliest, holder = NEVER, None  # the first answer to any later run
    for run in reversed(runs):
        points = list(hold_points(book, task, run))
        for t0, _, kind in points:
            if t0 > earliest:
                yield (f"run {run.id[:8]} (attempt {run.attempt}) was accepted ({kind}) after run {holder.id[:8]} "
                       f"(attempt {holder.attempt}) held the task")
                break
        for _, t1, _ in points:
            if t1 < earliest:
                earliest, holder = t1, run


def check_result(book, task):
    """The result on record is that of a run which reported it, and which holds the attempt on record."""
    last = next((read for read in reversed(task.reads) if not is_removed(read)), None)
    for result in task.results:
        data = result["data"]
        if result["code"] is not None or not isinstance(data, dict) or "run" not in data:
            continue
        if data.get("forged"):
            yield f"it has the result of an update that had to change nothing: {data}"
        run = runs_of(task).get(data["run"])
        reports = [op for op in (run.ops if run else []) if op.kind == "finished" and op.maybe and op.item.get("result") == data]
        if not reports:
            yield f"it has a result that no run has reported: {data}"
        elif last and result["t0"] > last["t1"] and last.get("attempt") not in (None, run.attempt) and run.attempt is not None \
                and not began_after(run, last):
            yield f"it has the result of attempt {run.attempt}, its last attempt is {last['attempt']}"


def began_after(run, read):
    """The task was started again when it had been read, so the read knows nothing of the run."""
    return run.attempt > read["attempt"] and any(op.kind == "claim" and op.maybe and op.t1 > read["t0"] for op in run.ops)


# ---- 4: every run ends once --------------------------------------------------------------------------------------


def is_fatal(op):
    return (op.item.get("error") or {}).get("class") == "fatal"


def used_up(book, task, runs):
    """Runs after whose failure the task has no attempt left, with that failure's earliest time, and why."""
    most = min((op.item.get("max_attempts", 1) for op in task.creates), default=None)
    failed = sorted((run for run in runs if run.attempt is not None and run.accepted("failed")), key=lambda run: run.attempt)
    for number, run in enumerate(failed, 1):
        reports = run.accepted("failed")
        words = [op for op in run.ops if op.kind == "failed" and op.maybe]  # any of them may have been the first
        fatal = all(map(is_fatal, words)) and not all(may_repeat_end(book, task, run, op.t1) for op in reports)
        if fatal or (most is not None and number >= most):
            yield run, min(op.t0 for op in reports), "fatally" if fatal else f"as attempt {number} of {most}"


def check_attempts(book, task):
    """No run begins after the last attempt has failed."""
    runs = runs_of(task).values()
    for run, since, how in used_up(book, task, runs):
        for later in runs:
            claims = later.accepted("claim") if later.attempt is not None and later.attempt > run.attempt else []
            if claims and not revived_between(task, 0, max(op.t1 for op in claims)):
                yield f"run {run.id[:8]} failed {how}, yet run {later.id[:8]} was claimed later without start_task"
                return


def may_fail_alone(task, run):
    """A task may fail that its last run has given back. What that run says then is answered as if it had failed."""
    crashed = any(op.item.get("cause") == "crash" for op in run.accepted("back"))
    expires = not task.creates or any(op.item.get("expire_s") for op in task.creates)
    return crashed or expires or any(op.maybe for op in task.of("cancel"))


def check_ends(book, task):
    runs = runs_of(task)
    for run in runs.values():
        ends = {op.kind for op in run.accepted("finished", "failed", "back")}
        if len(ends) > 1 and not (ends == {"back", "failed"} and may_fail_alone(task, run)):
            yield f"run {run.id[:8]} ended in {len(ends)} ways: {sorted(ends)}"
    final = [run for run in runs.values() if run.attempt is not None and run.accepted("finished")]
    for run in final:
        for later in runs.values():
            if later.attempt is None or later.attempt <= run.attempt:
                continue
            claims = later.accepted("claim")
            if claims and not revived_between(task, effect_of(run, "finished")[0], max(op.t1 for op in claims)):
                yield f"run {run.id[:8]} finished, yet run {later.id[:8]} was claimed later without start_task"
    for look in task.looks:
        read = max((read for read in task.reads if read.get("sub_status") == "cancelled" and read["t0"] < look["t"]),
                   key=lambda read: read["t0"], default={"t0": 0})
        if look["pids"] and not revived_between(task, read["t0"], look["t"]) and not all(
                may_go_on(book, task, pid, look["t"]) for pid, *_ in look["pids"]):
            yield f"it was read as cancelled while processes of it were alive: {look['pids']}"


def may_go_on(book, task, pid, t):
    """Whether the process may be of a run that had lost its task, and has not said that it is over."""
    runs = runs_of(task)
    own = {start["run"] for start in task.starts if start["pid"] == pid} or set(runs)
    return any(may_be_lost(book, task, runs[run_id], t) and not ended_by_itself(runs[run_id], t) for run_id in own)


def may_be_lost(book, task, run, t):
    """Whether something has ended the run's right to its task before a moment: another run, an edit or a start after its lease, or its
    deadline."""
    begun = min((t0 for t0, _ in first_claims(book, run)), default=0)
    others = [op for op in task.of("claim", "edit", "start", "finished", "failed") if op.run != run.id or op.kind in ("edit", "start")]
    taken = any(op.maybe and begun < op.t1 and op.t0 < t for op in others) or any(begun < t0 < t for t0 in book.lost_polls)
    return taken or may_time_out(book, task, run, t)


def check_timeline(book, task):
    """timeline_task lists every run once, with an end, in the order of their attempts."""
    if task.timeline is None:
        return
    listed = task.timeline["answer"].get("data") or []
    ids = [row.get("run_id") for row in listed if row.get("run_id")]
    if len(ids) != len(set(ids)):
        yield f"its timeline lists a run twice: {ids}"
    missing = [run.id[:8] for run in runs_of(task).values()
               if run.id not in ids and any(op.t1 < task.timeline["t0"] for op in run.accepted("claim"))]
    if missing:
        yield f"its timeline does not list the runs {missing}"
    attempts = [row.get("attempt") for row in listed if row.get("attempt") is not None]
    if attempts != sorted(set(attempts)) and attempts != sorted(set(attempts), reverse=True):
        yield f"the attempts of its timeline are not in order: {attempts}"


# ---- 5: not before its time, not after it, not while another holds ------------------------------------------------


def first_create(book, task):
    """Of the creates that may have made the task, answered or not, the one that was sent first."""
    token = token_of(task.creates[0].item.get("condition"))
    return min(book.tokens.get(token, task.creates), key=lambda op: op.t0)


def due_t(book, op):
    """The monotonic time before which a task of this create must not start."""
    item = op.item
    if item.get("delay_s"):
        return op.t0 + item["delay_s"] * 1e9 - CLOCKS_APART_MS * 1e6
    if item.get("run_at"):
        return book.mono(ms_of(item["run_at"]) - CLOCKS_APART_MS)
    return None


def check_due(book, task):
    due = due_t(book, first_create(book, task)) if task.creates else None
    if due is None:
        return
    for start in task.starts:
        if start["t"] < due and not any(op.maybe and op.t0 < start["t"] for op in task.of("start")):
            yield f"run {start['run'][:8]} started {(due - start['t']) / 1e6:.0f} ms before the task was due"
    for op in task.of("claim"):
        if op.outcome == OK and op.t1 < due and not any(by.maybe and by.t0 < op.t1 for by in task.of("start")):
            yield f"run {op.run[:8]} was given the task before it was due"


def check_expired(book, task):
    for create in task.creates[:1]:
        if not create.item.get("expire_s") or create.outcome != OK:
            continue
        last_ms = book.wall_ms(create.t1) + create.item["expire_s"] * 1000 + CLOCKS_APART_MS
        for run in runs_of(task).values():
            at = claimed_ms(book, run)
            started = any(op.maybe for op in task.of("start"))
            if run.attempt == 1 and at is not None and at > last_ms and not started:
                yield f"its first attempt was claimed {at - last_ms + CLOCKS_APART_MS:.0f} ms after it had expired"


def check_leases(book, task):
    """No run gets the task while the lease of another stands that has not ended by a word of its own."""
    runs = sorted((run for run in runs_of(task).values() if run.attempt is not None), key=lambda run: run.attempt)
    for before, after in zip(runs, runs[1:]):
        claims = after.accepted("claim")
        if not claims:
            continue
        sent, answered = min(op.t0 for op in claims), min(op.t1 for op in claims)
        over = any(op.maybe and op.t0 < answered for op in before.ops if op.kind in ("finished", "failed", "back"))
        over |= any(op.maybe and op.t0 < answered for op in task.of("cancel", "start"))
        until = lease_end(before, sent)
        early = until - book.wall_ms(answered) - CLOCKS_APART_MS if until is not None else 0
        if not over and early > 0:
            yield (f"run {after.id[:8]} (attempt {after.attempt}) had the task {early + CLOCKS_APART_MS:.0f} ms before the lease "
                   f"of run {before.id[:8]} (attempt {before.attempt}) ended")


# ---- 6: times ------------------------------------------------------------------------------------------------------


def check_times(book, task):
    last = None
    create_ms = ms_of(task.listed) if task.listed else None
    for read in sorted(task.reads, key=lambda read: read["t0"]):
        start, end = ms_of(read.get("start_time")), ms_of(read.get("end_time"))
        if start is not None and end is not None and end < start:
            yield f"it ended ({read['end_time']}) before it started ({read['start_time']})"
        for name, at in (("started", start), ("ended", end)):
            if create_ms is not None and at is not None and at < create_ms:
                yield f"it {name} before it was created ({task.listed})"
        if last and read["t0"] > last["t1"] and not any(op.maybe for op in task.of("start")):
            before = ms_of(last.get("start_time"))
            if before is not None and start is not None and start < before:
                yield f"its start went back from {last['start_time']} to {read['start_time']}"
        last = read
    for create in task.creates[:1]:
        if create.outcome == OK and create_ms is not None and not create.answer.get("duplicate"):
            low, high = book.wall_ms(create.t0) - CLOCKS_APART_MS, book.wall_ms(create.t1) + CLOCKS_APART_MS
            if create is first_create(book, task) and not low <= create_ms <= high:
                yield f"it was created at {task.listed}, {create_ms - low:.0f} ms after its create was sent"
    claimed = [(run.attempt, claimed_ms(book, run)) for run in runs_of(task).values() if run.attempt is not None]
    claimed = sorted(pair for pair in claimed if pair[1] is not None)
    for (a, at_a), (b, at_b) in zip(claimed, claimed[1:]):
        if at_b < at_a - SLACK_MS:
            yield f"attempt {b} was claimed {at_a - at_b} ms before attempt {a}"


# ---- processes -----------------------------------------------------------------------------------------------------


def ended_by_itself(run, before):
    """The run's own word that it is over was accepted before a moment."""
    return any(op.t1 < before for op in run.accepted("finished", "failed", "back"))


def check_processes(book, task):
    """Two processes of a task at once: only where a run had lost its lease and goes on (counted in book.overlaps)."""
    runs = runs_of(task)
    mains = Counter(start["run"] for start in task.starts if start["role"] == "main")
    for run, n in mains.items():
        if n > 1:
            yield f"run {run[:8]} was started {n} times"
    for start in task.starts:
        for pid, role, run_id in start["others"]:
            if run_id == start["run"]:
                continue
            other = runs.get(run_id)
            if other is None or ended_by_itself(other, start["t"]):
                yield f"process {pid} ({role}) of run {run_id[:8]} was alive after the run's end, when run {start['run'][:8]} started"
            else:
                book.overlaps.append((task.id, run_id, start["run"]))


CHECKS = ((1, check_stored), (1, check_ended), (2, check_final), (2, check_removal), (3, check_fence), (3, check_result), (3, check_processes), (4, check_ends), (4, check_attempts),
          (4, check_timeline), (5, check_due), (5, check_expired), (5, check_leases), (6, check_times))


class Verdict:
    def __init__(self, book):
        self.book, self.violations = book, []
        book.overlaps = []
        for task in book.tasks.values():
            for number, check in CHECKS:
                self.violations += [Violation(number, task.id, text) for text in check(book, task)]
        self.violations += check_listing(book)
        self.violations += check_keys(book)
        self.violations += [Violation(GATES, task_id, text) for task_id, text in check_gates(book)]
        self.statuses = Counter()
        for task in book.tasks.values():
            if task.creates and task.reads:
                read = task.reads[-1]
                self.statuses["/".join(filter(None, (read["status"], read.get("sub_status"))))] += 1

    @property
    def clean(self):
        return not self.violations

    def windows(self):
        """How many faults fell where: by fault point."""
        return Counter(hit["point"] for hit in self.book.hits)

    def story(self, task_id):
        """Everything that concerns a task, one line each, in order."""
        task = self.book.tasks.get(task_id)
        return [] if task is None else [f"{(when(event) - self.book.begin['t']) / 1e9:9.3f} {tell(event)}"
                                        for event in sorted(task.events, key=when)]


def when(event):
    if isinstance(event, Op):
        return event.t0
    return event[1]["t0"] if isinstance(event, tuple) else event["t"]


def tell(event):
    if isinstance(event, Op):
        return repr(event)
    if isinstance(event, tuple):
        return f"{event[0]} " + repr({key: value for key, value in event[1].items() if key not in ("t0", "t1", "task_id")})
    return f"process {event['k']} " + repr({key: value for key, value in event.items() if key not in ("k", "t", "task")})


def check(events):
    book = Book(events)
    assert book.begin, "a history without a begin"
    for task_id, _, created in book.listing or ():
        book.task(task_id).listed = created
    return Verdict(book)


def main():
    verdict = check(load(Path(sys.argv[1])))
    for violation in verdict.violations[:50]:
        print(violation)
    for task_id in dict.fromkeys(violation.task for violation in verdict.violations[:3]):
        print(f"--- {task_id}", *verdict.story(task_id), sep="\n")
    print(f"{len(verdict.violations)} violations, {len(verdict.book.overlaps)} overlaps, windows {dict(verdict.windows())}")
    return 1 if verdict.violations else 0


if __name__ == "__main__":
    sys.exit(main())
