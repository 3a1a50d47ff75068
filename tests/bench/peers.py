"""Runs other task queues by the harness in a folder of its own (--peers) and reads the lines that it prints.

The folder has a program run_peers.sh: given the name of a peer it measures it with servers of its own and prints one JSON
line for each metric: {"peer", "version", "broker", "durability", "metric", "value", "unit", …}. It obeys the variables N
(tasks), NLAT (tasks for latency), REPS, CAP and LATCAP (most seconds for one piece) and ONLY (a text that the durability
setting contains).
"""
import json
import os
import signal
import subprocess
import threading

PEER_S = 900
STOP_S = 90

# Peer -> which of its durability settings: those that acknowledge a task when it is on disk.
PEERS = {
    "asynq": "always",
    "asynq-tuned": "always",
    "river": "",
    "river-tuned": "",
    "bullmq": "always",
    "huey": "always",
    "rabbitmq": "",
    "beanstalkd": "f0",
    "celery": "always",
}


class PeerFailed(Exception):
    pass


def environment(bench, only):
    counts = bench.counts["peers"]
    return {"N": str(counts["tasks"]), "NLAT": str(counts["latency"]), "REPS": "1", "CAP": str(counts["cap_s"]),
            "LATCAP": str(counts["latency_cap_s"]), "ONLY": only}


def end(process):
    """It ends its servers when it is asked to: one signal, and time."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=STOP_S)
    except subprocess.TimeoutExpired as error:
        raise PeerFailed(f"it does not stop (process {process.pid})") from error


def run(folder, name, env):
    """All that it printed, and what it said on standard error."""
    process = subprocess.Popen([folder / "run_peers.sh", name], cwd=folder, env={**os.environ, **env}, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    late = threading.Event()
    timer = threading.Timer(PEER_S, lambda: (late.set(), process.send_signal(signal.SIGTERM)))
    timer.start()
    try:
        out, said = process.communicate()
    except BaseException:
        end(process)
        raise
    finally:
        timer.cancel()
    if late.is_set():
        raise PeerFailed(f"not done after {PEER_S} s")
    return process.returncode, out, said


def why(status, said):
    lines = [line for line in said.splitlines() if line.strip()]
    failed = [line for line in lines if "FAILED" in line] or lines[-1:]
    return f"exit status {status}, no figures: {failed[-1][:200] if failed else 'it said nothing'}"


def measure(bench, folder, name):
    """Emits a line for each metric, or one that says why there are none."""
    try:
        status, out, said = run(folder, name, environment(bench, PEERS[name]))
        lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        if not lines:
            raise PeerFailed(why(status, said))
    except (PeerFailed, OSError, ValueError) as error:
        bench.emit("peer failed", peer=name, why=str(error))
        return
    for line in lines:
        bench.emit("peer", **line)
