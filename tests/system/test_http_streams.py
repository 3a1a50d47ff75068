"""Replies that are written piece by piece (http_echo's /stream/…), over raw sockets."""
import select
import signal
import socket
import time

import pytest
from test_http import PATIENCE, Client, echo, get  # noqa: F401 (echo is a fixture)


def wait_until(check, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)


def head(client):
    lines = client.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
    return lines[0], {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}


def chunk(client):
    size = int(client.until(b"\r\n"), 16)
    while len(client.rest) < size + 2:
        client.more()
    data, client.rest = client.rest[:size], client.rest[size:]
    assert client.rest.startswith(b"\r\n")
    client.rest = client.rest[2:]
    return data


def chunks(client):
    whole = []
    while data := chunk(client):
        whole.append(data)
    return whole


def pieces(n, size):
    return [bytes([ord("a") + i % 26]) * size for i in range(n)]


def stats(server):
    return server.ask(get(b"/stats")).json()


def test_chunks_then_the_next_request(echo):
    with echo().connect() as client:
        client.send(get(b"/stream/30/1000") + get(b"/after"))
        line, headers = head(client)
        assert line == "HTTP/1.1 200 OK" and headers["transfer-encoding"] == "chunked"
        assert "content-length" not in headers and "connection" not in headers
        assert headers["content-type"] == "text/plain" and headers["x-request-id"]
        assert chunks(client) == pieces(30, 1000)
        assert client.reply().json()["path"] == "/after"


def test_end_within_the_handler(echo):
    with echo().connect() as client:
        for _ in range(3):
            client.send(get(b"/stream/now/text"))
            head(client)
            assert chunks(client) == [b"text"]


def test_no_pieces(echo):
    with echo().connect() as client:
        client.send(get(b"/stream/0/5") + get(b"/after"))
        head(client)
        assert chunks(client) == []
        assert client.reply().json()["path"] == "/after"


def test_old_client_gets_a_body_that_ends_with_the_connection(echo):
    with echo().connect() as client:
        client.send(get(b"/stream/30/1000", b"Connection: keep-alive\r\n", version=b"1.0"))
        _, headers = head(client)
        assert "transfer-encoding" not in headers and "content-length" not in headers
        assert headers["connection"] == "close"
        while len(client.rest) < 30000:
            client.more()
        assert client.rest == b"".join(pieces(30, 1000))
        client.rest = b""
        client.expect_eof()


def test_client_that_asks_for_close_gets_chunks_and_the_end(echo):
    with echo().connect() as client:
        client.send(get(b"/stream/3/10", b"Connection: close\r\n"))
        _, headers = head(client)
        assert headers["connection"] == "close" and headers["transfer-encoding"] == "chunked"
        assert chunks(client) == pieces(3, 10)
        client.expect_eof()


def test_head_gets_no_body(echo):
    with echo().connect() as client:
        client.send(b"HEAD /stream/3/10 HTTP/1.1\r\nHost: a\r\n\r\n" + get(b"/after"))
        _, headers = head(client)
        assert headers["transfer-encoding"] == "chunked"
        assert client.reply().json()["path"] == "/after"


def test_post_with_a_body(echo):
    with echo().connect() as client:
        client.send(b"POST /stream/3/10 HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100000)
        head(client)
        assert chunks(client) == pieces(3, 10)
        client.send(get(b"/after"))
        assert client.reply().json()["path"] == "/after"


def test_large_stream_to_a_slow_reader(echo):
    """20 MB pass through a queue of 64 KiB: memory stays small."""
    server = echo()
    status = f"/proc/{server.process.pid}/status"
    with server.connect() as client:
        client.send(get(b"/stream/5000/4096"))
        time.sleep(0.3)
        head(client)
        assert chunks(client) == pieces(5000, 4096)
        peak = next(int(line.split()[1]) for line in open(status) if line.startswith("VmHWM"))
    assert peak < 100_000, peak  # KiB; the sanitizers need most of it


@pytest.mark.parametrize("how", ["closed", "half-closed", "reset"])
def test_owner_is_told_when_the_client_goes(echo, how):
    server = echo()
    with server.connect() as client:
        client.send(get(b"/stream/open"))
        head(client)
        assert chunk(client) == b"open"
        assert stats(server) == {"pending": 1, "gone": 0}
        if how == "half-closed":
            client.sock.shutdown(socket.SHUT_WR)
        elif how == "reset":
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.sock.close()
        else:
            client.sock.close()
        wait_until(lambda: stats(server) == {"pending": 0, "gone": 1})


def test_stream_is_not_idle(echo):
    server = echo("--idle-ms", 1000, "--body-ms", 1000, "--header-ms", 1000)
    with server.connect() as client:
        client.send(get(b"/stream/open"))
        head(client)
        assert chunk(client) == b"open"
        assert client.is_quiet(2.5)
        assert stats(server) == {"pending": 1, "gone": 0}


def test_reader_that_takes_nothing_is_cut(echo):
    server = echo("--body-ms", 300)
    with server.connect() as client:
        client.send(get(b"/stream/flood"))
        wait_until(lambda: stats(server) == {"pending": 0, "gone": 1})


def test_slow_reader_is_not_cut(echo):
    """It takes 256 KiB in a second: more than the kernel must be rid of before it takes more from the server."""
    server = echo("--body-ms", 4000)
    with server.connect() as client:
        client.send(get(b"/stream/flood"))
        for _ in range(10):
            time.sleep(0.5)
            client.rest = b""
            while len(client.rest) < 256 << 10:
                client.more()
            client.rest = b""
        assert stats(server) == {"pending": 1, "gone": 0}


def test_stream_takes_a_connection(echo):
    server = echo("--connections", 1)
    with server.connect() as first, server.connect() as second:
        first.send(get(b"/stream/open"))
        head(first)
        second.send(get(b"/late"))
        assert not select.select([second.sock], [], [], 0.3)[0]
        first.sock.close()
        assert second.reply().status == 200


def test_stop_ends_streams_in_order(echo):
    server = echo()
    with server.connect() as client:
        client.send(get(b"/stream/open"))
        head(client)
        server.terminate()
        assert chunks(client) == [b"open"]
        client.expect_eof()


def test_destroy_with_streams(echo):
    server = echo()
    clients = [server.connect() for _ in range(5)]
    for client in clients:
        client.send(get(b"/stream/open"))
        head(client)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(PATIENCE) == 0
    for client in clients:
        client.sock.close()


def test_pipelined_bytes_behind_a_stream_are_bounded(echo):
    server = echo()
    with server.connect() as client:
        client.send(get(b"/stream/open"))
        head(client)
        client.sock.settimeout(0.3)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 100 << 20:
                sent += client.sock.send(b"x" * 65536)
        assert isinstance(client, Client) and stats(server)["pending"] == 1
