"""What the checker knows of a history: its calls, sorted by task, by run and by service.

A call takes effect at one moment between its sending and its answer; a call without an answer at any moment after its sending, or
never. Times `t0` and `t1` are those of CLOCK_MONOTONIC in ns, those that end in `_ms` are unix milliseconds.
"""
import calendar
import re
import time
from collections import Counter, defaultdict

NEVER = float("inf")
FINAL = ("finished", "failed")
# The host's clocks and the API's milliseconds: no event is dated more exactly.
SLACK_MS = 5
CLOCKS_APART_MS = 100

OK, REFUSED, UNKNOWN = "ok", "refused", "unknown"
UNSURE_CODES = ("OUTCOME_UNKNOWN", "INTERNAL")


def ms_of(text):
    """An ISO time of an answer as unix milliseconds, None as None."""
    if not text:
        return None
    year, month, day, hour, minute, second, ms = map(int, re.match(
        r"(\d+)-(\d+)-(\d+)T(\d+):(\d+):(\d+)\.(\d{3})Z$", text).groups())
    return calendar.timegm((year, month, day, hour, minute, second)) * 1000 + ms


def iso_of(ms):
    """And back."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{int(ms % 1000):03d}Z" if ms else None


def outcome_of(http, code):
    if http is None or code in UNSURE_CODES:
        return UNKNOWN
    return OK if code is None and http == 200 else REFUSED


class Op:
    """One item of one call, about one task."""

    __slots__ = ("kind", "run", "t0", "t1", "given_up", "outcome", "item", "answer", "code", "by", "api")

    def __init__(self, kind, call, item, answer, code):
        self.kind, self.item, self.answer, self.code, self.by = kind, item, answer or {}, code, call["by"]
        self.api = call.get("api", 0)
        self.run = item.get("run_id") or self.answer.get("run_id") or ""
        self.outcome = outcome_of(call["http"], code)
        self.t0, self.given_up = call["t"], call["t1"]
        self.t1 = NEVER if self.outcome == UNKNOWN else call["t1"]

    @property
    def maybe(self):
        """It has taken effect, or may have."""
        return self.outcome != REFUSED

    def __repr__(self):
        said = {key: value for key, value in self.item.items() if key not in ("task_id", "run_id", "condition")}
        end = "never answered" if self.t1 == NEVER else f"+{(self.t1 - self.t0) / 1e6:.1f} ms"
        return (f"{self.kind}{f' run {self.run[:8]}' if self.run else ''} by {self.by} {said} {end} -> {self.outcome}"
                f"{f' {self.code}' if self.code else ''} {shown(self.answer)}")


def shown(answer):
    keep = ("now", "status", "attempt", "lease_until", "cancel", "duplicate", "sub_status")
    return {key: answer[key] for key in keep if key in answer}


class Task:
    def __init__(self, task_id):
        self.id = task_id
        self.creates, self.ops, self.reads, self.results, self.starts, self.ends = [], [], [], [], [], []
        self.looks, self.listed, self.timeline = [], None, None
        self.service = task_id[3:].rpartition("_")[0]  # ts_SERVICE_…
        self.events = []  # whatever concerns it, to be shown

    def of(self, *kinds):
        return [op for op in self.ops if op.kind in kinds]


class Run:
    """What is known of one run of a task."""

    def __init__(self, run_id):
        self.id = run_id
        self.ops, self.attempt, self.lease_claimed = [], None, None

    def accepted(self, *kinds):
        return [op for op in self.ops if op.kind in kinds and op.outcome == OK]


def items_of(value):
    return value if isinstance(value, list) else [value]


class Book:
    """The history sorted by task."""

    def __init__(self, events):
        self.tasks, self.tokens, self.refused_tokens = {}, {}, set()
        self.keys = defaultdict(list)  # (service, idempotency key) -> creates
        self.bulks = []  # of each call of create_task its items in order
        self.births = defaultdict(list)  # API process -> when it was started again, in order
        self.gates = defaultdict(list)  # service -> what paused, resumed and limited it
        self.polls = defaultdict(list)  # claim_id -> (t0, api) of its calls that may have claimed without saying so
        self.lost_polls = []  # t0 of all of these
        self.begin, self.faults, self.hits, self.listing, self.listing_t0 = None, [], [], None, NEVER
        self.left_open = set()  # tasks that were not final in the end, however long they were waited for
        self.counts = Counter()
        for event in events:
            getattr(self, f"see_{event['k']}", self.ignore)(event)

    def task(self, task_id):
        if task_id not in self.tasks:
            self.tasks[task_id] = Task(task_id)
        return self.tasks[task_id]

    def wall_ms(self, t):
        """The unix time at a moment of the monotonic clock."""
        return self.begin["wall"] + (t - self.begin["t"]) / 1e6

    def mono(self, wall_ms):
        """And back."""
        return self.begin["t"] + (wall_ms - self.begin["wall"]) * 1e6

    def ignore(self, event):
        self.counts[event["k"]] += 1

    def see_begin(self, event):
        self.begin = event

    def see_settled(self, event):
        self.left_open = set(event["open"])

    def see_fault(self, event):
        self.faults.append(event)

    def see_born(self, event):
        self.births[event["api"]].append(event["t"])

    def see_hit(self, event):
        self.hits.append(event)

    def see_start(self, event):
        self._note(event["task"], event).starts.append(event)

    def see_end(self, event):
        self._note(event["task"], event).ends.append(event)

    def see_look(self, event):
        self._note(event["task"], event).looks.append(event)

    def see_listed(self, event):
        """The pages of all tasks, read at the end: [task id, token, create_time]."""
        self.listing = self.listing or []
        self.listing += event["tasks"]
        self.listing_t0 = min(self.listing_t0, event.get("t0", event["t"]))

    def _note(self, task_id, what):
        task = self.task(task_id)
        task.events.append(what)
        return task

    # ---- calls

    def see_call(self, event):
        self.counts["calls"] += 1
        body = event["body"]
        data = body.get("data", body) if isinstance(body, dict) else {}
        if event["http"] == 0:
            event = {**event, "http": 503}  # nothing was sent
        handle = getattr(self, f"call_{event['route']}", None)
        if handle:
            handle(event, data, event["answer"] or {})

    def _pairs(self, event, items, answers):
        """Each item with its part of the answer and its code."""
        whole = (event["answer"] or {}).get("code") or (None if event["http"] in (200, None) else f"HTTP {event['http']}")
        listed = answers if isinstance(answers, list) and len(answers) == len(items) else None
        for number, item in enumerate(items):
            part = listed[number] if listed else None
            yield item, part if isinstance(part, dict) else {}, (part or {}).get("code") or whole

    def _op(self, kind, event, item, answer, code):
        if not isinstance(item, dict) or not isinstance(item.get("task_id"), str):
            return
        op = Op(kind, event, item, answer, code)
        self._note(item["task_id"], op).ops.append(op)

    def call_create_task(self, event, data, answer):
        items = items_of(data)
        answers = answer.get("data") if isinstance(data, list) else [answer]
        if isinstance(data, dict) and isinstance(answer.get("data"), list):
            answers = answer["data"]  # OUTCOME_UNKNOWN: the ids that may exist
        self.bulks.append([])
        for item, part, code in self._pairs(event, items, answers):
            op = Op("create", event, item, part, code)
            self.bulks[-1].append(op)
            token = token_of(item.get("condition"))
            if op.outcome != REFUSED:
                self.tokens.setdefault(token, []).append(op)
            elif token is not None:
                self.refused_tokens.add(token)
            key = item.get("idempotency_key")
            if key is not None:
                self.keys[item.get("service"), key].append(op)
            if op.answer.get("task_id"):
                self._note(op.answer["task_id"], op).creates.append(op)

    def call_update_status_task(self, event, data, answer):
        items = items_of(data)
        answers = answer.get("status") if isinstance(data, list) else [answer.get("status")]
        kinds = {"running": "claim", "finished": "finished", "failed": "failed", "waiting": "back"}
        for item, part, code in self._pairs(event, items, answers):
            if isinstance(item, dict) and item.get("status") in kinds:
                self._op(kinds[item["status"]], event, item, part, code)

    def call_heartbeat_task(self, event, data, answer):
        for item, part, code in self._pairs(event, items_of(data), answer.get("data")):
            self._op("heartbeat", event, item, part, code)

    def call_claim_task(self, event, data, answer):
        if outcome_of(event["http"], answer.get("code")) == UNKNOWN:
            self.lost_polls.append(event["t"])
            if data.get("claim_id"):
                self.polls[data["claim_id"]].append((event["t"], event.get("api", 0)))
        for part in answer.get("data") or []:
            task_id = part["Task"]["task_id"]
            self._op("claim", event, {"task_id": task_id, "run_id": part["run_id"], "claim_id": data.get("claim_id")}, part, None)

    def _single(kind):
        def call(self, event, data, answer):
            for item, part, code in self._pairs(event, [data], [answer]):
                self._op(kind, event, item, part, code)
        return call

    call_start_task = _single("start")
    call_update_task = _single("edit")
    call_cancel_task = _single("cancel")
    call_delete_task = _single("delete")

    def _gate(kind):
        def call(self, event, data, answer):
            for item, part, code in self._pairs(event, [data], [answer]):
                self.gates[item["service"]].append(Op(kind, event, item, part, code))
        return call

    call_pause_service_task = _gate("pause")
    call_resume_service_task = _gate("resume")
    call_limit_service_task = _gate("limit")

    def call_status_task(self, event, data, answer):
        if event["http"] != 200:
            return
        for item in answer["status"]:
            read = {**item, "t0": event["t"], "t1": event["t1"]}
            self._note(item["task_id"], ("read", read)).reads.append(read)

    def call_result_task(self, event, data, answer):
        code = answer.get("code")
        if event["http"] == 200 or code in ("TASK_FAILED", "NOT_FINISHED", "UNKNOWN_TASK", "RESULT_EXPIRED"):
            result = {"t0": event["t"], "t1": event["t1"], "code": code, "data": answer.get("data")}
            self._note(data["task_id"], ("result", result)).results.append(result)

    def call_timeline_task(self, event, data, answer):
        if event["http"] == 200:
            timeline = {"t0": event["t"], "t1": event["t1"], "answer": answer}
            self._note(data["task_id"], ("timeline", timeline)).timeline = timeline


def token_of(condition):
    return condition.get("n") if isinstance(condition, dict) else None


def runs_of(task):
    if not hasattr(task, "runs"):
        task.runs = {}
        for op in task.ops:
            if op.run and op.kind in ("claim", "finished", "failed", "back", "heartbeat"):
                task.runs.setdefault(op.run, Run(op.run)).ops.append(op)
        for start in task.starts:
            run = task.runs.setdefault(start["run"], Run(start["run"]))
            run.attempt = start["attempt"]
        for run in task.runs.values():
            for op in run.accepted("claim"):
                run.attempt = run.attempt or op.answer.get("attempt")
    return task.runs


def first_claims(book, run):
    """When, and at which processes, the run may have been given its task: (t0, api) of its claims, those included that nobody answered."""
    claims = [op for op in run.ops if op.kind == "claim" and op.maybe]
    return [(op.t0, op.api) for op in claims] + [poll for claim in {op.item.get("claim_id") for op in claims} for poll in book.polls.get(claim, ())]


def claimed_ms(book, run):
    """When the run was given the task, by the API's clock, or None where nobody can say. A claim that is repeated may tell a lease that
    was renewed or taken back meanwhile: so the least of the leases is the first, if every claim that was sent before has told one."""
    leases = [(ms_of(op.answer.get("lease_until")), op.t1, op) for op in run.accepted("claim")]
    leases = [lease for lease in leases if lease[0] is not None]
    if not leases:
        return None
    lease, t1, op = min(leases, key=lambda lease: lease[:2])
    told = {claim.t0 for _, _, claim in leases}
    if any(t0 < t1 and t0 not in told for t0, _ in first_claims(book, run)):
        return None
    return lease - (op.item.get("lease_s", 0) * 1000 or book.begin["lease_ms"])


def lease_end(run, before):
    """The end of the lease that the run surely had when `before` came, or None."""
    ends = [ms_of(op.answer.get("lease_until")) for op in run.accepted("claim", "heartbeat") if op.t1 < before]
    ends = [end for end in ends if end is not None]
    return max(ends) if ends else None


def revived_between(task, since, until):
    """Something that brings a final task back to life may have taken effect in between."""
    return any(op.maybe and op.t0 < until and op.t1 > since for op in task.of("start"))


def is_removed(read):
    return read.get("sub_status") == "removed"


def removed_sights(task):
    """Every answer that tells that the task is removed, with that it did: (t0, t1, by what)."""
    yield from ((read["t0"], read["t1"], "status_task") for read in task.reads if is_removed(read))
    yield from ((result["t0"], result["t1"], "result_task") for result in task.results if result["code"] == "RESULT_EXPIRED")
    for op in task.ops:
        if op.code == "TASK_REMOVED" or (op.kind == "delete" and op.outcome == OK):
            yield op.t0, op.t1, op.kind
