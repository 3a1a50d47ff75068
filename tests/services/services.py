#!/usr/bin/env python3
"""Real servers for the tests: Apache Kafka and a MongoDB server, each a process of its own on free ports.

    services.py start kafka|mongo [--dir D] [--json] [--backend memory|h2]
    services.py stop kafka|mongo --dir D
    services.py topic NAME [--partitions N] --dir D
    services.py install
    services.py port

As a module: Kafka(dir), Mongo(dir). Readiness is asked for in the servers' own protocols. What a server needs
to be found and stopped again stands in D/<name>.json; its output in D/<name>.log. Standard library only.
"""
import argparse
import base64
import ctypes
import fcntl
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIB = HERE / "lib"
LIBC = ctypes.CDLL(None)  # loaded before anybody forks
CLASSES = HERE / "classes"
READY_S = 180
STOP_S = 120
DOWNLOADS = 3  # tries
PORTS = range(18000, 32000)
PORT_FILE = f"/tmp/longhaul-test-port.{os.getuid()}"

SASL_USER = "tester"
SASL_PASSWORD = "secret-of-tester"


class ServiceError(Exception):
    pass


# ---- the jars ------------------------------------------------------------------------------------------------


def _run(command, what, tries=1):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace")
    if done.returncode != 0 and tries > 1:
        time.sleep(5)
        _run(command, what, tries - 1)
    elif done.returncode != 0:
        raise ServiceError(f"{what} failed ({done.returncode}): {' '.join(map(str, command))}\n{done.stdout[-4000:]}")


def install():
    """Copies the jars that pom.xml names to lib/ and compiles the MongoDB main, once. Any number of callers."""
    lock = os.open(HERE, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = LIB / "pom.xml"
        pom = (HERE / "pom.xml").read_text()
        if not stamp.exists() or stamp.read_text() != pom:
            shutil.rmtree(LIB, ignore_errors=True)
            _run(["mvn", "-q", "-B", "-f", HERE / "pom.xml", "dependency:copy-dependencies",
                  "-DincludeScope=runtime", f"-DoutputDirectory={LIB}"], "copying the jars", DOWNLOADS)
            shutil.copy(HERE / "pom.xml", stamp)
        source, compiled = HERE / "src" / "MongoMain.java", CLASSES / "compiled"  # whole: written when all classes are
        if not compiled.exists() or compiled.stat().st_mtime < source.stat().st_mtime:
            CLASSES.mkdir(exist_ok=True)
            _run(["javac", "-cp", f"{LIB}/*", "-d", CLASSES, source], "compiling MongoMain.java")
            compiled.touch()
    finally:
        os.close(lock)


# ---- ports and processes -------------------------------------------------------------------------------------


def _next_port():
    """Ports in turn, counted by all processes of the user together: one that was given out and is not listened on yet,
    or not just now, is nobody else's for a long while."""
    with open(os.open(PORT_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        said = file.read()
        last = int(said) if said.isdigit() else random.choice(PORTS)
        port = PORTS[(last + 1 - PORTS[0]) % len(PORTS)]
        file.seek(0)
        file.write(str(port))
    return port


def free_ports(n):
    """n ports that nobody listens on, below the range that outgoing connections take theirs from, so that a
    server can come back on its own."""
    ports = []
    while len(ports) < n:
        port = _next_port()
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
    return ports


def _start_time(pid):
    """The kernel's start time of a process, or None: tells a process from a later one with its number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


def _thread_state(stat):
    try:
        return stat.read_text().rpartition(")")[2].split()[0]
    except OSError:  # it has just ended
        return "X"


def stop_now(pid):
    """SIGSTOP, and returns when every thread stands still: the kernel stops a busy process only when one of its threads runs next."""
    os.kill(pid, signal.SIGSTOP)
    tasks = Path(f"/proc/{pid}/task")
    while any(_thread_state(stat) not in "TtZX" for stat in tasks.glob("*/stat")):
        time.sleep(0.001)


class Service:
    """One server process. Subclasses say how it is started and when it is ready."""

    name = ""

    def __init__(self, directory=None, *, start=True, own=True):
        """own: the server dies with this process; the command line starts servers that stay."""
        self.dir = Path(directory or tempfile.mkdtemp(prefix=f"longhaul-{self.name}-"))
        self.dir.mkdir(parents=True, exist_ok=True)
        self.made_dir = directory is None
        self.own = own
        self.process = None
        self.pid = self.born = None
        if start:
            install()
            self._launch()

    # what subclasses give
    def _command(self):
        raise NotImplementedError

    def _is_ready(self):
        raise NotImplementedError

    def _state(self):
        raise NotImplementedError

    def _load(self, state):
        raise NotImplementedError

    @property
    def log_file(self):
        return self.dir / f"{self.name}.log"

    @property
    def state_file(self):
        return self.dir / f"{self.name}.json"

    @classmethod
    def attach(cls, directory):
        """The server that an earlier start left in `directory`."""
        service = cls(directory, start=False, own=False)
        try:
            state = json.loads(service.state_file.read_text())
        except FileNotFoundError:
            raise ServiceError(f"no {cls.name} was started in {directory}") from None
        service.pid, service.born = state["pid"], state["born"]
        service._load(state)
        return service

    def _die_with_parent(self):
        LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG

    def _launch(self):
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            cwd=self.dir, start_new_session=True,
                                            preexec_fn=self._die_with_parent if self.own else None)
        self.pid, self.born = self.process.pid, _start_time(self.process.pid)
        self.state_file.write_text(json.dumps({"pid": self.pid, "born": self.born, **self._state()}))
        (self.dir / f"{self.name}.pid").write_text(f"{self.pid}\n")
        self.wait_ready()

    def wait_ready(self):
        end = time.monotonic() + READY_S
        while True:
            try:
                if self._is_ready():
                    return
            except (OSError, struct.error):
                pass
            if not self.alive() or time.monotonic() > end:
                why = "ended at once" if not self.alive() else f"was not ready in {READY_S} s"
                self.kill9()
                raise ServiceError(f"{self.name} {why}:\n{self.log_tail()}")
            time.sleep(0.05)

    def log_tail(self, size=4000):
        try:
            return self.log_file.read_text(errors="replace")[-size:]
        except OSError:
            return ""

    def alive(self):
        if self.process is not None:
            return self.process.poll() is None
        return self.pid is not None and _start_time(self.pid) == self.born

    def _signal(self, number):
        if self.alive():
            os.kill(self.pid, number)

    def _gone(self, timeout_s):
        end = time.monotonic() + timeout_s
        while self.alive():
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def kill9(self):
        """SIGKILL; what the server had not written is lost."""
        self._signal(signal.SIGKILL)
        self._gone(STOP_S)

    def halt(self):
        """Ends the server in order; its data stays for restart()."""
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        if not self._gone(STOP_S):
            self.kill9()

    def stop(self):
        """Ends the server; a folder that we made goes too."""
        self.halt()
        for left in (self.state_file, self.dir / f"{self.name}.pid"):
            left.unlink(missing_ok=True)
        if self.made_dir:
            shutil.rmtree(self.dir, ignore_errors=True)

    def pause(self):
        """SIGSTOP: connections stay open and nobody answers."""
        if self.alive():
            stop_now(self.pid)

    def resume(self):
        self._signal(signal.SIGCONT)

    def restart(self):
        """Starts it (again) with the same ports and data, after halt() or kill9() or while it runs."""
        if self.alive():
            self.halt()
        self._launch()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


# ---- Kafka ---------------------------------------------------------------------------------------------------

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{advertised},SASL_PLAINTEXT://127.0.0.1:{sasl}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=300
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=2
log.dirs={data}
"""


# What a broker answers that missed its own heartbeats on a busy machine: timed out, no broker to put it on, no controller.
TOPIC_LATER = (7, 38, 41)


def _kafka_string(text):
    raw = text.encode()
    return struct.pack(">h", len(raw)) + raw


def _receive(sock, n):
    parts = b""
    while len(parts) < n:
        part = sock.recv(n - len(parts))
        if not part:
            raise ConnectionError("closed")
        parts += part
    return parts


class Kafka(Service):
    """A single-node Kafka (KRaft): `.bootstrap` is open, `.sasl_bootstrap` wants SASL/PLAIN as
    SASL_USER / SASL_PASSWORD. Topics are never made by themselves. advertised: the port that clients are sent to,
    where something stands in between."""

    name = "kafka"

    def __init__(self, directory=None, *, advertised=None, **more):
        self.ports, self.advertised = None, advertised
        super().__init__(directory, **more)

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.ports['plain']}"

    @property
    def sasl_bootstrap(self):
        return f"127.0.0.1:{self.ports['sasl']}"

    def _java(self, main, *args):
        return ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
                f"-Dlog4j2.configurationFile={HERE / 'log4j2.xml'}", "-cp", f"{LIB}/*", main, *args]

    def _command(self):
        properties = self.dir / "server.properties"
        if self.ports is None:
            self.ports = dict(zip(("plain", "sasl", "controller"), free_ports(3)))
            properties.write_text(_PROPERTIES.format(user=SASL_USER, password=SASL_PASSWORD,
                                                     data=self.dir / "kafka-data",
                                                     advertised=self.advertised or self.ports["plain"], **self.ports))
            # The first byte is 0 so that the text never begins with a dash, which the tool takes for an option.
            cluster = base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
            _run(self._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)),
                 "formatting Kafka's storage")
        return self._java("kafka.Kafka", str(properties))

    def _state(self):
        return {"ports": self.ports, "bootstrap": self.bootstrap, "sasl_bootstrap": self.sasl_bootstrap,
                "sasl_user": SASL_USER, "sasl_password": SASL_PASSWORD}

    def _load(self, state):
        self.ports = state["ports"]

    def _call(self, api, version, body, timeout_s=READY_S):
        """One request of the Kafka protocol on the open listener; the answer without its header."""
        head = struct.pack(">hhi", api, version, 1) + _kafka_string("longhaul-tests")
        with socket.create_connection(("127.0.0.1", self.ports["plain"]), timeout=timeout_s) as sock:
            sock.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
            (size,) = struct.unpack(">i", _receive(sock, 4))
            return _receive(sock, size)[4:]

    def _is_ready(self):
        (brokers,) = struct.unpack_from(">i", self._call(3, 1, struct.pack(">i", 0), timeout_s=2))  # Metadata
        return brokers == 1

    def _knows_topic(self, name):
        """Whether the broker shows a topic to clients: it does a moment after the controller has made it, later on a busy machine."""
        answer = self._call(3, 1, struct.pack(">i", 1) + _kafka_string(name))  # Metadata
        at = 4
        (brokers,) = struct.unpack_from(">i", answer, 0)
        for _ in range(brokers):  # id, host, port, rack
            (host,) = struct.unpack_from(">h", answer, at + 4)
            at += 4 + 2 + host + 4
            (rack,) = struct.unpack_from(">h", answer, at)
            at += 2 + max(rack, 0)
        at += 4 + 4  # controller, number of topics
        (error,) = struct.unpack_from(">h", answer, at)
        return error == 0

    def create_topic(self, name, partitions=1, **config):
        """Makes a topic and waits until clients see it; one that exists is fine. Config names with underscores:
        max_message_bytes=…"""
        body = struct.pack(">i", 1) + _kafka_string(name) + struct.pack(">ihi", partitions, 1, 0)
        body += struct.pack(">i", len(config))
        for key, value in config.items():
            body += _kafka_string(key.replace("_", ".")) + _kafka_string(str(value))
        body += struct.pack(">ib", 10000, 0)
        end = time.monotonic() + READY_S
        code = self._ask_for_topic(body)
        while code in TOPIC_LATER and time.monotonic() < end:
            time.sleep(0.2)
            code = self._ask_for_topic(body)
        if code not in (0, 36):  # 36: TOPIC_ALREADY_EXISTS
            raise ServiceError(f"Kafka did not make topic {name}: error {code}")
        while not self._knows_topic(name):
            if time.monotonic() > end:
                raise ServiceError(f"Kafka made topic {name} and does not show it")
            time.sleep(0.02)

    def _ask_for_topic(self, body):
        """The error code of one topic's CreateTopics."""
        answer = self._call(19, 2, body, timeout_s=READY_S)
        at = 4 + 4
        (length,) = struct.unpack_from(">h", answer, at)
        (code,) = struct.unpack_from(">h", answer, at + 2 + length)
        return code


# ---- MongoDB -------------------------------------------------------------------------------------------------


class Mongo(Service):
    """A MongoDB server: mongo-java-server, in memory, or with backend="h2" in a file that outlives restart().

    With LONGHAUL_TEST_MONGO_URI set it is that server instead, `.external` is true, and only a database of a
    name of its own is used there; it cannot be stopped or paused."""

    name = "mongo"

    def __init__(self, directory=None, *, backend="memory", start=True, own=True):
        self.port = None
        self.backend = backend
        self.external_uri = os.environ.get("LONGHAUL_TEST_MONGO_URI") if start and own else None
        self.external = bool(self.external_uri)
        self.db = f"lh_test_{uuid.uuid4().hex[:12]}"
        super().__init__(directory, start=start and not self.external, own=own)

    @property
    def uri(self):
        return self.external_uri or f"mongodb://127.0.0.1:{self.port}"

    @property
    def parts(self):
        """host, port, username, password of the URI."""
        url = urllib.parse.urlsplit(self.uri)
        unquote = urllib.parse.unquote
        return {"host": url.hostname, "port": url.port or 27017, "username": unquote(url.username or ""),
                "password": unquote(url.password or "")}

    def uri_of(self, database):
        """The URI with a database in its path; a login keeps its authSource."""
        url = urllib.parse.urlsplit(self.uri)
        query = url.query
        if url.username and "authSource" not in query:
            query = (query + "&" if query else "") + f"authSource={url.path.strip('/') or 'admin'}"
        return urllib.parse.urlunsplit((url.scheme, url.netloc, "/" + database, query, ""))

    def _command(self):
        if self.port is None:
            (self.port,) = free_ports(1)
        file = [str(self.dir / "mongo.h2")] if self.backend == "h2" else []
        return ["java", "-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
                f"-Dlog4j2.configurationFile={HERE / 'log4j2.xml'}", "-cp", f"{CLASSES}:{LIB}/*", "MongoMain",
                str(self.port), *file]

    def _state(self):
        return {"port": self.port, "backend": self.backend, "uri": self.uri}

    def _load(self, state):
        self.port, self.backend = state["port"], state["backend"]

    def _is_ready(self):
        # OP_MSG with the document {ping: 1, $db: "admin"}
        body = b"\x10ping\0" + struct.pack("<i", 1) + b"\x02$db\0" + struct.pack("<i", 6) + b"admin\0"
        document = struct.pack("<i", len(body) + 5) + body + b"\0"
        message = struct.pack("<iiiiib", 16 + 5 + len(document), 1, 0, 2013, 0, 0) + document
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as sock:
            sock.sendall(message)
            (size,) = struct.unpack("<i", _receive(sock, 4))
            return b"ok" in _receive(sock, size - 4)


SERVICES = {"kafka": Kafka, "mongo": Mongo}

# ---- command line --------------------------------------------------------------------------------------------


def _start(args):
    more = {"backend": args.backend} if args.service == "mongo" else {}
    service = SERVICES[args.service](args.dir, own=False, **more)
    state = json.loads(service.state_file.read_text())
    state["dir"] = str(service.dir)
    if args.json:
        print(json.dumps(state))
    else:
        print(state.get("bootstrap") or state["uri"])
        print(f"folder: {service.dir}", file=sys.stderr)


def _stop(args):
    SERVICES[args.service].attach(args.dir).stop()


def _topic(args):
    Kafka.attach(args.dir).create_topic(args.name, args.partitions)


def main():
    parser = argparse.ArgumentParser(description="Real Kafka and MongoDB servers for the tests.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    start = verbs.add_parser("start", help="start a server, wait until it is ready, print its address")
    start.add_argument("service", choices=SERVICES)
    start.add_argument("--dir", help="data folder; default: a new one")
    start.add_argument("--json", action="store_true", help="print all that is known about it")
    start.add_argument("--backend", choices=["memory", "h2"], default="memory", help="mongo: where it keeps data")
    start.set_defaults(act=_start)
    stop = verbs.add_parser("stop", help="stop the server that was started in a folder")
    stop.add_argument("service", choices=SERVICES)
    stop.add_argument("--dir", required=True)
    stop.set_defaults(act=_stop)
    topic = verbs.add_parser("topic", help="make a Kafka topic")
    topic.add_argument("name")
    topic.add_argument("--partitions", type=int, default=1)
    topic.add_argument("--dir", required=True)
    topic.set_defaults(act=_topic)
    verbs.add_parser("install", help="fetch and compile what the servers need").set_defaults(
        act=lambda args: install())
    verbs.add_parser("port", help="print a port that is free").set_defaults(act=lambda args: print(free_ports(1)[0]))
    args = parser.parse_args()
    try:
        args.act(args)
    except ServiceError as error:
        sys.exit(f"services: {error}")


if __name__ == "__main__":
    main()
