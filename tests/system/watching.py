"""A client of /api/watch over a raw socket: one event at a time, and what the connection was told."""
import json
import socket
import time
import urllib.parse

from tests.system.stack import PATIENCE_S, TOKEN


class Event:
    def __init__(self, name, id, data):
        self.name, self.id, self.data = name, id, data

    def __repr__(self):
        return f"{self.name} {self.id} {self.data}"


class Watch:
    def __init__(self, stack, api=0, method="GET", last_id=None, version="1.1", token=TOKEN, rcvbuf=None, **select):
        address = stack.apis[api].host_port
        self.sock = socket.socket()
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(address)
        self.raw, self.text, self.ended, self.last_id, self.comments = b"", b"", False, None, 0
        query = urllib.parse.urlencode({name: value for name, value in select.items() if value is not None}, doseq=True)
        body = json.dumps({"data": select}).encode() if method == "POST" else b""
        target = "/api/watch" + (f"?{query}" if query and method == "GET" else "")
        head = [f"{method} {target} HTTP/{version}", "Host: a"]
        head += [f"Authorization: {token}"] if token else []
        head += [f"Last-Event-ID: {last_id}"] if last_id else []
        head += [f"Content-Length: {len(body)}"] if method == "POST" else []
        self.sock.sendall("\r\n".join([*head, "", ""]).encode() + body)
        self.read_head()

    def read_head(self):
        while b"\r\n\r\n" not in self.raw:
            assert self.fill(), f"the connection ended before its answer: {self.raw!r}"
        head, self.raw = self.raw.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
        self.chunked = self.headers.get("transfer-encoding") == "chunked"
        if self.status != 200:
            length = int(self.headers["content-length"])
            while len(self.raw) < length:
                assert self.fill(), f"the connection ended in its answer: {self.raw!r}"
            self.answer = json.loads(self.raw[:length])

    def fill(self):
        got = self.sock.recv(65536)
        self.ended |= not got
        self.raw += got
        return got

    def more(self):
        """Some further bytes of the stream; False at its end."""
        if not self.chunked:
            if not self.raw and not self.fill():
                return False
            self.text, self.raw = self.text + self.raw, b""
            return True
        while b"\r\n" not in self.raw:
            if not self.fill():
                return False
        head = self.raw.index(b"\r\n") + 2
        size = int(self.raw[:head], 16)
        while len(self.raw) < head + size + 2:  # what has come of it stays, whatever becomes of the rest
            if not self.fill():
                return False
        chunk, self.raw = self.raw[head:head + size + 2], self.raw[head + size + 2:]
        assert chunk[size:] == b"\r\n"
        self.text += chunk[:size]
        return size > 0

    def next(self, timeout_s=PATIENCE_S):
        """The next event; None: the stream has ended, or (with a timeout) nothing came."""
        deadline = time.monotonic() + timeout_s
        while True:
            while b"\n\n" not in self.text:
                self.sock.settimeout(max(0.001, deadline - time.monotonic()))
                try:
                    if not self.more():
                        return None
                except TimeoutError:
                    assert timeout_s < PATIENCE_S, f"no event; so far {self.text!r}"
                    return None
            block, self.text = self.text.split(b"\n\n", 1)
            event = self.parse(block.decode())
            if event:
                return event

    def parse(self, block):
        name, data, given = None, None, None
        for line in block.split("\n"):
            field, _, value = line.partition(": ")
            if line.startswith(":"):
                self.comments += 1
            elif field == "id":
                self.last_id = given = value
            elif field == "event":
                name = value
            elif field == "data":
                data = json.loads(value)
            else:
                assert field == "retry" and value.isdigit(), line
        return Event(name, given, data) if name else None

    def expect(self, name, **fields):
        event = self.next()
        assert event and event.name == name, f"wanted {name} {fields}, got {event}"
        for key, value in fields.items():
            assert event.data.get(key) == value, f"wanted {name} {fields}, got {event}"
        return event

    def until(self, name, **fields):
        """Events up to and with this one."""
        seen = []
        while True:
            event = self.next()
            assert event, f"the stream ended before {name} {fields}: {seen}"
            seen.append(event)
            if event.name == name and all(event.data.get(key) == value for key, value in fields.items()):
                return seen

    def is_quiet(self, seconds=0.4):
        return self.next(seconds) is None

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
