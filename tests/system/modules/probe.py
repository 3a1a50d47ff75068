"""Tells what a module finds when it starts."""
import json
import os
import sys

stdin = sys.stdin.read()
fds = {}
for name in os.listdir("/proc/self/fd"):
    try:
        fds[name] = os.readlink(f"/proc/self/fd/{name}")
    except OSError:  # the one that listed them
        pass
with open("left-behind", "w") as file:
    file.write("x")
with open("/proc/self/status") as status:
    signals = {line[:6]: int(line.split()[1], 16) for line in status if line.startswith(("SigBlk", "SigIgn"))}
print(json.dumps({"stdin": stdin, "env": dict(os.environ), "fds": fds, "cwd": os.getcwd(), "pid": os.getpid(), "pgid": os.getpgid(0),
                  "signals": signals}))
