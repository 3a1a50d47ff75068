"""Connections that the test can cut, freeze and read: an HTTP client, a pipe, and a tap that records the calls of consumers.

All of it lives on one asyncio loop.
"""
import asyncio
import json
import time


class HttpReader:
    """Splits one direction of an HTTP/1.1 connection into messages with Content-Length."""

    def __init__(self):
        self.data = bytearray()

    def feed(self, data):
        """The messages that are whole now: (first line, body, all bytes)."""
        self.data += data
        found = []
        while True:
            end = self.data.find(b"\r\n\r\n")
            if end < 0:
                return found
            head = bytes(self.data[:end]).decode("latin-1")
            size = end + 4 + self._length(head)
            if len(self.data) < size:
                return found
            found.append((head.partition("\r\n")[0], bytes(self.data[end + 4:size]), bytes(self.data[:size])))
            del self.data[:size]

    @staticmethod
    def _length(head):
        for line in head.split("\r\n")[1:]:
            name, _, value = line.partition(":")
            if name.lower() == "content-length":
                return int(value)
        return 0


def parse(body):
    try:
        return json.loads(body)
    except ValueError:
        return {"unreadable": body[:200].decode(errors="replace")}


# ---- the driver's own client ---------------------------------------------------------------------------------


class Connection(asyncio.Protocol):
    def __init__(self):
        self.reader, self.answer, self.transport = HttpReader(), None, None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        for first, body, _ in self.reader.feed(data):
            if self.answer and not self.answer.done():
                self.answer.set_result((int(first.split()[1]), body))

    def connection_lost(self, error):
        if self.answer and not self.answer.done():
            self.answer.set_result((None, b""))
        self.transport = None


class Client:
    """Calls of one API process. No call is ever repeated here; an answer that did not come is (None, None)."""

    def __init__(self, history, api, port, token, limit=64):
        self.history, self.name, self.api, self.port, self.token = history, f"client{api}", api, port, token
        self.idle, self.busy = [], set()
        self.room = asyncio.Semaphore(limit)

    async def _connect(self):
        while self.idle:
            connection = self.idle.pop()
            if connection.transport and not connection.transport.is_closing():
                return connection
        _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self.port)
        return connection

    async def call(self, route, body, *, record=True, patience_s=20, more=None):
        text = json.dumps(body, separators=(",", ":"))
        async with self.room:
            t0, http, answer = await self._exchange(route, text, patience_s)
        if record:
            self.history.add("call", t0, t1=time.monotonic_ns(), by=self.name, api=self.api, route=route, body=body, http=http, answer=answer,
                             **(more or {}))
        return http, answer

    async def _exchange(self, route, text, patience_s):
        """When it was sent, to a process that was there then; HTTP status and answer."""
        data, t0 = text.encode(), time.monotonic_ns()
        try:
            connection = await asyncio.wait_for(self._connect(), patience_s)
        except (OSError, asyncio.TimeoutError):
            return t0, 0, None  # nothing was sent
        if connection.transport is None:
            return t0, 0, None
        t0 = time.monotonic_ns()
        connection.answer = asyncio.get_running_loop().create_future()
        self.busy.add(connection)
        try:
            connection.transport.write(f"POST /api/{route} HTTP/1.1\r\nHost: chaos\r\nAuthorization: {self.token}\r\n"
                                       f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
            http, answer = await asyncio.wait_for(connection.answer, patience_s)
        except asyncio.TimeoutError:
            http, answer = None, b""
        finally:
            self.busy.discard(connection)
        if http is None:
            if connection.transport:
                connection.transport.abort()
            return t0, None, None
        self.idle.append(connection)
        return t0, http, parse(answer)

    def cut(self):
        """Ends all connections, wherever their calls are."""
        for connection in [*self.busy, *self.idle]:
            if connection.transport:
                connection.transport.abort()
        self.idle.clear()

    close = cut


# ---- pipes ---------------------------------------------------------------------------------------------------


class Side(asyncio.Protocol):
    """One of the two connections of a link."""

    def __init__(self, link, forth):
        self.link, self.forth, self.transport = link, forth, None

    def connection_made(self, transport):
        self.transport = transport
        self.link.joined(self)

    def data_received(self, data):
        self.link.pass_on(self, data)

    def connection_lost(self, error):
        self.link.end()

    def pause_writing(self):
        self.link.other(self).stop_reading()

    def resume_writing(self):
        self.link.other(self).go_on_reading()

    def stop_reading(self):
        if self.transport and not self.transport.is_closing():
            self.transport.pause_reading()

    def go_on_reading(self):
        passes = self.link.other(self).transport and not self.link.pipe.frozen
        if self.transport and not self.transport.is_closing() and passes:
            self.transport.resume_reading()


class Link:
    """A client's connection and the one behind it."""

    def __init__(self, pipe):
        self.pipe, self.ended, self.held = pipe, False, []
        self.near, self.far = Side(self, True), Side(self, False)
        pipe.links.add(self)

    def other(self, side):
        return self.far if side is self.near else self.near

    def joined(self, side):
        if self.ended:  # while the far side was reached for
            side.transport.abort()
        elif side is self.near:
            side.transport.pause_reading()
            asyncio.ensure_future(self._reach())
        else:
            self.near.go_on_reading()
        if self.pipe.frozen:
            side.stop_reading()

    async def _reach(self):
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.far, "127.0.0.1", self.pipe.upstream)
        except OSError:
            self.end()

    def pass_on(self, side, data):
        self.other(side).transport.write(data)

    def end(self):
        if self.ended:
            return
        self.ended = True
        self.pipe.links.discard(self)
        for side in (self.near, self.far):
            if side.transport:
                side.transport.abort()


class Pipe:
    """Passes connections to `upstream`, a port of this host, on."""

    link = Link

    def __init__(self, upstream):
        self.upstream, self.links, self.frozen, self.server, self.port = upstream, set(), False, None, None

    async def open(self):
        self.server = await asyncio.get_running_loop().create_server(lambda: self.link(self).near, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    def close(self):
        if self.server:
            self.server.close()
        self.cut()

    def cut(self):
        for link in list(self.links):
            link.end()

    def freeze(self):
        """Nothing passes any more; connections stay."""
        self.frozen = True
        for link in self.links:
            link.near.stop_reading()
            link.far.stop_reading()

    def thaw(self):
        self.frozen = False
        for link in self.links:
            link.near.go_on_reading()
            link.far.go_on_reading()


# ---- the tap between a consumer and its API --------------------------------------------------------------------


class TapLink(Link):
    def __init__(self, pipe):
        super().__init__(pipe)
        self.requests, self.answers = HttpReader(), HttpReader()
        self.open = []  # calls that are not answered yet: [t0, route, body]

    def pass_on(self, side, data):
        if side is self.near:
            self._ask(data)
        else:
            self._answer(data)

    def _ask(self, data):
        for first, body, whole in self.requests.feed(data):
            if self.ended or not self.far.transport:
                return
            route = first.split()[1].rpartition("/")[2]
            if self.pipe.spoils("request", route):
                self.end()
                return
            self.open.append([time.monotonic_ns(), route, parse(body)])
            self.far.transport.write(whole)

    def _answer(self, data):
        for first, body, whole in self.answers.feed(data):
            if not self.open or self.ended:
                return
            t0, route, asked = self.open.pop(0)
            lost = self.pipe.spoils("answer", route)
            self.pipe.record(t0, route, asked, int(first.split()[1]), parse(body), lost)
            if lost:
                self.end()
                return
            self.near.transport.write(whole)

    def end(self):
        if not self.ended:
            for t0, route, asked in self.open:
                self.pipe.record(t0, route, asked, None, None, True)
            self.open.clear()
        super().end()


class Tap(Pipe):
    """A pipe for one consumer that writes its calls into the history and keeps its last updates for others to repeat."""

    link = TapLink
    UPDATES_KEPT = 256

    def __init__(self, upstream, history, name, api):
        super().__init__(upstream)
        self.history, self.name, self.api, self.updates, self.armed = history, name, api, [], []

    def spoil(self, what, route=None):
        """Arms the loss of the next request or answer of the route."""
        self.armed.append((what, route))

    def spoils(self, what, route):
        for order in self.armed:
            if order[0] == what and order[1] in (None, route):
                self.armed.remove(order)
                return True
        return False

    def record(self, t0, route, asked, http, answer, lost):
        if route == "claim_task" and http == 200 and not answer.get("data"):
            return
        if route == "heartbeat_task" and not asked.get("data"):
            return
        if route in ("update_status_task", "heartbeat_task"):
            self.updates = [*self.updates[1 - self.UPDATES_KEPT:], (route, asked)]
        more = {"lost": True} if lost and http is not None else {}
        self.history.add("call", t0, t1=time.monotonic_ns(), by=self.name, api=self.api, route=route, body=asked, http=http, answer=answer, **more)
