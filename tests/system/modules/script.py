"""Does what its condition says: a list of steps.

["out", TEXT] ["err", TEXT] ["fd3", TEXT]: writes; ["exit", N]; ["kill", SIGNAL]: of itself; ["note", FILE]: appends its pid and run id;
["until", FILE]: stays until the file is there; ["child", FILE]: leaves a child behind that notes its pid and never ends,
["close"]: the child holds no descriptor of ours; ["ignore"]: SIGTERM; ["on_term", FILE]: notes that SIGTERM came, then exits 0.
"""
import json
import os
import signal
import sys
import time


def note(file):
    with open(file, "a") as out:
        out.write(f"{os.getpid()} {os.environ['RUN_ID']} {os.environ['TASK_ID']}\n")


def until(file):
    while not os.path.exists(file):
        time.sleep(0.01)


def child(file, how="hold"):
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.setsid()
        if how == "close":
            for fd in range(4):
                os.close(fd)
        note(file)
        while True:
            time.sleep(60)
    while not os.path.exists(file):
        time.sleep(0.01)


def on_term(file):
    def came(*_):
        note(file)
        os._exit(0)
    signal.signal(signal.SIGTERM, came)


STEPS = {"out": lambda text: os.write(1, text.encode()), "err": lambda text: os.write(2, text.encode()),
         "fd3": lambda text: os.write(3, text.encode()), "exit": sys.exit, "kill": lambda number: os.kill(os.getpid(), number),
         "note": note, "until": until, "child": child, "on_term": on_term,
         "ignore": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN)}

for step, *args in json.load(sys.stdin)["Task"]["condition"]:
    STEPS[step](*args)
