"""The history of a run: JSON lines, appended by the driver and by the modules, read again by the checker.

Every line has `k`, its kind, and `t`, CLOCK_MONOTONIC of this host in nanoseconds:

    begin   wall: the unix time in ms at `t`; seed, mode, lease_ms, retention_ms (by status; null: off) and what else the checker has to know
    call    one call of the API by anybody, t … t1: by, api (number of the process that was asked), route, body, http, answer.
            http null: no answer came, and what the call does may come at any time after t
    start   a process of a run began (tests/chaos/steps.h): task, run, attempt, pid, role, others
    end     it came to its end by itself: how
    born    an API process is about to start, its predecessor is dead: api
    fault   what was done to whom, t … t1
    hit     a fault point that a process passed: point, order, pid, task
    look    processes of a task that was read as cancelled: task, pids that are alive (there must be none)
    listed  a part of the list of all tasks, read from t0 on: tasks, each [task_id, token, create_time]
    settled all faults are over and mended; open: tasks that did not become final in time
"""
import json
import threading
import time

DUMP = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
FILES = ("history.jsonl", "runs.jsonl", "faults/hits")


class History:
    def __init__(self, folder):
        self.folder = folder
        self.file = open(folder / FILES[0], "a", buffering=1 << 16)
        self.lock = threading.Lock()

    def add(self, k, t=None, **fields):
        line = DUMP({"k": k, "t": time.monotonic_ns() if t is None else t, **fields})
        with self.lock:
            if not self.file.closed:  # the last connections end after it
                self.file.write(line + "\n")

    def close(self):
        with self.lock:
            self.file.close()


def events_of(line):
    """The event of a line, or none: of a process that was killed while it wrote half a line is left, and another's may stand behind it."""
    for at in (0, line.rfind('{"k":')):
        try:
            return [json.loads(line[at:])] if at >= 0 else []
        except ValueError:
            pass
    return []


def load(folder):
    """All events of a run in the order of their times."""
    events = []
    for name in FILES:
        file = folder / name
        if not file.exists():
            continue
        with open(file) as lines:
            for number, line in enumerate(lines, 1):
                events += events_of(line) or [{"k": "torn", "t": 0, "file": name, "line": number}]
    events.sort(key=lambda event: event["t"])
    return events
