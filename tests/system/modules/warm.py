"""A module that stays. Does what each task's condition says: a list of steps.

["done", VALUE]: the result; ["pid"]: the result is [pid, number of the task in this process, run_id, attempt, deadline];
["trace"]: the result is [traceparent, tracestate] of the line;
["fd3", TEXT], ["out", TEXT]: writes; ["progress", VALUE]; ["exit", N]; ["kill", SIGNAL]: of itself; ["note", FILE]: appends its pid and the task's
id; ["until", FILE]: stays until the file is there; ["child", FILE]: leaves a child behind that notes its pid and never ends; ["ignore"]:
SIGTERM; ["on_term", VALUE]: is the result when SIGTERM comes; ["hoard", MEBIBYTES]: takes memory and keeps it.
"""
import json
import os
import signal
import sys
import time

hoard = []


class Task:
    def __init__(self, line, number):
        self.line, self.number = line, number
        self.id = line["Task"]["task_id"]

    def say(self, **members):
        os.write(3, (json.dumps({"task_id": self.id, **members}) + "\n").encode())

    def note(self, file):
        with open(file, "a") as out:
            out.write(f"{os.getpid()} {self.id}\n")

    def until(self, file):
        while not os.path.exists(file):
            time.sleep(0.01)

    def child(self, file):
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.setsid()
            self.note(file)
            while True:
                time.sleep(60)
        self.until(file)

    def run(self):
        line = self.line
        steps = {"done": lambda value: self.say(result=value),
                 "pid": lambda: self.say(result=[os.getpid(), self.number, line["run_id"], line["attempt"], line["deadline"]]),
                 "trace": lambda: self.say(result=[line.get("traceparent"), line.get("tracestate")]),
                 "progress": lambda value: self.say(progress=value), "fd3": lambda text: os.write(3, text.encode()),
                 "out": lambda text: os.write(1, text.encode()), "exit": os._exit, "kill": lambda number: os.kill(os.getpid(), number),
                 "note": self.note, "until": self.until, "child": self.child, "hoard": lambda size: hoard.append(b"x" * (size << 20)),
                 "ignore": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
                 "on_term": lambda value: signal.signal(signal.SIGTERM, lambda *_: self.say(result=value))}
        for step, *args in line["Task"]["condition"]:
            steps[step](*args)


for number, text in enumerate(sys.stdin, 1):
    Task(json.loads(text), number).run()
