"""A Stack is a whole longhaul of a test's own: API processes, consumers, configuration, logs, on free ports.

Nothing in here sleeps for correctness: what has to happen is waited for by asking (wait_until), with a deadline that
is only met when something is broken.
"""
import ctypes
import functools
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit

from tests.services.services import _start_time, free_ports, stop_now
from tests.system.openapi import Document

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("LONGHAUL_BUILD", ROOT / "build"))
MODULES = Path(__file__).resolve().parent / "modules"
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else "python3"
TOKEN = "token-of-the-tests"
SANITIZED = BUILD.name.endswith(("asan", "tsan"))
PATIENCE_S = 90  # the bound of a hang, also on a busy machine
SANITIZER_WORDS = re.compile(r"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:|AddressSanitizer:DEADLYSIGNAL"
                             r"|UndefinedBehaviorSanitizer")

PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None)


def wait_until(condition, what="", timeout_s=None, every_s=0.02):
    """Asks until the answer is true, and returns it."""
    end = time.monotonic() + (timeout_s or PATIENCE_S)
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < end, f"waited {timeout_s or PATIENCE_S} s in vain {what}"
        time.sleep(every_s)


def module(name, **more):
    """The configuration of a test module: tests/system/modules/<name>.py."""
    return {"kind": "command", "command": [PYTHON, str(MODULES / f"{name}.py")], **more}


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


class Program:
    """A process with its log; JSON lines on stderr."""

    def __init__(self, name, command, log, env):
        self.name, self.log, self.command, self.env = name, log, command, env
        self.process = None
        self.expect_exit = 0  # None: anything
        self.start()

    def start(self):
        self.mark = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env, cwd=self.log.parent,
                start_new_session=True, preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))

    @property
    def pid(self):
        return self.process.pid

    def text(self, all_runs=False):
        with open(self.log, "rb") as log:
            log.seek(0 if all_runs else self.mark)
            return log.read().decode(errors="replace")

    def lines(self):
        """The log lines of this process so far; a line that is no JSON is {"raw": line}."""
        whole = self.text().rpartition("\n")[0]
        found = []
        for line in whole.splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"raw": line})
        return found

    def find(self, **fields):
        """The log lines that have these fields."""
        return [line for line in self.lines() if all(line.get(key) == value for key, value in fields.items())]

    def wait_line(self, **fields):
        def look():
            found = self.find(**fields)
            if not found:
                assert self.alive(), f"{self.name} ended with {self.process.returncode}:\n{self.text()[-3000:]}"
            return found
        return wait_until(look, f"for {self.name} to log {fields}:\n{self.text()[-2000:]}")[0]

    def ready(self):
        return self.wait_line(msg="ready")

    def alive(self):
        return self.process.poll() is None

    def kill(self, number=signal.SIGKILL):
        """kill -9 and the like; what such an end leaves is the test's business."""
        self.expect_exit = None
        if self.alive():
            os.kill(self.pid, signal.SIGCONT)
            os.kill(self.pid, number)
        return self.process.wait(PATIENCE_S)

    def terminate(self):
        if self.alive():
            os.kill(self.pid, signal.SIGCONT)
            os.kill(self.pid, signal.SIGTERM)

    def stop(self):
        """SIGTERM and the end; the exit status."""
        self.terminate()
        return self.ended()

    def ended(self):
        """The exit status, after a signal that was to end it."""
        try:
            return self.process.wait(PATIENCE_S + 30)
        except subprocess.TimeoutExpired:
            os.kill(self.pid, signal.SIGABRT)
            self.process.wait(10)
            raise AssertionError(f"{self.name} did not stop on SIGTERM:\n{self.text()[-3000:]}") from None

    def wait(self, timeout_s=None):
        return self.process.wait(timeout_s or PATIENCE_S)

    def pause(self):
        stop_now(self.pid)

    def resume(self):
        os.kill(self.pid, signal.SIGCONT)

    def check(self):
        """After the end: the exit status that was due, and no word of a sanitizer in the log."""
        text = self.text(all_runs=True)
        found = SANITIZER_WORDS.search(text)
        assert not found, f"{self.name}: {text[found.start():found.start() + 4000]}"
        if self.expect_exit is not None:
            assert self.process.returncode == self.expect_exit, \
                f"{self.name} ended with {self.process.returncode}:\n{text[-3000:]}"


class Api(Program):
    def __init__(self, stack, number, more_args=(), env=None):
        self.stack, self.number = stack, number
        self.config_file = stack.dir / f"api{number}.yaml"
        self.address = None
        # A port that no outgoing connection can have taken when a restarted API wants it again.
        stack.write_config(self.config_file, listen=stack.more.get("listen", f"127.0.0.1:{free_ports(1)[0]}"))
        command = [BUILD / "api" / "longhaul-api", "--config", self.config_file, *more_args]
        super().__init__(f"api{number}", [str(part) for part in command], stack.dir / f"api{number}.log",
                         env or stack.env())

    def ready(self):
        line = super().ready()
        self.address = line["address"]
        return line

    @property
    def host_port(self):
        url = urlsplit(self.address)
        return url.hostname, url.port

    def restart(self, more_args=()):
        """Comes back on the port that it had."""
        if self.alive():
            self.stop()
        if self.address:
            host, port = self.host_port
            self.stack.write_config(self.config_file, listen=f"{host}:{port}")
        self.command = self.command[:3] + list(more_args)
        self.expect_exit = 0
        self.start()
        self.ready()


class Stack:
    """services: names, or a map of name -> module configuration. store: sqlite | mongodb, broker: none | kafka; those need
    the servers. config: further keys. apis, consumers: how many to start."""

    def __init__(self, directory, *, store="sqlite", broker="none", mongo=None, kafka=None, services=("echo",), config=None,
                 apis=1, consumers=0, topics=True, sasl=False, mq=None, db=None, api_args=(), partitions=1):
        self.dir = Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.store, self.broker, self.mongo, self.kafka = store, broker, mongo, kafka
        self.modules = services if isinstance(services, dict) else {name: None for name in services}
        self.more = config or {}
        self.sasl, self.mq = sasl, mq or {}
        unique = uuid.uuid4().hex[:10]
        self.db = db or f"lh_{unique}"
        self.unique = unique
        self.apis, self.consumers = [], []
        if broker == "kafka" and topics:
            for name in self.modules:
                kafka.create_topic(self.topic(name), partitions)
        for _ in range(apis):
            self.start_api(more_args=api_args)
        for _ in range(consumers):
            self.start_consumer()

    # ---- configuration

    def topic(self, service):
        return f"t_{self.unique}_{service}"

    def group(self, service):
        return f"g_{self.unique}_{service}"

    def config(self, **more):
        modules = {name: module for name, module in self.modules.items() if module}
        cfg = {"default_env": "TEST", "service": list(self.modules), "listen": "127.0.0.1:0"}
        if modules:
            cfg["module"] = modules
        if self.store == "sqlite":
            cfg["store"] = "sqlite:longhaul.db"
        else:
            cfg["store"] = "mongodb"
            cfg["TEST"] = self.mongo_section()
        cfg["broker"] = self.broker
        if self.broker == "kafka":
            cfg["source_db"] = {name: {"source_name": f"source of {name}", "topic_name": self.topic(name),
                                       "consumer_id": self.group(name)} for name in self.modules}
            cfg["mq_conf"] = {"bootstrap_servers": [self.kafka.sasl_bootstrap if self.sasl else self.kafka.bootstrap],
                              **self.mq}
        return {**cfg, **self.more, **more}

    def mongo_section(self):
        if self.mongo.external:
            return {"MONGO_URI": self.mongo.uri_of(self.db), "MONGO_DBNAME": self.db}
        parts = self.mongo.parts
        return {"MONGO_HOST": parts["host"], "MONGO_PORT": parts["port"], "MONGO_USERNAME": parts["username"],
                "MONGO_PASSWORD": parts["password"], "MONGO_DBNAME": self.db}

    def write_config(self, file, **more):
        # JSON is YAML; one key a line, so that messages which name a line can be told apart.
        rows = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in self.config(**more).items()]
        file.write_text("\n".join(rows) + "\n")

    def env(self):
        keep = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS",
                "LONGHAUL_MODULE_DIR")
        return {**{name: os.environ[name] for name in keep if name in os.environ}, "AUTH_TOKEN": TOKEN}

    # ---- processes

    def start_api(self, wait=True, more_args=(), env=None):
        api = Api(self, len(self.apis), more_args, {**self.env(), **(env or {})})
        self.apis.append(api)
        if wait:
            api.ready()
        return api

    def start_consumer(self, services=(), api=0, wait=True, config=None, env=None, args=(), before=(), folder=None):
        """folder: of its configuration file. before: a command that starts it."""
        number = len(self.consumers)
        file = (folder or self.dir) / f"consumer{number}.yaml"
        self.write_config(file, api_url=self.apis[api].address, **(config or {}))
        command = [*before, str(BUILD / "consumer" / "longhaul-consumer"), "--config", str(file)]
        for service in services:
            command += ["--service", service]
        command += args
        consumer = Program(f"consumer{number}", command, self.dir / f"consumer{number}.log", {**self.env(), **(env or {})})
        self.consumers.append(consumer)
        if wait:
            consumer.ready()
        return consumer

    @property
    def api(self):
        return self.apis[0]

    @property
    def consumer(self):
        return self.consumers[0]

    def close(self):
        """Ends everything in order, then complains about what ended wrongly."""
        programs = self.consumers + self.apis
        problems = []
        # All at once: an API that stops answers the polls that its consumers wait in. A consumer that still has runs
        # is told a second time.
        for program in programs:
            program.terminate()
        for consumer in self.consumers:
            try:
                consumer.process.wait(2)
            except subprocess.TimeoutExpired:
                consumer.expect_exit = None
                consumer.terminate()
        for program in programs:
            try:
                program.ended()
            except AssertionError as error:
                problems.append(str(error))
        for program in programs:
            try:
                program.check()
            except AssertionError as error:
                problems.append(str(error))
        assert not problems, "\n".join(problems)

    def logs(self, size=4000):
        return "\n".join(f"--- {program.log.name}\n{program.text(all_runs=True)[-size:]}"
                         for program in self.apis + self.consumers)

    # ---- calls

    def request(self, method, path, body=None, headers=None, api=0, token=TOKEN, timeout_s=None, described=True):
        """One request; its answer must be as /openapi.json says, where that is `described`."""
        host, port = self.apis[api].host_port
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if token is not None:
            sent["Authorization"] = token
        sent.update(headers or {})
        connection = http.client.HTTPConnection(host, port, timeout=timeout_s or PATIENCE_S + 60)
        try:
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            response = Response(answer.status, answer.headers, answer.read())
        finally:
            connection.close()
        if described and not self.more.get("legacy_http_status"):
            api_document().check(method, path, response.status, response.headers, response.body)
        return response

    def post(self, route, body, **more):
        """body: bytes and text go as they are, anything else as JSON."""
        if not isinstance(body, (bytes, str)):
            body = json.dumps(body, ensure_ascii=False)
        if isinstance(body, str):
            body = body.encode()
        return self.request("POST", f"/api/{route}", body, **more)

    def call(self, route, body, status=200, code=None, **more):
        """A call whose answer must have this status and code; its JSON."""
        answer = self.post(route, body, **more)
        assert answer.status == status, f"{route}: wanted {status}, got {answer}"
        got = answer.json
        if code is not None or status >= 400:
            assert got["result"] == "exception", got
            assert isinstance(got["message"], str) and got["message"], got
            assert code is None or got["code"] == code, got
        else:
            assert got["result"] == "ok", got
        return got

    def create(self, service="echo", condition=None, **more):
        at = {key: more.pop(key) for key in ("api",) if key in more}
        return self.call("create_task", {"data": {"service": service, "condition": condition, **more}}, **at)["task_id"]

    def create_many(self, service, conditions, **more):
        got = self.call("create_task", {"data": [{"service": service, "condition": condition} for condition in conditions]},
                        **more)
        return [item["task_id"] for item in got["data"]]

    def status_of(self, *task_ids, api=0):
        return self.call("status_task", {"data": [{"task_id": task_id} for task_id in task_ids]}, api=api)["status"]

    def status(self, task_id, api=0):
        return self.status_of(task_id, api=api)[0]

    def result(self, task_id, api=0):
        return self.call("result_task", {"data": {"task_id": task_id}}, api=api)

    def update(self, task_id, status, http=200, code=None, api=0, **more):
        got = self.call("update_status_task", {"data": {"task_id": task_id, "status": status, **more}}, http, code, api=api)
        return got.get("status") if http == 200 else got

    def take(self, service="echo", api=0, **more):
        return self.call("claim_task", {"data": {"services": [service], **more}}, api=api)["data"]

    def wait_status(self, task_id, *wanted, api=0):
        def look():
            got = self.status(task_id, api)
            return got if got["status"] in wanted else None
        return wait_until(look, f"for {task_id} to be {' or '.join(wanted)}")

    def wait_final(self, task_id, api=0):
        return self.wait_status(task_id, "finished", "failed", api=api)

    def wait_finished(self, task_ids, api=0):
        """All finished, in batches that status_task takes."""
        left = list(task_ids)
        size = self.config().get("max_status_task", 10)

        def look():
            now = [item for at in range(0, len(left), size) for item in self.status_of(*left[at:at + size], api=api)]
            for item in now:
                assert item["status"] != "failed", item
            left[:] = [item["task_id"] for item in now if item["status"] != "finished"]
            return not left
        wait_until(look, f"for {len(left)} tasks to finish", timeout_s=PATIENCE_S * 3, every_s=0.05)

    # ---- the servers behind

    def collection(self, name="dev_task"):
        import pymongo
        self.mongo_client = getattr(self, "mongo_client", None) or pymongo.MongoClient(self.mongo.uri)
        return self.mongo_client[self.db][name]

    def messages(self, service, at_least=0):
        """All messages of the service's topic so far (at least so many), read without a group."""
        from kafka import KafkaConsumer, TopicPartition
        consumer = KafkaConsumer(bootstrap_servers=self.kafka.bootstrap, enable_auto_commit=False,
                                 auto_offset_reset="earliest")
        try:
            topic = self.topic(service)
            partitions = [TopicPartition(topic, number)
                          for number in wait_until(lambda: consumer.partitions_for_topic(topic), f"for topic {topic}")]
            consumer.assign(partitions)
            consumer.seek_to_beginning(*partitions)
            found = []

            def look():
                for batch in consumer.poll(timeout_ms=100).values():
                    found.extend(batch)
                ends = consumer.end_offsets(partitions)
                read = all(consumer.position(partition) >= ends[partition] for partition in partitions)
                return read and len(found) >= at_least
            wait_until(look, f"for {at_least} messages in {topic}")
            return found
        finally:
            consumer.close()

    def committed(self, service, partition=0):
        """The group's committed offset, or None."""
        from kafka import KafkaConsumer, TopicPartition
        consumer = KafkaConsumer(bootstrap_servers=self.kafka.bootstrap, group_id=self.group(service), enable_auto_commit=False)
        try:
            return consumer.committed(TopicPartition(self.topic(service), partition))
        finally:
            consumer.close()

    def end_offset(self, service, partition=0):
        from kafka import KafkaConsumer, TopicPartition
        consumer = KafkaConsumer(bootstrap_servers=self.kafka.bootstrap)
        try:
            key = TopicPartition(self.topic(service), partition)
            return consumer.end_offsets([key])[key]
        finally:
            consumer.close()


def in_threads(jobs):
    """Runs callables at once; their answers in order; the first failure is raised."""
    answers, failures = [None] * len(jobs), []

    def run(number):
        try:
            answers[number] = jobs[number]()
        except BaseException as error:  # handed on to the test's thread
            failures.append(error)
    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S * 4)
        assert not thread.is_alive(), "a thread of the test hangs"
    if failures:
        raise failures[0]
    return answers


def supervisor_of(consumer):
    """Of its first slot."""
    return int(Path(f"/proc/{consumer.pid}/task/{consumer.pid}/children").read_text().split()[0])


def kill_with_supervisor(consumer):
    """kill -9 of both, without either seeing the other die."""
    consumer.pause()
    os.kill(supervisor_of(consumer), signal.SIGKILL)
    os.kill(consumer.pid, signal.SIGKILL)
    consumer.kill()


def process_gone(pid, born):
    return _start_time(pid) != born


def connect(api):
    return socket.create_connection(api.host_port, timeout=PATIENCE_S)


@functools.cache
def api_document():
    """What the API says of itself, asked once of one that no test plays with."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(folder)
        try:
            return Document(stack.request("GET", "/openapi.json", described=False).json)
        finally:
            stack.close()


def installed(dest):
    """What `meson install` puts below this folder, as DESTDIR; the folder."""
    done = subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", dest], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return dest
