"""A proxy before a MongoDB server that loses or spoils the answers to writes on command.

It passes whole messages on, in both directions. spoil(how, n) arms it for the next n insert or update commands:

    lose_request   the connection ends before the server sees the command
    lose_answer    the server has answered; the connection ends before the client sees it
    no_majority    the answer says that the write concern was not met
    error          the answer is replaced by an error of the kind that a proxy gives that lost its database
"""
import socket
import struct
import threading

OP_MSG = 2013
WRITES = (b"insert\0", b"update\0")


def _string(name, value):
    data = value.encode() + b"\0"
    return b"\x02" + name.encode() + b"\0" + struct.pack("<i", len(data)) + data


def _int(name, value):
    return b"\x10" + name.encode() + b"\0" + struct.pack("<i", value)


def _double(name, value):
    return b"\x01" + name.encode() + b"\0" + struct.pack("<d", value)


def _document(fields):
    return struct.pack("<i", len(fields) + 5) + fields + b"\0"


def _receive(sock):
    """One message, or None at the end of the stream."""
    data = b""
    size = 4
    while len(data) < size:
        try:
            more = sock.recv(min(size - len(data), 1 << 20))
        except OSError:
            return None
        if not more:
            return None
        data += more
        if size == 4 and len(data) == 4:
            (size,) = struct.unpack("<i", data)
    return data


def _is_write(message):
    """The first key of the command document names the command."""
    (opcode,) = struct.unpack_from("<i", message, 12)
    return opcode == OP_MSG and message[20] == 0 and message[26:26 + 7] in WRITES


def _with_fields(message, edit):
    """The reply with its document's fields edited; replies of writes have one section."""
    (size,) = struct.unpack_from("<i", message, 21)
    body = message[16:21] + _document(edit(message[25:21 + size - 1]))
    return struct.pack("<i", 16 + len(body)) + message[4:16] + body


def _no_majority(fields):
    what = _int("code", 64) + _string("codeName", "WriteConcernFailed") + _string("errmsg", "waiting timed out")
    return fields + b"\x03writeConcernError\0" + _document(what)


def _error(_fields):
    return _double("ok", 0.0) + _string("errmsg", "the database behind this server is gone") + _int("code", 1)


ANSWERS = {"no_majority": _no_majority, "error": _error}


class Proxy:
    def __init__(self, host, port):
        self.upstream = (host, port)
        self.lock = threading.Lock()
        self.armed = []
        self.spoiled = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def spoil(self, how, n):
        with self.lock:
            self.armed += [how] * n

    def close(self):
        self.listener.close()

    def _next(self, message):
        if not _is_write(message):
            return None
        with self.lock:
            if self.armed:
                self.spoiled += 1
            return self.armed.pop(0) if self.armed else None

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.upstream, timeout=5)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            fates = []  # of the commands on this connection that are not answered yet
            for work in (self._requests, self._answers):
                threading.Thread(target=work, args=(client, server, fates), daemon=True).start()

    def _requests(self, client, server, fates):
        while (message := _receive(client)) is not None:
            fate = self._next(message)
            if fate == "lose_request":
                break
            if fate:
                fates.append(fate)
            try:
                server.sendall(message)
            except OSError:
                break
        self._end(client, server)

    def _answers(self, client, server, fates):
        while (message := _receive(server)) is not None:
            fate = fates.pop(0) if fates else None
            if fate == "lose_answer":
                break
            try:
                client.sendall(_with_fields(message, ANSWERS[fate]) if fate else message)
            except OSError:
                break
        self._end(client, server)

    @staticmethod
    def _end(*socks):
        for sock in socks:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()
