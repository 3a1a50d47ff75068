"""Behind scripts/bench: the figures of one embedded API and consumer, and the bare costs beside them.

Every phase has servers and a store of its own in a folder of the build tree, so that the disk is the one that is
measured by itself. Nothing here passes or fails by a time.
"""
import argparse
import http.client
import json
import os
import platform
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READY_S = 30
STOP_S = 40
DRAIN_S = 600
RESULT_S = 30
BODY = json.dumps({"data": {"service": "bench", "condition": {"path": "/data/in/000001.csv", "columns": [1, 2, 3]}}})

FULL = {"fsync": 1000, "healthz": 5000, "create": {1: 2000, 32: 20000, 128: 20000}, "drain": 2000, "latency": 300,
        "retention": {"backlog": 40000, "creates": 10000}}
QUICK = {"fsync": 200, "healthz": 1000, "create": {1: 300, 32: 3000, 128: 3000}, "drain": 300, "latency": 40,
         "retention": {"backlog": 4000, "creates": 1500}}


class BenchError(Exception):
    pass


class Bench:
    def __init__(self, build, counts):
        self.build, self.counts = build, counts
        self.slots = 2 * (os.cpu_count() or 1)
        self.token = secrets.token_hex(16)
        self.env = {**os.environ, "AUTH_TOKEN": self.token}
        self.lines = []

    def emit(self, line):
        self.lines.append(line)
        print(json.dumps(line), flush=True)

    def tool(self, name, *args):
        done = subprocess.run([self.build / "tests/bench" / name, *map(str, args)], env=self.env,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        if done.returncode != 0 or not done.stdout:
            raise BenchError(f"{name} ended with exit status {done.returncode}")
        return json.loads(done.stdout)


class Server:
    """One of our programs, its log in the phase's folder."""

    def __init__(self, bench, name, folder):
        self.name, self.log = name, folder / f"{name}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [bench.build / name / f"longhaul-{name}", "--config", folder / "config.yaml"], env=bench.env,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def ready(self):
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            gone = self.process.poll() is not None
            for line in self.log.read_text(errors="replace").splitlines():
                if '"msg":"ready"' in line:
                    return json.loads(line)
            if gone:
                break
            time.sleep(0.01)
        raise BenchError(f"the {self.name} is not ready:\n{self.log.read_text(errors='replace')[-2000:]}")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Stack:
    """An API on a port of its own, and a consumer once it is asked for. The folder goes with it."""

    def __init__(self, bench, kind="command"):
        self.bench, self.servers, self.kind, self.more = bench, [], kind, {}
        self.folder = Path(tempfile.mkdtemp(prefix="bench-", dir=bench.build)).resolve()

    def configure(self, address):
        folder = self.bench.build / "tests/bench"
        what = {"command": {"command": [str(folder / "bench_module")]}, "warm": {"command": [str(folder / "bench_warm")]},
                "shared_object": {"object": str(folder / "bench_object.so")}}
        module = {"kind": self.kind, **what[self.kind], "slots": self.bench.slots}
        config = {"default_env": "TEST", "service": ["bench"], "listen": address, "store": "sqlite:longhaul.db",
                  "broker": "none", "module": {"bench": module}, **self.more}
        (self.folder / "config.yaml").write_text(json.dumps(config))

    def start(self, name):
        server = Server(self.bench, name, self.folder)
        self.servers.append(server)
        return server.ready()

    def restart_api(self, **more):
        """With these keys besides, on the port that it had."""
        self.more = more
        self.configure(f"{self.host}:{self.port}")
        self.connection.close()
        self.servers.pop().stop()
        self.start("api")

    def __enter__(self):
        self.configure("127.0.0.1:0")
        try:
            self.host, port = self.start("api")["address"].removeprefix("http://").rsplit(":", 1)
            self.port = int(port)
            # The consumer reads the same file, and there finds the port that was picked.
            self.configure(f"127.0.0.1:{self.port}")
            self.connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for server in reversed(self.servers):
            server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def post(self, route, body):
        text = body if isinstance(body, str) else json.dumps(body)
        self.connection.request("POST", route, text, {"Authorization": self.bench.token,
                                                      "Content-Type": "application/json"})
        return json.loads(self.connection.getresponse().read())

    def load(self, path, connections, count, *body):
        return self.bench.tool("bench_http", self.host, self.port, path, connections, count, *body)

    def total(self, status):
        return self.post("/api/tasks", {"p_size": 1, "service": "bench", "status": status})["total"]


# ---- what is measured ----------------------------------------------------------------------------------------


def measure_bare(bench):
    with tempfile.TemporaryDirectory(prefix="bench-", dir=bench.build) as folder:
        bench.emit({"bench": "fsync", **bench.tool("bench_fsync", folder, bench.counts["fsync"])})
    with Stack(bench) as stack:
        bench.emit({"bench": "healthz", **stack.load("/healthz", 1, bench.counts["healthz"])})


def measure_create(bench):
    for connections, count in bench.counts["create"].items():
        with Stack(bench) as stack:
            line = {"bench": "create", **stack.load("/api/create_task", connections, count, BODY)}
            line["stored"] = stack.total("waiting")
            bench.emit(line)


def children_cpu_s():
    """Of all children that have ended, and theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure_drain(bench):
    for kind in ("command", "warm", "shared_object"):
        drain_of(bench, kind)


def drain_of(bench, kind):
    count = bench.counts["drain"]
    with Stack(bench, kind) as stack:
        stack.load("/api/create_task", 32, count, BODY)
        begun = time.monotonic()
        stack.start("consumer")
        end = begun + DRAIN_S
        while (finished := stack.total("finished")) < count and time.monotonic() < end:
            if failed := stack.total("failed"):
                raise BenchError(f"{failed} tasks failed")
            time.sleep(0.02)
        seconds = time.monotonic() - begun
        if finished < count:
            raise BenchError(f"{finished} of {count} tasks are finished after {DRAIN_S} s")
        before = children_cpu_s()
        stack.servers[-1].stop()
        bench.emit({"bench": "drain", "kind": kind, "count": count, "slots": bench.slots, "s": round(seconds, 3),
                    "per_s": round(count / seconds, 1), "cpu_ms": round((children_cpu_s() - before) * 1000 / count, 3),
                    "note": "from the consumer's start; cpu_ms: of the consumer and all that it started, per task"})


def one_latency_ns(stack):
    begun_ns = time.time_ns()
    task = stack.post("/api/create_task", BODY)["task_id"]
    end = time.monotonic() + RESULT_S
    while time.monotonic() < end:
        answer = stack.post("/api/result_task", {"data": {"task_id": task}})
        if answer["result"] == "ok":
            return answer["data"] - begun_ns
        if answer["code"] != "NOT_FINISHED":
            raise BenchError(f"result_task: {answer}")
        time.sleep(0.002)
    raise BenchError(f"{task} is not finished after {RESULT_S} s")


def measure_latency(bench):
    with Stack(bench) as stack:
        stack.start("consumer")
        one_latency_ns(stack)
        took = sorted(one_latency_ns(stack) / 1e6 for _ in range(bench.counts["latency"]))
        bench.emit({"bench": "latency", "count": len(took), "p50_ms": round(took[len(took) // 2], 3),
                    "p99_ms": round(took[len(took) * 99 // 100], 3),
                    "note": "from before create_task's first byte to the module's first line, consumer idle"})


def fill(stack, count):
    """So many finished tasks."""
    for at in range(0, count, 500):
        made = stack.post("/api/create_task", {"data": [{"service": "bench", "condition": at}] * 500})["data"]
        stack.post("/api/update_status_task", {"data": [{"task_id": item["task_id"], "status": "finished"} for item in made]})


def measure_retention(bench):
    """Creates while a backlog is removed, and while it is let be: in turns on one store."""
    backlog, creates = bench.counts["retention"].values()
    took, p99_ms, removed = {False: 0.0, True: 0.0}, {False: 0.0, True: 0.0}, 0
    with Stack(bench) as stack:
        fill(stack, backlog)
        for removes in (False, True) * 2:
            stack.restart_api(sweep_s=0.05, retention={"finished_s": 0.01 if removes else 0})
            before = stack.total("finished")
            line = stack.load("/api/create_task", 32, creates, BODY)
            took[removes] += creates / line["per_s"]
            p99_ms[removes] = max(p99_ms[removes], line["p99_ms"])
            removed += before - stack.total("finished")
        left = stack.total("finished")
    bench.emit({"bench": "retention", "connections": 32, "creates": 4 * creates, "per_s": round(2 * creates / took[True], 1),
                "per_s_without": round(2 * creates / took[False], 1), "ratio": round(took[False] / took[True], 3),
                "p99_ms": p99_ms[True], "p99_ms_without": p99_ms[False],
                "removed": removed, "removed_per_s": round(removed / took[True], 1), "left": left,
                "note": "creates while old tasks are removed; ratio to creates without"})


PHASES = {"bare": measure_bare, "create": measure_create, "drain": measure_drain, "latency": measure_latency,
          "retention": measure_retention}


# ---- settings and the table ----------------------------------------------------------------------------------


def said(*command):
    try:
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None


def cpu():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def settings(bench, quick):
    return {
        "bench": "settings", "quick": quick, "longhaul": said(bench.build / "api/longhaul-api", "--version"),
        "commit": said("git", "describe", "--always", "--dirty"), "store": "sqlite", "journal_mode": "WAL",
        "synchronous": "FULL", "broker": "none", "sqlite": said("pkg-config", "--modversion", "sqlite3"),
        "libevent": said("pkg-config", "--modversion", "libevent"), "cores": os.cpu_count(), "cpu": cpu(),
        "kernel": platform.release(), "filesystem": said("stat", "-f", "-c", "%T", str(bench.build)),
        "slots": bench.slots, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def label(line):
    names = {"fsync": "bare: append 4 KiB + fdatasync", "healthz": "bare: one HTTP round trip (/healthz)",
             "drain": f"drain, {line.get('slots')} slots, {line.get('kind')}", "latency": "create to module start",
             "retention": "durable creates beside retention"}
    return names.get(line["bench"]) or f"durable creates, {line['connections']} connections"


def figure(line, key):
    return f"{line[key]:>12,}" if key in line else " " * 12


def table(lines):
    print(f"\n{'':40}{'per second':>12}{'p50 ms':>12}{'p99 ms':>12}", file=sys.stderr)
    for line in lines:
        if line["bench"] != "settings":
            cells = "".join(figure(line, key) for key in ("per_s", "p50_ms", "p99_ms"))
            print(f"{label(line):40}{cells}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures the embedded service.")
    parser.add_argument("--quick", action="store_true", help="fewer requests: a minute's look, rough figures")
    parser.add_argument("--only", default=",".join(PHASES), help=f"of {','.join(PHASES)}; default: all")
    parser.add_argument("--build", type=Path, required=True, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if unknown := set(args.only.split(",")) - set(PHASES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    bench = Bench(args.build.resolve(), QUICK if args.quick else FULL)
    try:
        bench.emit(settings(bench, args.quick))
        for name in args.only.split(","):
            PHASES[name](bench)
    except (BenchError, OSError) as error:
        sys.exit(f"bench: {error}")
    table(bench.lines)


if __name__ == "__main__":
    main()
