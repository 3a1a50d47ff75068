"""Services that are paused and limited, as a history shows them (docs/internals/chaos.md).

A rule is held against an API process only where that process has acknowledged it itself: others learn of it later. Limits are
exact only where one process decides, over SQLite.
"""
from bisect import bisect_right
from collections import defaultdict

from tests.chaos.book import CLOCKS_APART_MS, NEVER, OK, claimed_ms, first_claims, lease_end, runs_of


class Begun:
    """A run that began, at a moment between `since` and `until`, by one of the API processes `apis`."""

    def __init__(self, task, run, since, until, apis):
        self.task, self.run, self.since, self.until, self.apis = task, run, since, until, apis

    def name(self):
        return f"run {self.run.id[:8]}" if self.run else "a run without id"


def begun_run(book, task, run):
    """Begun, or None where no claim of it was accepted."""
    accepted = run.accepted("claim")
    if not accepted:
        return None
    until = min(op.t1 for op in accepted)
    sent = first_claims(book, run)
    since = min(t0 for t0, _ in sent)
    at_ms = claimed_ms(book, run)  # its lease tells more closely when it was given
    if at_ms is not None:
        since = min(max(since, book.mono(at_ms - CLOCKS_APART_MS)), until)
    return Begun(task, run, since, until, {api for _, api in sent})


def begun_of(book, task):
    for run in runs_of(task).values():
        begun = begun_run(book, task, run)
        if begun:
            yield begun
    for op in task.of("claim"):
        if not op.run and op.outcome == OK:  # a claim without run_id is never accepted twice
            yield Begun(task, None, op.t0, op.t1, {op.api})


def over_at(book, op):
    """When it can have no effect any more. Over SQLite the death of the process that was asked ends a call that was not answered; it may
    have been sent until it was given up, to a process that was born meanwhile."""
    if op.t1 == NEVER and book.begin["mode"] == "embedded":
        return next((t for t in book.births[op.api] if t > op.given_up), NEVER)
    return op.t1


class Switch:
    """What a service is told of one thing, on and off, by calls whose effects come in any order that their times allow."""

    def __init__(self, book, ops, value_of):
        self.ops = [(op.t0, over_at(book, op), value_of(op)) for op in ops if op.maybe and value_of(op) is not None]
        self.acked = defaultdict(list)  # api -> (t1, t0, value), by t1
        for op in ops:
            if op.outcome == OK and value_of(op) is not None:
                self.acked[op.api].append((op.t1, op.t0, value_of(op)))
        for told in self.acked.values():
            told.sort()

    def may_be(self, on, since, until):
        """Whether a call that turned it on (or off) may have taken effect after `since`, before `until`."""
        return any(bool(value) == on and t0 < until and t1 > since for t0, t1, value in self.ops)

    def surely(self, api, since, until):
        """The value that the process has surely gone by from since until, or None where nobody knows."""
        told = self.acked.get(api, [])
        at = bisect_right(told, (since,)) - 1
        if at < 0:
            return None
        _, told_t0, value = told[at]
        return value if not any(other != value and t0 < until and t1 > told_t0 for t0, t1, other in self.ops) else None

    def surely_off(self, api, since, until):
        """Whether the process cannot have known it on at any moment from since until."""
        told = [t0 for t1, t0, value in self.acked.get(api, []) if t1 < since and not value]
        return not self.may_be(True, max(told, default=-NEVER), until)


def paused_value(op):
    return {"pause": True, "resume": False}.get(op.kind)


def limit_value(name):
    def value(op):
        return (op.item[name] or 0) if op.kind == "limit" and name in op.item else None
    return value


class Service:
    def __init__(self, book, name, gates):
        self.name, self.begun, self.refused, self.tasks, self.bulks = name, [], [], [], []
        self.paused = Switch(book, gates, paused_value)
        self.max_running = Switch(book, gates, limit_value("max_running"))
        self.max_waiting = Switch(book, gates, limit_value("max_waiting"))


def services_of(book):
    found = {}

    def service(name):
        if name not in found:
            found[name] = Service(book, name, book.gates.get(name, []))
        return found[name]
    for task in book.tasks.values():
        of = service(task.service)
        of.tasks.append(task)
        of.begun += begun_of(book, task)
        of.refused += [(task, op) for op in task.of("claim") if op.code in ("SERVICE_PAUSED", "LIMIT_REACHED")]
    for bulk in book.bulks:
        for name in {op.item.get("service") for op in bulk}:
            service(name).bulks.append([op for op in bulk if op.item.get("service") == name])
    return found.values()


# ---- the rules ----------------------------------------------------------------------------------------------------


def check_paused(book, service):
    """No run begins at a process that has acknowledged a pause, until a resume was sent."""
    for begun in service.begun:
        if all(service.paused.surely(api, begun.since, begun.until) is True for api in begun.apis):
            yield begun.task.id, f"{begun.name()} began while service {service.name} was paused"


def check_refused(book, service):
    """No claim and no create is refused for a pause or a limit that cannot have been."""
    switches = {"SERVICE_PAUSED": service.paused, "LIMIT_REACHED": service.max_running}
    for task, op in service.refused:
        if switches[op.code].surely_off(op.api, op.t0, op.t1):
            yield task.id, f"a claim was refused by {op.code} when service {service.name} was open"
    for bulk in service.bulks:
        if any(op.code == "QUEUE_FULL" for op in bulk) and service.max_waiting.surely_off(bulk[0].api, bulk[0].t0, bulk[0].t1):
            yield None, f"a create was refused by QUEUE_FULL when service {service.name} had no limit: token {bulk[0].item['condition']}"


def surely_runs(book, other, begun):
    """Whether it ran all the while that the other run may have begun: it was given the task before, had a lease that went on, and had not said its last word."""
    if other.run is None or other.until >= begun.since or other.task is begun.task:
        return False
    ended = min((op.t0 for op in other.run.ops if op.kind in ("finished", "failed", "back") and op.maybe), default=NEVER)
    lease = lease_end(other.run, begun.since)
    return ended > begun.until and lease is not None and lease > book.wall_ms(begun.until) + CLOCKS_APART_MS


def check_running(book, service):
    """No run begins while as many run as may."""
    for begun in service.begun:
        most = service.max_running.surely(0, begun.since, begun.until)
        running = sum(surely_runs(book, other, begun) for other in service.begun) if most else 0
        if most and running >= most:
            yield begun.task.id, f"{begun.name()} began beside {running} others of service {service.name}, which may run {most}"


def waits_of(book, service):
    """(since, until) of the tasks in which they surely waited for their first run."""
    first = {begun.task.id: begun.since for begun in service.begun if begun.run and begun.run.attempt == 1}
    for task in service.tasks:
        created = min((op.t1 for op in task.creates if op.outcome == OK), default=NEVER)
        seen = [read["t0"] for read in task.reads if read["status"] in ("ready", "waiting") and read.get("attempt") == 0]
        until = max([first.get(task.id, 0), *seen])
        if created < until and not any(op.maybe for op in task.of("start")):
            yield created, until


def check_waiting(book, service):
    """No task is created while as many wait as may."""
    waits = list(waits_of(book, service)) if service.max_waiting.ops else []
    for bulk in service.bulks:
        made = [op for op in bulk if op.outcome == OK and not op.answer.get("duplicate")]
        most = service.max_waiting.surely(0, bulk[0].t0, bulk[0].t1)
        waiting = sum(since < bulk[0].t0 and until > bulk[0].t1 for since, until in waits) if most and made else 0
        if most and made and waiting + len(made) > most:
            yield (made[-1].answer.get("task_id"),
                   f"{len(made)} tasks were created beside {waiting} of service {service.name}, of which {most} may wait")


def check_tail(book, service):
    """Of one call the tail is refused: nothing is created behind what was."""
    for bulk in service.bulks:
        full = False
        for op in bulk:
            full |= op.code == "QUEUE_FULL"
            if full and op.outcome == OK and not op.answer.get("duplicate"):
                yield op.answer.get("task_id"), f"it was created behind one of the same call that service {service.name} had no room for"
                break


def check_gates(book):
    """(task id or None, what is wrong)."""
    exact = book.begin.get("mode") == "embedded"
    for service in services_of(book):
        for check in (check_paused, check_refused, check_tail, *((check_running, check_waiting) if exact else ())):
            yield from check(book, service)
