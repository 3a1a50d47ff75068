"""The programs as services of a manager: what they tell it over the socket of sd_notify(3)."""
import hashlib
import os
import signal
import socket

import pytest

from tests.system.stack import PATIENCE_S, module, wait_until


class Manager:
    """The manager's end of the socket."""

    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(PATIENCE_S)
        # The sender's process id comes with each datagram.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def heard(self):
        """The next datagram as a map, and who sent it."""
        text, more, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(12))
        pid = int.from_bytes(more[0][2][:4], "little")
        return dict(line.split("=", 1) for line in text.decode().splitlines()), pid

    def wait(self, key):
        """The next datagram with the key; those before it are signs of life."""
        while True:
            got, pid = self.heard()
            if key in got:
                return got, pid
            assert got == {"WATCHDOG": "1"}, got

    def drain(self):
        """Forgets what has come: a queue that is full takes no more, and nobody says it again."""
        self.socket.setblocking(False)
        try:
            while True:
                self.heard()
        except BlockingIOError:
            self.socket.settimeout(PATIENCE_S)

    def reloads(self, program):
        """`systemctl reload`: what the program says at its end, as the same process."""
        os.kill(program.pid, signal.SIGHUP)
        said, pid = self.wait("RELOADING")
        assert said["RELOADING"] == "1" and int(said["MONOTONIC_USEC"]) > 0 and pid == program.pid
        return self.wait("READY")[0]


@pytest.fixture
def manager(tmp_path):
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.socket.close()


def test_the_api_tells_its_manager(make_stack, manager, monkeypatch):
    stack = make_stack(apis=0)
    env = {**stack.env(), "NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "200000"}
    monkeypatch.setattr(stack, "env", lambda: env)
    api = stack.start_api()
    said, pid = manager.wait("READY")
    assert said == {"READY": "1", "STATUS": f"serving at {api.address}"} and pid == api.pid
    assert [manager.heard()[0] for _ in range(3)] == [{"WATCHDOG": "1"}] * 3
    assert manager.reloads(api) == said
    os.kill(api.pid, signal.SIGTERM)
    said, _ = manager.wait("STOPPING")
    assert int(said["EXTEND_TIMEOUT_USEC"]) >= 20e6, "less than its own limits"
    assert api.ended() == 0


def test_an_api_whose_loop_stands_still_gives_no_sign(make_stack, manager, monkeypatch):
    stack = make_stack(apis=0)
    env = {**stack.env(), "NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "200000"}
    monkeypatch.setattr(stack, "env", lambda: env)
    api = stack.start_api()
    manager.wait("READY")
    api.pause()
    manager.socket.settimeout(1.5)
    with pytest.raises(TimeoutError):
        while True:
            manager.heard()
    api.resume()
    manager.socket.settimeout(PATIENCE_S)
    assert manager.heard()[0] == {"WATCHDOG": "1"}


def test_the_consumer_tells_its_manager_how_long_it_may_drain(make_stack, manager):
    say = {"kind": "command", "command": ["sh", "-c", 'echo "\\"${NOTIFY_SOCKET-none}\\""'], "slots": 3}
    stack = make_stack(services={"say": say}, config={"drain_s": 1234})
    consumer = stack.start_consumer(env={"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "200000"})
    said, pid = manager.wait("READY")
    assert said == {"READY": "1", "STATUS": f"3 slots, tasks from {stack.api.address}"} and pid == consumer.pid
    manager.wait("WATCHDOG")
    # What it runs has no way to the manager.
    task_id = stack.create("say")
    assert stack.wait_final(task_id)["status"] == "finished" and stack.result(task_id)["data"] == "none"
    manager.drain()
    os.kill(consumer.pid, signal.SIGTERM)
    said, _ = manager.wait("STOPPING")
    assert int(said["EXTEND_TIMEOUT_USEC"]) > 1234e6
    assert consumer.ended() == 0


def seen(stack):
    """When the API has heard of its only consumer last."""
    (worker,) = stack.call("worker_task", {})["data"]
    return worker["seen_time"]


def test_a_consumer_takes_a_new_token_without_a_pause(make_stack, manager, tmp_path):
    """The token goes from one to another, of which the API knows both, while a run is under way."""
    old, new = "old-token", "new-token"
    hashes = [{"name": "worker", "hash": f"sha256:{hashlib.sha256(text.encode()).hexdigest()}", "scopes": ["run"]} for text in (old, new)]
    file, go = tmp_path / "token", tmp_path / "go"
    file.write_text(old + "\n")
    stack = make_stack(services={"script": module("script")}, config={"tokens": hashes, "lease_s": 1})
    consumer = stack.start_consumer(config={"consumer_token_file": str(file)}, env={"AUTH_TOKEN": "", "NOTIFY_SOCKET": str(manager.path)})
    said, _ = manager.wait("READY")
    task_id = stack.create("script", [["until", str(go)], ["out", "1\n"]])
    stack.wait_status(task_id, "running")

    file.write_text("not a token\n")
    assert manager.reloads(consumer) == said
    assert str(file) in consumer.wait_line(msg="token not read again: that of before holds")["error"]
    file.write_text(new + "\n")
    assert manager.reloads(consumer) == said
    consumer.wait_line(msg="token read again")
    for _ in range(2):  # the first heartbeat that is seen may still have the old one
        before = seen(stack)
        wait_until(lambda: seen(stack) > before, "for a heartbeat")
    stack.write_config(stack.api.config_file, listen="{}:{}".format(*stack.api.host_port), tokens=hashes[1:])
    os.kill(stack.api.pid, signal.SIGHUP)
    stack.api.wait_line(msg="tokens read again")
    go.touch()
    assert stack.wait_final(task_id)["status"] == "finished"
    other = stack.create("script", [["out", "2\n"]])
    assert stack.wait_final(other)["status"] == "finished"
    assert not consumer.find(code="UNAUTHORIZED")
