"""What every row stands on: our tools, and an API with a store of its own, with a consumer once it is asked for."""
import http.client
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READY_S = 120
STOP_S = 60
SERVICES = ["bench", *(f"fill{number:02}" for number in range(20))]
# The same JSON value of about 200 bytes that the peers' clients send.
CONDITION = {"id": 1, "op": "echo", "user": "u-000001", "data": "x" * 150}


class BenchError(Exception):
    """Says what went wrong, in words for people."""


def one_task(service="bench"):
    return json.dumps({"data": {"service": service, "condition": CONDITION}})


def many_tasks(count, service="bench"):
    return json.dumps({"data": [{"service": service, "condition": CONDITION}] * count})


def memory_mb(pid, what="Rss"):
    """Of a process, in MB (10^6 bytes): Rss, or Pss, in which a page that several processes share counts once."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return round(int(line.split()[1]) * 1024 / 1e6, 2)
    raise BenchError(f"/proc/{pid}/smaps_rollup tells no {what}")


def children_of(pid):
    """Its children, and theirs."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *children_of(int(child))]
    return found


class Bench:
    """The settings of this run and the lines that it has brought so far."""

    def __init__(self, build, counts, slots, kept=None):
        self.build, self.counts, self.slots = build, counts, slots
        self.kept = kept  # the file of a filled store, which stays
        self.token = secrets.token_hex(16)
        self.env = {**os.environ, "AUTH_TOKEN": self.token}
        self.lines = []

    def emit(self, bench, **more):
        line = {"bench": bench, **more}
        self.lines.append(line)
        print(json.dumps(line), flush=True)

    def tool(self, name, *args):
        """What one of our tools measured."""
        done = subprocess.run([self.build / "tests/bench" / name, *map(str, args)], env=self.env,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        if done.returncode != 0 or not done.stdout:
            raise BenchError(f"{name} ended with exit status {done.returncode}")
        return json.loads(done.stdout)

    def module(self, kind, slots):
        folder = self.build / "tests/bench"
        what = {"command": {"command": [str(folder / "bench_module")]}, "warm": {"command": [str(folder / "bench_warm")]},
                "shared_object": {"object": str(folder / "bench_object.so")}}
        return {"kind": kind, "slots": slots, **what[kind]}


class Server:
    """One of our programs, its log in the stack's folder."""

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
            time.sleep(0.002)
        raise BenchError(f"the {self.name} is not ready:\n{self.log.read_text(errors='replace')[-2000:]}")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def rss_mb(self):
        return memory_mb(self.process.pid)

    def tree_pss_mb(self):
        """With all processes that it has started."""
        return round(sum(memory_mb(pid, "Pss") for pid in [self.process.pid, *children_of(self.process.pid)]), 2)


class Stack:
    """An API on a port of its own, and a consumer once it is asked for. Its folder lies in the build tree, so that the
    disk is the one that `fsync` is measured on; it goes with the stack. `file`: a store that stays."""

    def __init__(self, bench, kind="warm", file=None, slots=None, **more):
        self.slots = slots or bench.slots[kind][0]
        self.bench, self.servers, self.kind, self.more = bench, [], kind, more
        self.folder = Path(tempfile.mkdtemp(prefix="bench-", dir=bench.build)).resolve()
        self.file = Path(file).resolve() if file else self.folder / "longhaul.db"

    def configure(self, address):
        config = {"default_env": "TEST", "service": SERVICES, "listen": address, "store": f"sqlite:{self.file}",
                  "broker": "none", "consumer_spool": str(self.folder / "spool"),
                  "module": {"bench": self.bench.module(self.kind, self.slots)}, **self.more}
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
            begun = time.monotonic()
            self.host, port = self.start("api")["address"].removeprefix("http://").rsplit(":", 1)
            self.start_s = round(time.monotonic() - begun, 4)
            self.port = int(port)
            # The consumer reads the same file, and there finds the port that was picked.
            self.configure(f"127.0.0.1:{self.port}")
            self.connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for server in reversed(self.servers):
            server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def api(self):
        return self.servers[0]

    @property
    def consumer(self):
        return self.servers[1]

    def post(self, route, body):
        text = body if isinstance(body, str) else json.dumps(body)
        self.connection.request("POST", f"/api/{route}", text, {"Authorization": self.bench.token,
                                                                "Content-Type": "application/json"})
        return json.loads(self.connection.getresponse().read())

    def call(self, route, body):
        """A call that has to be answered `ok`."""
        answer = self.post(route, body)
        if answer["result"] != "ok":
            raise BenchError(f"{route}: {answer}")
        return answer

    def load(self, route, connections, count, *body):
        """So many requests, by bench_http."""
        return self.bench.tool("bench_http", self.host, self.port, route, connections, count, *body)

    def creates(self, connections, count, service="bench"):
        return self.load("/api/create_task", connections, count, one_task(service))

    def bodies(self, name, bodies):
        """A file of request bodies for load()."""
        file = self.folder / name
        file.write_text("".join(f"{json.dumps(body)}\n" for body in bodies))
        return f"@{file}"

    def total(self, status, service="bench"):
        return self.call("tasks", {"p_size": 1, "service": service, "status": status})["total"]
