"""Does what its condition says: a list of steps.

["out", TEXT] ["err", TEXT] ["fd3", TEXT]: writes; ["exit", N]; ["kill", SIGNAL]: of itself; ["note", FILE]: appends its pid and run id;
["until", FILE]: stays until the file is there; ["child", FILE]: leaves a child behind that notes its pid and never ends,
["close"]: the child holds no descriptor of ours; ["ignore"]: SIGTERM; ["on_term", FILE]: notes that SIGTERM came, then exits 0;
["pid"]: writes its pid; ["kill_parent"]: its supervisor; ["kill_consumer", FILE]: its supervisor's parent, once FILE with the attempt's
index (from 0) is there.
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


def parent_of(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[1])


def kill_program(pid, name):
    """An ancestor that has died already has left us to another process: that one is spared."""
    with open(f"/proc/{pid}/cmdline") as command:
        if name in command.read().split("\0")[0]:
            os.kill(pid, signal.SIGKILL)


def kill_consumer(file):
    until(f"{file}{int(os.environ['ATTEMPT']) - 1}")
    kill_program(parent_of(os.getppid()), "longhaul-consumer")
    until("/never/there")


STEPS = {"out": lambda text: os.write(1, text.encode()), "err": lambda text: os.write(2, text.encode()),
         "fd3": lambda text: os.write(3, text.encode()), "exit": sys.exit, "kill": lambda number: os.kill(os.getpid(), number),
         "note": note, "until": until, "child": child, "on_term": on_term,
         "pid": lambda: print(os.getpid()), "kill_parent": lambda: kill_program(os.getppid(), "longhaul-runner"), "kill_consumer": kill_consumer,
         "ignore": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN)}

for step, *args in json.load(sys.stdin)["Task"]["condition"]:
    STEPS[step](*args)
