"""Does what a module should not: {"kind": KIND, "note": FILE}. FILE gets the run id when all that it is about stands.

sleeper: sleeps. double_fork, setsid: leave children behind, detached, with the descriptors closed. ignores: SIGTERM, in children too.
keeps_forking: always some short-lived children, each of its own session. moves_on: every process makes its successor and ends, SIGTERM or not.
finishes: sends its result on SIGTERM. memory: eats it; {"shared": true} in a child. processes: forks, with fuel for 1500. threads. flood: of stdout,
{"fd": 2} of stderr. garbage: on descriptor 3. result: larger than may be. retry: exit 75. fatal: an error line. progress: says it, then sleeps.
"""
import json
import os
import signal
import sys
import threading
import time

condition = json.load(sys.stdin)["Task"]["condition"]
main = os.getpid()


def note():
    if "note" in condition:
        with open(condition["note"], "w") as file:
            file.write(os.environ["RUN_ID"] + "\n")


def for_ever():
    while True:
        time.sleep(60)


def detach():
    os.setsid()
    for fd in range(4):
        os.close(fd)


def sleeper():
    note()
    for_ever()


def double_fork():
    if os.fork() == 0:
        detach()
        if os.fork() == 0:
            note()
            for_ever()
        os._exit(0)
    os.wait()
    for_ever()


def setsid():
    for _ in range(3):
        if os.fork() == 0:
            detach()
            note()
            for_ever()
    for_ever()


def ignores():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        os.fork()
        note()
    for_ever()


def keeps_forking():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    children = 0
    while True:
        if os.fork() == 0:
            os.setsid()
            time.sleep(0.05)
            os._exit(0)
        children += 1
        if children == 5:
            note()
        if children > 5:
            os.wait()


def moves_on():
    """A chain of processes: who looks for it finds it gone, and its successor elsewhere."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork():
        for_ever()
    for step in range(1 << 30):
        os.setsid()
        if step == 5:
            note()
        if os.fork():
            os._exit(0)
        time.sleep(0.002)


def finishes():
    def came(*_):
        os.write(3, b'{"result": "all the same"}\n')
        os._exit(0)
    signal.signal(signal.SIGTERM, came)
    note()
    for_ever()


def memory():
    note()
    if condition.get("child"):
        if os.fork():
            for_ever()
        os.setsid()
    kept = []
    while True:
        kept.append(bytearray(1 << 20))
        time.sleep(0.001)


def processes():
    """Fuel for 1500, so that a supervisor that fails does the host no harm."""
    note()
    fuel = os.open("fuel", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    while True:
        os.write(fuel, b"x")
        if os.fstat(fuel).st_size > 1500:
            for_ever()
        if os.fork() == 0:
            os.setsid()
        elif os.getpid() != main:
            os._exit(0)


def threads():
    note()
    for _ in range(200):
        threading.Thread(target=time.sleep, args=(1000,)).start()
    for_ever()


def flood():
    note()
    while True:
        os.write(condition.get("fd", 1), b"a line of a flood\n" * 1000)


def garbage():
    note()
    os.write(3, b'\x00\xff{"result": 1}\n')
    for_ever()


def result():
    note()
    os.write(3, b'{"result": "')
    while True:
        os.write(3, b"x" * 65536)


def retry():
    note()
    print("not now", file=sys.stderr)
    sys.exit(75)


def fatal():
    note()
    os.write(3, b'{"error": {"class": "fatal", "text": "never"}}\n')


def progress():
    for value in condition["say"]:
        os.write(3, json.dumps({"progress": value}).encode() + b"\n")
    note()
    for_ever()


KINDS = (sleeper, double_fork, setsid, ignores, keeps_forking, moves_on, finishes, memory, processes, threads, flood, garbage, result, retry, fatal,
         progress)
{kind.__name__: kind for kind in KINDS}[condition["kind"]]()
