"""The processes of a run: a Stack whose connections go through pipes and taps, and whose modules keep a record."""
import asyncio
import os
import signal
import sys
import urllib.parse
from pathlib import Path

from tests.chaos.net import Pipe, Tap
from tests.system.stack import BUILD, PYTHON, TOKEN, Program, Stack

HERE = Path(__file__).resolve().parent
LETTERS = "0123456789abcdef"

# The services: how the consumer runs them, and what their tasks do (tests/chaos/steps.h), chosen evenly.
MODULES = {
    "quick": (6, ["", "", "", "progress", "silent"]),
    "slow": (5, ["sleep 100", "sleep 300", "sleep 700", "sleep 1500", "progress;sleep 400", "sleep 4000", "sleep 7000"]),
    "flaky": (4, ["upto 1;error retryable", "upto 2;exit 75", "error fatal", "upto 1;exit 3", "error retryable",
                  "upto 1;sleep 200;exit 1"]),
    "crash": (2, ["upto 1;signal 11", "upto 2;signal 9", "sleep 100;signal 6", "upto 1;sleep 300;signal 9"]),
    "warm": (3, ["", "", "", "progress;sleep 100", "upto 1;error retryable", "error fatal", "upto 1;signal 11", "upto 1;exit 3",
                 "sleep 700", "ignore;sleep 600"]),
    "object": (3, ["", "", "", "progress;sleep 100", "upto 1;error retryable", "error fatal", "upto 1;signal 6", "upto 1;exit 75",
                   "sleep 700"]),
    "tree": (3, ["fork", "fork;sleep 400", "ignore;sleep 600", "fork;ignore;sleep 300", "fork;upto 1;signal 9"]),
}
# Without a module of ours: the driver claims these itself, with leases and as the base contract has it; a plain Kafka
# consumer runs the last.
DRIVEN = ("direct", "base")
FOREIGN = "foreign"


class World(Stack):
    def __init__(self, folder, loop, history, *, mode, lease_s, mutant=None, mongo=None, kafka=None, mongo_pipe=None,
                 kafka_pipe=None, apis=1, consumers=2, retention=None):
        self.loop, self.history, self.mode, self.lease_s, self.mutant = loop, history, mode, lease_s, mutant
        self.mongo_pipe, self.kafka_pipe = mongo_pipe, kafka_pipe
        self.fault_dir = Path(folder) / "faults"
        self.fault_dir.mkdir(parents=True)
        for a in LETTERS:
            for b in LETTERS:
                (Path(folder) / "live" / (a + b)).mkdir(parents=True)
        self.taps, self.foreign, self.retention = [], None, retention
        cluster = mode == "cluster"
        command = [str(BUILD / "tests" / "chaos" / "chaos-module"), str(folder)]
        services = {name: {"kind": "command", "command": command, "slots": slots} for name, (slots, _) in MODULES.items()}
        services["warm"] = {"kind": "warm", "command": [*command, "--warm"], "slots": MODULES["warm"][0], "max_tasks": 40}
        services["object"] = {"kind": "shared_object", "object": str(BUILD / "tests" / "chaos" / "chaos-object.so"),
                              "slots": MODULES["object"][0], "env": {"CHAOS_FOLDER": str(folder)}}
        if mutant == "claim-before-offset":  # consumers that take work without a message would make up for the lost ones
            services = {name: {**module, "legacy": True} for name, module in services.items()}
        services.update({name: None for name in (*DRIVEN, *([FOREIGN] if cluster else []))})
        super().__init__(
            folder, store="mongodb" if cluster else "sqlite", broker="kafka" if cluster else "none", mongo=mongo, kafka=kafka,
            services=services, apis=apis, consumers=0,
            config={"lease_s": lease_s, "sweep_s": 0.5 if cluster else 0.2, "max_crashes": 4, "max_status_task": 1000, "drain_s": 0.5, "kill_max_s": 3,
                    "retention": retention or {"finished_s": 0, "failed_s": 0}},
            topics=False, mq={"create_topics": {"partitions": 2}, "librdkafka": {"message.timeout.ms": "3000", "session.timeout.ms": "3000", "heartbeat.interval.ms": "500"}})
        for number in range(consumers):
            self.start_consumer(api=number % apis)
        if cluster:
            self.start_foreign()

    def on_loop(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def tell_loop(self, function, *args):
        self.loop.call_soon_threadsafe(function, *args)

    # ---- what Stack is told otherwise

    def config(self, **more):
        cfg = super().config(**more)
        if self.kafka_pipe and "mq_conf" in cfg:
            cfg["mq_conf"]["bootstrap_servers"] = [f"127.0.0.1:{self.kafka_pipe.port}"]
        return cfg

    def mongo_section(self):
        section = super().mongo_section()
        if not self.mongo_pipe:
            return section
        if "MONGO_URI" in section:
            url = urllib.parse.urlsplit(section["MONGO_URI"])
            login = url.netloc.rpartition("@")[0]
            place = f"{login}@127.0.0.1:{self.mongo_pipe.port}" if login else f"127.0.0.1:{self.mongo_pipe.port}"
            return {**section, "MONGO_URI": urllib.parse.urlunsplit(url._replace(netloc=place))}
        return {**section, "MONGO_HOST": "127.0.0.1", "MONGO_PORT": self.mongo_pipe.port}

    def env(self):
        more = {"LONGHAUL_MUTANT": self.mutant} if self.mutant else {}
        return {**super().env(), "LONGHAUL_FAULT_DIR": str(self.fault_dir), **more}

    def start_consumer(self, api=0):
        number = len(self.consumers)
        tap = self.on_loop(Tap(self.apis[api].host_port[1], self.history, f"consumer{number}", api).open())
        self.taps.append(tap)
        file = self.dir / f"consumer{number}.yaml"
        self.write_config(file, api_url=f"http://127.0.0.1:{tap.port}")
        command = [str(BUILD / "consumer" / "longhaul-consumer"), "--config", str(file)]
        consumer = Program(f"consumer{number}", command, self.dir / f"consumer{number}.log", self.env())
        self.consumers.append(consumer)
        consumer.ready()
        return consumer

    def start_foreign(self):
        tap = self.on_loop(Tap(self.apis[0].host_port[1], self.history, "foreign", 0).open())
        self.taps.append(tap)
        command = [sys.executable, str(HERE / "foreign.py"), f"127.0.0.1:{self.kafka_pipe.port}", self.topic(FOREIGN),
                   self.group(FOREIGN), f"http://127.0.0.1:{tap.port}", TOKEN]
        self.foreign = Program("foreign", command, self.dir / "foreign.log", self.env())

    # ---- faults

    def arm(self, point, order):
        """The next process that passes the fault point obeys."""
        file = self.fault_dir / f".{point}"
        file.write_text(order + "\n")
        os.rename(file, self.fault_dir / point)

    def disarm(self):
        for file in self.fault_dir.iterdir():
            if file.name != "hits":
                file.unlink(missing_ok=True)

    def hits(self):
        """The lines that are whole: the last one may be half written just now."""
        file = self.fault_dir / "hits"
        return file.read_text().rpartition("\n")[0].splitlines() if file.exists() else []

    def programs(self):
        return [*self.apis, *self.consumers, *([self.foreign] if self.foreign else [])]

    def live_pids(self, task_id):
        """Processes of the task that are alive."""
        file = self.dir / "live" / task_id[-2:] / task_id
        if not file.exists():
            return []
        alive = []
        lines = [line.split() for line in file.read_text().splitlines()]
        lines = [words for words in lines if len(words) == 4]  # a process may be killed while it writes its own
        done = {(pid, run) for pid, _, role, run in lines if role == "done"}
        for pid, born, role, run in lines:
            if (pid, run) in done:
                continue
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] not in "ZX" and fields[19] == born:
                alive.append([int(pid), role])
        return alive

    def end(self):
        """kill -9 of all that is left, without complaints: the verdict is in the history."""
        for program in self.programs():
            program.kill(signal.SIGKILL)
        for tap in self.taps:
            self.tell_loop(tap.close)
