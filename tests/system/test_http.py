"""The HTTP server alone (http_echo), over raw sockets: what it takes, what it refuses, how it waits and closes.

DEFECTS holds one check for each fault of evhtp's own HTTP layer; every check passes on the server and fails on evhtp
without the guard, which shows that it can fail.
"""
import contextlib
import json
import os
import random
import re
import select
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

BUILD = Path(os.environ.get("LONGHAUL_BUILD") or Path(__file__).resolve().parents[2] / "build")
PATIENCE = 40.0  # seconds for what must happen
SHORT = 0.6  # seconds for what a faulty server never does
HOST = b"Host: a\r\n"


class Echo:
    """A running http_echo. Closing it checks that it drained, exited with 0 and had nothing to say."""

    def __init__(self, *args, chatty=False):
        self.chatty = chatty
        self.patience = SHORT if "--no-guard" in args else PATIENCE
        self.process = subprocess.Popen(
            [BUILD / "tests/contract/http_echo", *map(str, args)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.guarded = "--no-guard" not in args
        self.address = self.process.stdout.readline().strip()
        assert self.address, self.process.stderr.read()
        os.set_blocking(self.process.stderr.fileno(), False)

    def connect(self):
        if self.address.startswith("unix:"):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(self.patience)
            sock.connect(self.address[5:])
        else:
            host, port = self.address[len("http://"):].rsplit(":", 1)
            sock = socket.create_connection((host.strip("[]"), int(port)), timeout=self.patience)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Client(sock)

    def ask(self, data):
        with self.connect() as client:
            client.send(data)
            return client.reply()

    def cpu_s(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def terminate(self):
        self.process.terminate()

    def close(self):
        if not self.guarded:
            self.process.kill()
            self.process.wait()
            return
        self.process.terminate()
        try:
            status = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        said = self.process.stderr.read() or ""
        assert status == 0, said
        assert self.chatty or said == "", said


class Reply:
    def __init__(self, status, headers, body, version):
        self.status, self.headers, self.body, self.version = status, headers, body, version

    def json(self):
        return json.loads(self.body)


class Client:
    """One connection; every read fails after the server's patience."""

    def __init__(self, sock):
        self.sock = sock
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, data):
        with contextlib.suppress(ConnectionError):  # a refusal may come before the end of what is sent
            self.sock.sendall(data)

    def more(self):
        try:
            data = self.sock.recv(65536)
        except TimeoutError:
            raise AssertionError(f"no answer; so far: {self.rest!r}") from None
        except ConnectionError as error:
            raise AssertionError(f"{error}; so far: {self.rest!r}") from None
        assert data, f"closed; so far: {self.rest!r}"
        self.rest += data

    def until(self, end):
        while end not in self.rest:
            self.more()
        data, self.rest = self.rest.split(end, 1)
        return data

    def reply(self, to_head=False):
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, _phrase = lines[0].split(" ", 2)
        assert version.startswith("HTTP/1."), lines[0]
        headers = {}
        for line in lines[1:]:
            name, value = line.split(": ", 1)
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value
        length = 0 if to_head else int(headers.get("content-length", 0))
        while len(self.rest) < length:
            self.more()
        body, self.rest = self.rest[:length], self.rest[length:]
        return Reply(int(status), headers, body, version)

    def is_quiet(self, seconds=0.15):
        return not self.rest and not select.select([self.sock], [], [], seconds)[0]

    def expect_eof(self):
        assert self.rest == b""
        try:
            data = self.sock.recv(1)
        except TimeoutError:
            raise AssertionError("still open") from None
        except ConnectionError as error:
            raise AssertionError(f"reset: {error}") from None
        assert data == b"", data


@pytest.fixture
def echo():
    """echo(*args) starts a server for this test."""
    servers = []

    def start(*args, **options):
        servers.append(Echo(*args, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def get(path=b"/", headers=b"", version=b"1.1"):
    return b"GET " + path + b" HTTP/" + version + b"\r\n" + HOST + headers + b"\r\n"


def post(body, headers=b"", path=b"/"):
    return (b"POST " + path + b" HTTP/1.1\r\n" + HOST + headers
            + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def check_refused(server, data, status, code):
    """The answer has the status, the API's JSON body and Connection: close; then the connection ends cleanly."""
    with server.connect() as client:
        client.send(data)
        reply = client.reply()
        assert reply.status == status, (data[:200], reply.status, reply.body)
        assert reply.json()["result"] == "exception" and reply.json()["code"] == code
        assert reply.json()["message"]
        assert reply.headers["connection"] == "close"
        assert reply.headers["content-type"] == "application/json"
        assert reply.headers["x-request-id"] and reply.headers["date"]
        client.expect_eof()


# --- the faults of evhtp ------------------------------------------------------------------------

def defect_split(server):
    """a: a segment that ends within the target puts a stray byte into it."""
    request = get(b"/xyz/abcdefgh?q=1", b"User-Agent: x\r\nAccept: */*\r\nX: " + b"x" * 16 + b"\r\n")
    assert len(request) == 92
    for at in range(1, 92):
        with server.connect() as client:
            client.send(request[:at])
            time.sleep(0.002)
            client.send(request[at:])
            reply = client.reply()
            assert reply.json()["path"] == "/xyz/abcdefgh", at


def defect_pipeline(server):
    """b: pipelined requests stall."""
    with server.connect() as client:
        client.send(get(b"/1") + get(b"/2") + get(b"/3"))
        assert [client.reply().json()["path"] for _ in range(3)] == ["/1", "/2", "/3"]


def defect_garbage(server):
    """c: what does not parse is dropped without an answer."""
    check_refused(server, b"nonsense\r\n\r\n", 400, "BAD_REQUEST")


def defect_long_target(server):
    check_refused(server, get(b"/" + b"x" * 20000), 414, "URI_TOO_LONG")


def defect_long_header(server):
    check_refused(server, get(b"/", b"X: " + b"x" * 20000 + b"\r\n"), 431, "HEADERS_TOO_LARGE")


def defect_long_body(server):
    check_refused(server, post(b"x" * 5000000), 413, "TOO_LARGE")


def defect_many_headers(server):
    """d: no end of headers, no deadline, no end of connections."""
    check_refused(server, get(b"/", b"A: b\r\n" * 65), 431, "HEADERS_TOO_LARGE")


def defect_slow_header(server):
    with server.connect() as client:
        client.send(b"GET / HTTP/1.1\r\n")
        for _ in range(6):
            client.send(b"A")
            time.sleep(0.1)
        assert client.reply().status == 408


SMUGGLED = [
    (b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    (b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n", 411),
    (b"Transfer-Encoding: chunked \r\n\r\n0\r\n\r\n", 411),
    (b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 411),
    (b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    (b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
    (b"Content-Length : 3\r\n\r\nabc", 400),
    (b"Content-Length: +3\r\n\r\nabc", 400),
    (b"A: b\0c\r\nContent-Length: 0\r\n\r\n", 400),
    (b"A: b\n c\r\nContent-Length: 0\r\n\r\n", 400),
]
CODES = {400: "BAD_REQUEST", 411: "LENGTH_REQUIRED", 501: "NOT_IMPLEMENTED"}


def smuggle(rest, status):
    def check(server):
        check_refused(server, b"POST / HTTP/1.1\r\n" + HOST + rest, status, CODES[status])
    return check


def defect_no_host(server):
    check_refused(server, b"GET / HTTP/1.1\r\n\r\n", 400, "BAD_REQUEST")


def defect_version(server):
    check_refused(server, get(version=b"9.9"), 505, "VERSION_NOT_SUPPORTED")


def defect_method(server):
    """f: unknown methods lose their name, other forms of target their meaning."""
    assert server.ask(b"FOO /x HTTP/1.1\r\n" + HOST + b"\r\n").json()["method"] == "FOO"


def defect_options(server):
    check_refused(server, b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 400, "BAD_REQUEST")


def defect_connect(server):
    check_refused(server, b"CONNECT a:80 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "BAD_REQUEST")


def defect_head(server):
    """g: the reply to HEAD has a body, which the client takes for the next reply."""
    with server.connect() as client:
        client.send(b"HEAD /a HTTP/1.1\r\n" + HOST + b"\r\n")
        assert int(client.reply(to_head=True).headers["content-length"]) > 0
        client.send(get(b"/b"))
        assert client.reply().json()["path"] == "/b"


def bodiless(status):
    def check(server):
        """h: replies that have no body are given headers of one."""
        reply = server.ask(get(b"/status/%d" % status))
        assert reply.status == status
        assert "content-length" not in reply.headers and "content-type" not in reply.headers
    return check


def defect_authorization(server):
    """i: of two Authorization headers the first counts."""
    check_refused(server, get(headers=b"Authorization: a\r\nAuthorization: b\r\n"), 400, "BAD_REQUEST")


def defect_body_limit(server):
    """j: a body of exactly the limit is refused; any Expect is answered 100."""
    assert server.ask(post(b"x" * (4 << 20))).json()["len"] == 4 << 20


def defect_expect(server):
    check_refused(server, b"POST / HTTP/1.1\r\n" + HOST + b"Expect: x\r\nContent-Length: 3\r\n\r\n",
                  400, "BAD_REQUEST")


def defect_close(server):
    """k: Connection: CLOSE is not understood."""
    with server.connect() as client:
        client.send(get(headers=b"Connection: TE, CLOSE\r\n"))
        assert client.reply().headers["connection"] == "close"
        client.expect_eof()


def sockets_of(server):
    """The descriptor numbers of its sockets beyond stderr."""
    found = []
    for fd in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if int(fd.name) > 2 and os.readlink(fd).startswith("socket:"):
                found.append(fd.name)
    return found


def defect_cloexec(server):
    """n: accepted sockets leak into children."""
    with server.connect() as client:
        client.send(get())
        client.reply()
        assert len(sockets_of(server)) >= 2
        for fd in sockets_of(server):
            flags = Path(f"/proc/{server.process.pid}/fdinfo/{fd}").read_text().split("flags:")[1].split()[0]
            assert int(flags, 8) & os.O_CLOEXEC, fd


DEFECTS = {
    "a-split": defect_split,
    "b-pipeline": defect_pipeline,
    "c-garbage": defect_garbage,
    "c-long-target": defect_long_target,
    "c-long-header": defect_long_header,
    "c-long-body": defect_long_body,
    "d-many-headers": defect_many_headers,
    "d-slow-header": defect_slow_header,
    **{f"e-smuggle-{i}": smuggle(*case) for i, case in enumerate(SMUGGLED)},
    "e-no-host": defect_no_host,
    "e-version": defect_version,
    "f-method": defect_method,
    "f-options": defect_options,
    "f-connect": defect_connect,
    "g-head": defect_head,
    "h-204": bodiless(204),
    "h-304": bodiless(304),
    "i-authorization": defect_authorization,
    "j-body-limit": defect_body_limit,
    "j-expect": defect_expect,
    "k-close": defect_close,
    "n-cloexec": defect_cloexec,
}


@pytest.mark.parametrize("name", DEFECTS)
def test_defect_is_gone(echo, name):
    DEFECTS[name](echo(*(["--header-ms", 300] if name == "d-slow-header" else [])))


@pytest.mark.parametrize("name", DEFECTS)
def test_defect_shows_without_guard(echo, name):
    server = echo("--no-guard", "--body-max", 4 << 20)
    with pytest.raises((AssertionError, KeyError, ValueError)):
        DEFECTS[name](server)


def out_of_descriptors(server):
    """m: with no descriptor left the server spins. Gives its processor time and what it said in half a second, or in a longer one of a
    server that gets no processor."""
    held = []
    for _ in range(40):
        with contextlib.suppress(OSError):
            held.append(server.connect())
    before = server.cpu_s()
    time.sleep(0.5)
    used, said = server.cpu_s() - before, server.process.stderr.read() or ""
    end = time.monotonic() + PATIENCE
    while not server.guarded and used <= 0.25 and len(said) <= 10000 and time.monotonic() < end:
        time.sleep(0.1)
        used, said = server.cpu_s() - before, said + (server.process.stderr.read() or "")
    for client in held:
        client.sock.close()
    return used, said


def test_out_of_descriptors(echo):
    server = echo("--nofile", 24, chatty=True)
    used, said = out_of_descriptors(server)
    assert used < 0.25
    assert 1 <= said.count("accept failed") < 5
    assert server.ask(get(b"/again")).json()["path"] == "/again"


def test_out_of_descriptors_without_guard(echo):
    used, said = out_of_descriptors(echo("--no-guard", "--nofile", 24))
    assert used > 0.25 or len(said) > 10000


# --- pipelining, splits, sizes ------------------------------------------------------------------

def test_pipeline_of_suspended_requests(echo):
    server = echo("--late", 10)
    defect_pipeline(server)
    with server.connect() as client:
        client.send(b"".join(post(b"%d" % i) for i in range(50)))
        assert [client.reply().json()["body"] for _ in range(50)] == [str(i) for i in range(50)]


def test_pipeline_byte_by_byte(echo):
    server = echo()
    data = post(b"one", path=b"/1") + get(b"/2") + b"\r\n" + post(b"", path=b"/3")
    with server.connect() as client:
        for byte in data:
            client.send(bytes([byte]))
        assert [client.reply().json()["path"] for _ in range(3)] == ["/1", "/2", "/3"]


def test_long_pipeline_is_answered_in_order(echo):
    server = echo()
    with server.connect() as client:
        client.send(b"".join(get(b"/%d" % i) for i in range(2000)))
        assert [client.reply().json()["path"] for _ in range(2000)] == [f"/{i}" for i in range(2000)]


def test_pipeline_behind_close_is_not_served(echo):
    server = echo()
    with server.connect() as client:
        client.send(get(b"/1", b"Connection: close\r\n") + get(b"/2"))
        assert client.reply().json()["path"] == "/1"
        client.expect_eof()


def test_refusal_comes_after_the_replies_before_it(echo):
    server = echo("--late", 20)
    with server.connect() as client:
        client.send(get(b"/1") + get(b"/2") + b"bad\r\n")
        assert [client.reply().status for _ in range(3)] == [200, 200, 400]
        client.expect_eof()


@pytest.mark.parametrize("late", [[], ["--late", "5"]])
def test_large_bodies_both_ways(echo, late):
    server = echo(*late)
    body = b"0123456789abcdef" * (1 << 16)
    with server.connect() as client:
        for _ in range(2):
            client.send(post(body))
            assert client.reply().json()["body"].encode() == body
        client.send(get(b"/big/3000000") + get(b"/after"))
        assert client.reply().body == b"x" * 3000000
        assert client.reply().json()["path"] == "/after"


def test_large_reply_to_a_slow_reader(echo):
    server = echo()
    with server.connect() as client:
        client.send(get(b"/big/8000000", b"Connection: close\r\n"))
        time.sleep(0.3)
        assert len(client.reply().body) == 8000000
        client.expect_eof()


def wait_for_stats(server, **expected):
    end = time.monotonic() + PATIENCE
    while True:
        stats = server.ask(get(b"/stats")).json()
        if all(stats[key] == value for key, value in expected.items()):
            return
        assert time.monotonic() < end, stats
        time.sleep(0.02)


def test_reader_that_stalls_is_dropped(echo):
    server = echo("--body-ms", 3000)  # for those who ask for the statistics too
    with server.connect() as client:
        client.send(get(b"/big/30000000"))
        wait_for_stats(server, pending=1)
        wait_for_stats(server, pending=0)


def test_body_in_single_bytes_stays_small_in_memory(echo):
    """libevent keeps a kilobyte for each read of one byte."""
    server = echo("--body-ms", 60000)
    process = Path(f"/proc/{server.process.pid}")

    def resident_kb():
        return int((process / "status").read_text().split("VmRSS:")[1].split()[0])

    with server.connect() as client:
        client.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 6000\r\n\r\n")
        before = resident_kb()
        for _ in range(5999):
            client.send(b"x")
            time.sleep(0.0002)  # so that each is read alone
        if "libasan" not in (process / "maps").read_text():  # which keeps freed memory for a while
            assert resident_kb() - before < 2000
        client.send(b"x")
        assert client.reply().json()["len"] == 6000


def test_server_does_not_read_ahead_without_bound(echo):
    """While a request waits, further bytes stay with the client."""
    server = echo()
    with server.connect() as client:
        client.send(get(b"/late/1000"))
        client.sock.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < 64 << 20:
                sent += client.sock.send(b"x" * 65536)
        assert sent < 64 << 20


STREAM = [
    get(b"/a"), get(b"/b?q", b"X: y\r\n"), post(b"{}", path=b"/c"), post(b"x" * 5000), b"\r\n", post(b""),
    get(b"/late/2"), get(b"/big/70000"), b"HEAD /h HTTP/1.1\r\n" + HOST + b"\r\n", get(b"/status/204"),
    get(b"/1", b"Connection: keep-alive\r\n", b"1.0"),
]
LAST = [
    b"", b"GET /x HT", post(b"abc")[:-1], b"bad\r\n\r\n", get(b"/x", b"Connection: close\r\n") + get(b"/y"),
    b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", post(b"x" * 70000, b"A: b\n"),
    get(b"/" + b"x" * 17000), get(b"/", b"X: " + b"x" * 17000 + b"\r\n"), b"\0", get(b"/z", version=b"3.0"),
]


def answers(server, pieces):
    """All that comes back for the pieces, without what differs from time to time."""
    with server.connect() as client:
        for piece in pieces:
            client.send(piece)
            if len(pieces) < 200:
                time.sleep(0.001)
        with contextlib.suppress(OSError):
            client.sock.shutdown(socket.SHUT_WR)
        received = bytearray()
        while data := client.sock.recv(1 << 20):
            received += data
    received = re.sub(rb"(Date: [^\r]*|Connection: close)\r\n", b"", bytes(received))
    return re.sub(rb"[0-9a-f]{8}-[0-9a-f-]{27}", b"", received)


@pytest.mark.parametrize("seed", range(60))
def test_any_split_gives_the_same_answers(echo, seed):
    chance = random.Random(seed)
    stream = b"".join(chance.choices(STREAM, k=chance.randrange(6))) + chance.choice(LAST)
    server = echo("--body-max", 70000, *([] if seed % 3 else ["--late", 1]))
    whole = answers(server, [stream])
    assert whole or not stream.strip()
    cuts = sorted(chance.randrange(len(stream) + 1) for _ in range(chance.choice([1, 3, 20, 300])))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)])]
    assert answers(server, pieces) == whole


# --- HEAD, Expect, keep-alive, versions ---------------------------------------------------------

def test_head_has_the_length_of_get(echo):
    server = echo()
    with server.connect() as client:
        client.send(b"HEAD /big/777 HTTP/1.1\r\n" + HOST + b"\r\n")
        assert client.reply(to_head=True).headers["content-length"] == "777"
        assert client.is_quiet()


def test_refused_head_has_no_body(echo):
    server = echo()
    with server.connect() as client:
        client.send(b"HEAD / HTTP/1.1\r\n\r\n")
        assert client.reply(to_head=True).status == 400
        client.expect_eof()


def test_expect_continue(echo):
    server = echo()
    head = b"POST / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    with server.connect() as client:
        client.send(head)
        assert client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue"
        assert client.is_quiet()
        client.send(b"abc")
        assert client.reply().json()["body"] == "abc"
        client.send(head + b"def")  # it did not wait: no 100
        assert client.reply().json()["body"] == "def"


def test_expect_continue_with_a_body_too_large(echo):
    check_refused(echo("--body-max", 10), b"POST / HTTP/1.1\r\n" + HOST
                  + b"Expect: 100-continue\r\nContent-Length: 11\r\n\r\n", 413, "TOO_LARGE")


def test_expect_continue_of_an_old_client_is_ignored(echo):
    with echo().connect() as client:
        client.send(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert client.is_quiet()
        client.send(b"abc")
        assert client.reply().json()["body"] == "abc"


@pytest.mark.parametrize("version, headers, kept, says", [
    (b"1.1", b"", True, None),
    (b"1.1", b"Connection: keep-alive\r\n", True, None),
    (b"1.1", b"Connection: close\r\n", False, "close"),
    (b"1.1", b"Connection: keep-alive\r\nConnection: Close\r\n", False, "close"),
    (b"1.0", b"", False, "close"),
    (b"1.0", b"Connection: Keep-Alive\r\n", True, "keep-alive"),
    (b"1.5", b"", True, None),
])
@pytest.mark.parametrize("late", [[], ["--late", "5"]])
def test_keep_alive(echo, version, headers, kept, says, late):
    with echo(*late).connect() as client:
        for path in (b"/1", b"/2"):
            client.send(get(path, headers, version))
            reply = client.reply()
            assert reply.version == "HTTP/1.1"
            assert reply.json()["path"] == path.decode()
            assert reply.headers.get("connection") == says
            if not kept:
                client.expect_eof()
                return


def test_old_client_needs_no_host(echo):
    assert echo().ask(b"GET /x HTTP/1.0\r\n\r\n").json()["path"] == "/x"


def test_absolute_target(echo):
    server = echo()
    assert server.ask(get(b"http://b:80/x?y")).json()["path"] == "/x"
    assert server.ask(get(b"http://b?y")).json()["path"] == "/"
    check_refused(server, b"GET http://b/ HTTP/1.1\r\n\r\n", 400, "BAD_REQUEST")


def test_path_stays_as_it_was_sent(echo):
    assert echo().ask(get(b"//../x/%2e%2e/%00y?z")).json()["path"] == "//../x/%2e%2e/%00y"


def test_post_needs_a_length_others_do_not(echo):
    server = echo()
    check_refused(server, b"POST / HTTP/1.1\r\n" + HOST + b"\r\n", 411, "LENGTH_REQUIRED")
    for method in (b"GET", b"PUT", b"DELETE"):
        assert server.ask(method + b" / HTTP/1.1\r\n" + HOST + b"\r\n").json()["len"] == 0
    assert server.ask(b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\nab").json()["body"] == "ab"


def test_header_values_are_trimmed_and_whole(echo):
    server = echo()
    assert server.ask(get(b"/header/x-y", b"X-Y: \t a  b \t\r\n")).json()["value"] == "a  b"
    assert server.ask(get(b"/header/x-y", b"X-Y:\r\n")).json()["value"] == ""
    assert server.ask(get(b"/header/x-z", b"X-Y: a\r\n")).json()["value"] is None
    assert server.ask(get(b"/header/x", b"X: " + b"v" * 12000 + b"\r\n")).json()["value"] == "v" * 12000


@pytest.mark.parametrize("sent, kept", [
    (b"abc-123", True), (b"x" * 128, True), (b"x" * 129, False), (b"a b", False), (b"\xc3\xa4", False), (b"", False)])
def test_request_id(echo, sent, kept):
    reply = echo().ask(get(headers=b"X-Request-Id: " + sent + b"\r\n"))
    answered = reply.headers["x-request-id"]
    assert answered == reply.json()["id"]
    assert (answered == sent.decode("latin-1")) is kept
    assert kept or len(answered) == 36


# --- deadlines, caps, disconnects ---------------------------------------------------------------

@pytest.mark.parametrize("sent", [
    b"G", b"\r\n", get()[:-2], b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nab"])
def test_slow_request_is_408(echo, sent):
    check_refused(echo("--header-ms", 150, "--body-ms", 150), sent, 408, "REQUEST_TIMEOUT")


def test_deadline_does_not_restart_with_each_byte(echo):
    server = echo("--body-ms", 300)
    with server.connect() as client:
        client.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\n")
        began = time.monotonic()
        while client.is_quiet(0.05):
            client.send(b"x")
            assert time.monotonic() - began < PATIENCE  # all bytes take longer
        assert client.reply().status == 408


def test_deadline_counts_per_request(echo):
    server = echo("--header-ms", 3000)
    with server.connect() as client:
        for _ in range(4):
            client.send(get()[:20])
            time.sleep(0.8)
            client.send(get()[20:])
            assert client.reply().status == 200


def test_no_deadline_while_the_handler_works(echo):
    server = echo("--header-ms", 1000, "--body-ms", 1000, "--idle-ms", 1000)
    assert server.ask(get(b"/late/2500")).status == 200


@pytest.mark.parametrize("first", [b"", get()])
def test_idle_connection_is_closed_silently(echo, first):
    with echo("--idle-ms", 1000).connect() as client:
        if first:
            client.send(first)
            client.reply()
        client.expect_eof()


def test_connection_cap(echo):
    server = echo("--connections", 3)
    clients = [server.connect() for _ in range(3)]
    for client in clients:
        client.send(get())
        client.reply()
    with server.connect() as waiting:  # the kernel takes it, the server does not yet
        waiting.send(get(b"/w"))
        assert waiting.is_quiet(0.3)
        clients[0].sock.close()
        assert waiting.reply().json()["path"] == "/w"
    for client in clients:
        client.sock.close()


@pytest.mark.parametrize("how", ["fin", "reset", "behind-pipeline"])
def test_client_goes_while_suspended(echo, how):
    server = echo()
    for _ in range(20):
        client = server.connect()
        client.send(get(b"/gone"))
        time.sleep(0.005)
        if how == "behind-pipeline":
            client.send(get(b"/x"))
        if how == "reset":
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.sock.close()
    wait_for_stats(server, pending=0, gone=20)


def test_client_that_stays_is_not_gone(echo):
    server = echo()
    with server.connect() as client:
        client.send(get(b"/gone") + get(b"/next"))
        assert client.is_quiet(0.3)
        client.sock.shutdown(socket.SHUT_WR)
        assert [client.reply().json()["path"] for _ in range(2)] == ["/gone", "/next"]
        client.expect_eof()


def test_half_closed_client_gets_its_replies(echo):
    server = echo()
    with server.connect() as client:
        client.send(get(b"/1") + get(b"/big/2000000") + get(b"/late/50"))
        client.sock.shutdown(socket.SHUT_WR)
        assert client.reply().json()["path"] == "/1"
        assert len(client.reply().body) == 2000000
        assert client.reply().json()["path"] == "/late/50"
        client.expect_eof()


@pytest.mark.parametrize("sent", [b"GET / HT", b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nab"])
def test_half_request_is_answered(echo, sent):
    with echo().connect() as client:
        client.send(sent)
        client.sock.shutdown(socket.SHUT_WR)
        assert client.reply().status == 400
        client.expect_eof()


def test_refusal_reaches_a_client_that_is_still_sending(echo):
    """The connection is drained before it is closed: a reset would take the answer away."""
    server = echo("--body-max", 1000)
    for _ in range(10):
        with server.connect() as client:
            client.send(post(b"x" * 900000))
            assert client.reply().status == 413


def test_refused_client_that_stays_is_dropped(echo):
    server = echo()
    with server.connect() as client:
        client.send(b"bad\r\n")
        assert client.reply().status == 400
        client.expect_eof()
        began = time.monotonic()
        while time.monotonic() - began < PATIENCE:
            try:
                client.sock.send(b"x")
            except ConnectionError:
                break
            time.sleep(0.05)
        assert 1 < time.monotonic() - began < PATIENCE


# --- stopping, listening ------------------------------------------------------------------------

def test_stop_drains(echo):
    server = echo()
    idle, busy, half = server.connect(), server.connect(), server.connect()
    idle.send(get())
    idle.reply()
    half.send(get(b"/late/400")[:10])
    busy.send(get(b"/late/2000"))
    wait_for_stats(server, pending=1)  # it has read both
    server.terminate()
    idle.expect_eof()
    half.send(get(b"/late/400")[10:])
    for client in (busy, half):
        reply = client.reply()
        assert reply.status == 200 and reply.headers["connection"] == "close"
        client.expect_eof()
    with pytest.raises(ConnectionRefusedError):
        server.connect()
    assert server.process.wait(PATIENCE) == 0


def test_destroy_drops_what_waits(echo):
    server = echo()
    clients = [server.connect() for _ in range(8)]
    for client, data in zip(clients, [b"", get()[:9], post(b"abc")[:-1], get(b"/late/60000"), get(b"/gone") + get(),
                                      b"bad\r\n", get(b"/big/9000000"), get()]):
        client.send(data)
    clients[-1].reply()
    time.sleep(0.1)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(PATIENCE) == 0
    for client in clients:
        client.sock.close()


def test_unix_socket(echo, tmp_path):
    path = tmp_path / "x.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()  # leaves the path behind, as a crash does
    server = echo("--listen", f"unix:{path}")
    assert server.address == f"unix:{path}"
    assert server.ask(get(b"/x")).json()["path"] == "/x"
    second = subprocess.run([BUILD / "tests/contract/http_echo", "--listen", f"unix:{path}"],
                            stderr=subprocess.PIPE, text=True)
    assert second.returncode == 1 and "Address already in use" in second.stderr
    server.terminate()
    server.process.wait(PATIENCE)
    assert not path.exists()


def test_ipv6(echo):
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 loopback here")
    server = echo("--listen", "[::1]:0")
    assert server.address.startswith("http://[::1]:")
    assert server.ask(get(b"/x")).json()["path"] == "/x"


@pytest.mark.parametrize("listen", ["", "8080", ":8080", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:99999",
                                    "::1:80", "unix:", "unix:" + "x" * 200, "unix:/no/such/folder/x", "[]:80"])
def test_bad_address(listen):
    done = subprocess.run([BUILD / "tests/contract/http_echo", "--listen", listen],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert done.stderr.startswith(f"cannot listen on {listen}: ")


def test_address_in_use(echo):
    server = echo()
    listen = server.address[len("http://"):]
    done = subprocess.run([BUILD / "tests/contract/http_echo", "--listen", listen],
                          stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert done.stderr == f"cannot listen on {listen}: Address already in use\n"


# --- many at once -------------------------------------------------------------------------------

def test_clients_that_come_and_go(echo):
    """Connections that end in every state leave nothing behind."""
    server = echo("--late", 3)
    pieces = [b"", b"GET", get(), get()[:-1], post(b"x" * 100000), post(b"x" * 100000)[:-5], b"bad\r\n",
              get() + get() + b"GET", get(headers=b"Connection: close\r\n") + get()]
    for turn in range(20):
        clients = []
        for piece in pieces:
            client = server.connect()
            client.send(piece)
            clients.append(client)
        if turn % 2:
            time.sleep(0.004)
        for client in clients:
            if turn % 3 == 0:
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.sock.close()
    end = time.monotonic() + PATIENCE
    while len(sockets_of(server)) > 1:  # the listener's
        assert time.monotonic() < end
        time.sleep(0.05)
