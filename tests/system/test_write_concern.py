"""What the API asks MongoDB for, read on the wire: every write that a promise rests on waits for the journals of a majority.

A proxy of the test's own stands between the API and the server and reads each command. The server may well ignore the concern (the
stand-in does): what is asserted is that it is asked for.
"""
import struct
import threading
import urllib.parse
import uuid

import bson
import pytest

from tests.contract.mongo_proxy import OP_MSG, Proxy
from tests.system.stack import wait_until

pytestmark = pytest.mark.cluster

OP_QUERY = 2004  # the first hello of a connection
CHECKSUM = 1
WRITES = ("insert", "update", "delete", "findAndModify", "findandmodify", "bulkWrite")


def command_of(message):
    """The command document of a message; its documents in further sections are left out. None: no command."""
    (opcode,) = struct.unpack_from("<i", message, 12)
    if opcode == OP_QUERY:
        return None
    assert opcode == OP_MSG, f"opcode {opcode}: a command that this test cannot read"
    (flags,) = struct.unpack_from("<I", message, 16)
    at, end = 20, len(message) - (4 if flags & CHECKSUM else 0)
    found = None
    while at < end:
        kind, (size,) = message[at], struct.unpack_from("<i", message, at + 1)
        if kind == 0:
            assert found is None
            found = bson.decode(message[at + 1:at + 1 + size])
        at += 1 + size
    return found


def write_of(command):
    """(kind, collection) of a command that writes, else None."""
    kind = next(iter(command), None)
    return (kind, command[kind]) if kind in WRITES else None


def is_durable(command):
    concern = command.get("writeConcern", {})
    return concern.get("w") == "majority" and concern.get("j") is True


class Reader(Proxy):
    """Keeps the commands that pass."""

    def __init__(self, host, port):
        self.seen, self.unreadable = [], []
        self.keep = threading.Lock()
        super().__init__(host, port)

    def _next(self, message):
        try:
            command = command_of(message)
        except Exception as error:  # told by the test: this is the proxy's own thread
            self.unreadable.append(repr(error))
            return None
        with self.keep:
            self.seen += [command] if command else []
        return None

    def writes(self, *collections):
        """[(kind, collection, command)] of the writes to these collections."""
        assert not self.unreadable, self.unreadable
        with self.keep:
            seen = list(self.seen)
        return [(*write_of(command), command) for command in seen if write_of(command) and write_of(command)[1] in collections]


class Behind:
    """The server as a stack sees it through the proxy."""

    def __init__(self, mongo, port):
        self.mongo, self.port = mongo, port
        self.external, self.alive = mongo.external, mongo.alive

    @property
    def parts(self):
        return {**self.mongo.parts, "host": "127.0.0.1", "port": self.port}

    def uri_of(self, database):
        url = urllib.parse.urlsplit(self.mongo.uri_of(database))
        login = url.netloc.rpartition("@")[0]
        return url._replace(netloc=f"{login}{'@' if login else ''}127.0.0.1:{self.port}").geturl()

    @property
    def uri(self):
        return self.uri_of("")


@pytest.fixture
def reader(mongo):
    parts = mongo.parts
    proxy = Reader(parts["host"], parts["port"])
    yield proxy
    proxy.close()


def message(command, *, kind=OP_MSG, flags=0):
    document = bson.encode(command)
    body = struct.pack("<I", flags) + b"\0" + document + (b"\0\0\0\0" if flags & CHECKSUM else b"")
    return struct.pack("<iiii", 16 + len(body), 1, 0, kind) + body


@pytest.mark.parametrize("concern, durable", [
    ({"w": "majority", "j": True}, True), ({"w": "majority", "j": True, "wtimeout": 5000}, True), ({"w": "majority"}, False),
    ({"w": "majority", "j": False}, False), ({"w": 1, "j": True}, False), ({"j": True}, False), ({}, False), (None, False)])
def test_the_reader_tells_a_durable_write(concern, durable):
    for flags in (0, CHECKSUM):
        command = command_of(message({"insert": "dev_task", **({} if concern is None else {"writeConcern": concern})}, flags=flags))
        assert write_of(command) == ("insert", "dev_task") and is_durable(command) is durable
    assert write_of(command_of(message({"find": "dev_task"}))) is None
    with pytest.raises(AssertionError, match="2012"):
        command_of(message({}, kind=2012))


def live(stack):
    """Tasks that come and go by every way there is; those that are left behind have ended."""
    done = stack.create(condition=1, idempotency_key="one")
    stack.create(condition=1, idempotency_key="one")
    many = stack.create_many("echo", range(20))
    held = stack.create(condition=2, start=False)
    stack.call("update_task", {"task_id": held, "condition": 3})
    stack.call("start_task", {"task_id": held})
    run = str(uuid.uuid4())
    stack.update(done, "running", run_id=run)
    stack.call("heartbeat_task", {"data": [{"task_id": done, "run_id": run, "progress": 0.5}], "worker": {"id": "w"}})
    stack.call("log_task", {"data": {"task_id": done, "run_id": run, "stream": "stdout", "offset": 0, "text": "a line\n"}})
    stack.update(done, "waiting", run_id=run)
    stack.update(done, "running")
    stack.update(done, "finished", result=[1])
    retried = stack.create(max_attempts=2, retry={"kind": "fixed", "base_s": 0.05, "jitter": 0})
    for status in ("running", "failed"):
        stack.update(retried, status)
    wait_until(lambda: stack.status(retried)["sub_status"] == "queued", "for the second attempt")
    for task in stack.take(max=30, lease_s=600, claim_id=str(uuid.uuid4()), worker={"id": "w"}):
        stack.update(task["Task"]["task_id"], "finished", run_id=task["run_id"], result={"n": 1})
    lost, gone = stack.create(), stack.create(start=False)
    stack.take()
    wait_until(lambda: stack.status(lost)["sub_status"] == "queued", "for the lease to be lost")
    stack.update(lost, "finished")
    stack.call("cancel_task", {"data": {"task_id": gone}})
    for task_id in (done, gone):
        stack.call("delete_task", {"task_id": task_id})
    return [held, retried, lost, *many]


def test_every_write_of_a_task_waits_for_the_journals_of_a_majority(make_stack, mongo, reader):
    stack = make_stack(store="mongodb", mongo=Behind(mongo, reader.port), config={"lease_s": 0.5, "sweep_s": 0.05, "max_status_task": 100})
    left = live(stack)
    assert {row["status"] for row in stack.status_of(*left)} == {"finished"}
    kept = ("dev_task", "dev_task_log", "dev_task_gone")
    wait_until(lambda: any(collection == "dev_task_log" for _, collection, _ in reader.writes(*kept)), "for the log to be written")
    weak = [(kind, collection, command.get("writeConcern")) for kind, collection, command in reader.writes(*kept) if not is_durable(command)
            and not (kind == "delete" and collection != "dev_task")]  # what is left of a removed task's log
    assert not weak, weak
    kinds = {(kind, collection) for kind, collection, _ in reader.writes(*kept)}
    assert kinds >= {("insert", "dev_task"), ("update", "dev_task"), ("delete", "dev_task")}, kinds
    assert {collection for _, collection in kinds} == set(kept), kinds
