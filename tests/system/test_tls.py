"""TLS of the API and of its clients, with certificates that OpenSSL makes here."""
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time

import pytest

from tests.system.stack import BUILD, SANITIZED, TOKEN, module, wait_until

def tls_of(pair, **more):
    return {"tls": {"cert": str(pair[0]), "key": str(pair[1]), **more}}


@pytest.fixture
def start(make_stack, pki):
    def start(pair=None, services=("echo",), **more):
        client = {key: str(more.pop(key)) for key in ("client_ca", "client_cert") if key in more}
        return make_stack(services=services, config={**tls_of(pair or pki.server, **client), **more})
    return start


def context_of(pki, cert=None):
    context = ssl.create_default_context(cafile=str(pki.ca.cert))
    if cert:
        context.load_cert_chain(*map(str, cert))
    return context


def ask(stack, context, path="/api/service_task", body="{}", token=TOKEN, host="127.0.0.1"):
    port = stack.api.host_port[1]
    connection = http.client.HTTPSConnection(host, port, timeout=30, context=context)
    try:
        connection.request("POST" if body is not None else "GET", path, body, {"Authorization": token} if token else {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    finally:
        connection.close()


def test_calls(start, pki):
    """Small and large, kept and new connections, 1.2 and 1.3; what the address says."""
    stack = start()
    assert stack.api.address.startswith("https://127.0.0.1:")
    context = context_of(pki)
    assert ask(stack, context) == (200, {"result": "ok", "count": 1, "data": ["echo"]})
    assert ask(stack, context, host="localhost")[0] == 200
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context.minimum_version = context.maximum_version = version
        connection = http.client.HTTPSConnection(*stack.api.host_port, timeout=30, context=context)
        for size in (1, 20_000, 600_000):
            connection.request("POST", "/api/create_task",
                               json.dumps({"data": {"service": "echo", "condition": "x" * size}}), {"Authorization": TOKEN})
            task = json.loads(connection.getresponse().read())["task_id"]
            connection.request("POST", "/api/tasks", json.dumps({"data": {"task_id": task, "fields": ["condition"]}}),
                               {"Authorization": TOKEN})
            assert json.loads(connection.getresponse().read())["data"][0]["condition"] == "x" * size
        connection.close()


def test_old_versions_are_refused(start, pki):
    stack = start()
    context = context_of(pki)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(stack, context)
    stack.api.wait_line(msg="TLS handshake failed")


def test_pipelined_and_split(start, pki):
    """Requests in one record, a request in many, and the end of the client's side."""
    stack = start()
    head = f"POST /api/service_task HTTP/1.1\r\nHost: x\r\nAuthorization: {TOKEN}\r\nContent-Length: 2\r\n"
    many = (head + "\r\n{}").encode() * 3 + (head + "Connection: close\r\n\r\n{}").encode()
    for step in (len(many), 7):
        with context_of(pki).wrap_socket(socket.create_connection(stack.api.host_port), server_hostname="localhost") as talk:
            for at in range(0, len(many), step):
                talk.sendall(many[at:at + step])
            got = b""
            while piece := talk.recv(65536):
                got += piece
        assert got.count(b"HTTP/1.1 200 OK") == 4


def test_plain_http_gets_a_clean_end(start):
    stack = start()
    with socket.create_connection(stack.api.host_port, timeout=30) as talk:
        talk.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        while talk.recv(4096):
            pass  # the end, and no reset
    line = stack.api.wait_line(msg="TLS handshake failed")
    assert line["error"] == "plain HTTP on the port of TLS" and line["address"].startswith("127.0.0.1:")


def test_a_slow_handshake_is_ended(start, pki):
    stack = start(limits={"header_s": 0.5})
    for first in (b"", b"\x16\x03\x01"):
        began = time.monotonic()
        with socket.create_connection(stack.api.host_port, timeout=30) as talk:
            talk.sendall(first)
            assert talk.recv(4096) == b"" and time.monotonic() - began > 0.3
    stack.api.wait_line(msg="TLS handshake failed", error="it took too long")
    assert ask(stack, context_of(pki))[0] == 200


def test_client_certificates(start, pki):
    stack = start(client_ca=pki.ca.cert, client_cert="required")
    assert ask(stack, context_of(pki, pki.client))[0] == 200
    for cert, words in ((None, "peer did not return a certificate"), (pki.stranger, "unable to get local issuer certificate")):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(stack, context_of(pki, cert))
        wait_until(lambda: words in stack.api.text() or touch(stack, pki, cert), words)


def touch(stack, pki, cert):
    """One line a second is logged: knocks again."""
    try:
        ask(stack, context_of(pki, cert))
    except (ssl.SSLError, OSError):
        pass


def test_a_certificate_stands_for_a_token(start, pki):
    tokens = [{"name": "ingest", "client_cert": "ingest.example", "scopes": ["create"]},
              {"name": "worker", "client_cert": "worker.example", "scopes": ["read"], "hash": "sha256:" + "0" * 64}]
    stack = start(client_ca=pki.ca.cert, client_cert="optional", tokens=tokens)
    create = {"body": json.dumps({"data": {"service": "echo", "condition": 1}}), "path": "/api/create_task"}
    # The first entry with a name of the certificate decides; a header counts for more.
    assert ask(stack, context_of(pki, pki.client), token=None, **create)[0] == 200
    assert ask(stack, context_of(pki, pki.client), token=TOKEN, **create)[0] == 200
    assert ask(stack, context_of(pki, pki.client), token="wrong", **create)[0] == 401
    assert ask(stack, context_of(pki), token=None, **create)[0] == 401
    audits = [line["token"] for line in stack.api.find(msg="audit")]
    assert audits == ["ingest", "AUTH_TOKEN"]


def test_rotation(start, pki, tmp_path):
    """SIGHUP: new connections get the new certificate; one that is open goes on; a broken file changes nothing."""
    cert, key = tmp_path / "now.pem", tmp_path / "now.key"
    for source, target in zip(pki.server, (cert, key)):
        shutil.copy(source, target)
    stack = start((cert, key))

    def subject():
        with context_of(pki).wrap_socket(socket.create_connection(stack.api.host_port), server_hostname="localhost") as talk:
            return dict(part[0] for part in talk.getpeercert()["subject"])["commonName"]
    kept = http.client.HTTPSConnection(*stack.api.host_port, timeout=30, context=context_of(pki))
    use = lambda: (kept.request("GET", "/healthz"), kept.getresponse().read())[1]
    assert use() and subject() == "localhost"
    for source, target in zip(pki.second, (cert, key)):
        shutil.copy(source, target)
    stack.api.process.send_signal(signal.SIGHUP)
    wait_until(lambda: subject() == "second")
    assert use()
    key.write_text("nothing")
    stack.api.process.send_signal(signal.SIGHUP)
    line = stack.api.wait_line(msg="certificates not read again: those of before hold")
    assert f"tls.key: {key}" in line["error"]
    assert subject() == "second" and use()
    kept.close()


@pytest.mark.parametrize("section, words", [
    ({"cert": "a.pem"}, "tls.key: missing beside tls.cert"), ({"key": "a.key"}, "tls.cert: missing beside tls.key"),
    ({"cert": "a.pem", "key": "a.key", "client_cert": "required"}, "tls.client_ca: missing; tls.client_cert needs it"),
    ({"cert": "a.pem", "key": "a.key"}, "tls.cert: ")])
def test_wrong_configurations(make_stack, section, words):
    stack = make_stack(apis=0, config={"tls": section})
    api = stack.start_api(wait=False)
    api.expect_exit = 78
    assert api.wait() == 78 and words in api.text()


# ---- the clients

def consumer_of(stack, pki, wait=True, ca=None, cert=None, url=None, env=None):
    api_tls = {"ca": str(ca or pki.ca.cert)}
    if cert:
        api_tls.update(cert=str(cert[0]), key=str(cert[1]))
    more = {"api_tls": api_tls, **({"api_url": url} if url else {})}
    stack.write_config, write = (lambda file, **given: write(file, **{**given, **more})), stack.write_config
    try:
        return stack.start_consumer(wait=wait, env=env)
    finally:
        stack.write_config = write


def test_a_consumer_over_mutual_tls(start, pki):
    stack = start(services={"echo": module("echo")}, client_ca=pki.ca.cert, client_cert="required")
    consumer_of(stack, pki, cert=pki.client)
    body = json.dumps({"data": {"service": "echo", "condition": {"a": 1}}})
    task = ask(stack, context_of(pki, pki.client), "/api/create_task", body)[1]["task_id"]
    wanted = json.dumps({"data": {"task_id": task, "wait_s": 30}})
    assert ask(stack, context_of(pki, pki.client), "/api/result_task", wanted)[0] == 200


def test_a_certificate_stands_for_a_consumers_token_and_the_command_lines(start, pki):
    stack = start(services={"echo": module("echo")}, client_ca=pki.ca.cert, client_cert="optional",
                  tokens=[{"name": "worker", "client_cert": "worker.example", "scopes": ["run", "create", "read"]}])
    consumer_of(stack, pki, cert=pki.client, env={"AUTH_TOKEN": ""})
    shown = {"LONGHAUL_CA": str(pki.ca.cert), "LONGHAUL_CERT": str(pki.client[0]), "LONGHAUL_KEY": str(pki.client[1]), "AUTH_TOKEN": ""}
    task = cli(stack, "create", "echo", "1", **shown).stdout.strip()
    assert cli(stack, "result", "--wait", task, **shown).returncode == 0
    assert stack.api.find(msg="audit", path="/api/create_task")[0]["token"] == "worker"
    assert "a certificate is shown instead" in cli(stack, "doctor", **shown).stdout
    done = cli(stack, "services", LONGHAUL_CA=str(pki.ca.cert), AUTH_TOKEN="")
    assert done.returncode == 64 and "no access token" in done.stderr


@pytest.mark.parametrize("server, ca, words", [
    ("server", "other", "certificate"), ("elsewhere", "ca", "mismatch"), ("expired", "ca", "expired")])
def test_a_consumer_trusts_no_other(start, pki, server, ca, words):
    stack = start(getattr(pki, server), services={"echo": module("echo")})
    consumer = consumer_of(stack, pki, ca=getattr(pki, ca).cert)
    line = consumer.wait_line(msg="api unavailable")
    assert "TLS: the server's certificate: " in line["error"] and words in line["error"], line


def test_a_consumer_without_a_certificate_is_told_so(start, pki):
    stack = start(services={"echo": module("echo")}, client_ca=pki.ca.cert, client_cert="required")
    line = consumer_of(stack, pki).wait_line(msg="api unavailable")
    assert "TLS" in line["error"] or "closed" in line["error"], line


def create_echo(stack, pki):
    body = json.dumps({"data": {"service": "echo", "condition": 1}})
    return ask(stack, context_of(pki, pki.client), "/api/create_task", body)[1]["task_id"]


def finishes(stack, pki, task):
    return ask(stack, context_of(pki, pki.client), "/api/result_task", json.dumps({"data": {"task_id": task, "wait_s": 30}}))[0] == 200


def test_a_consumers_files_are_read_again(start, pki, tmp_path):
    """Wrong at the start, right after SIGHUP; a fault changes nothing; kept connections do not outlive the files they were made with."""
    ca, cert, key = (tmp_path / name for name in ("ca.pem", "client.pem", "client.key"))

    def put(authority, pair):
        for source, target in zip((authority.cert, *pair), (ca, cert, key)):
            shutil.copy(source, target)

    def reload():
        before = len(consumer.find(msg="token read again"))
        consumer.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(consumer.find(msg="token read again")) > before, "for SIGHUP to be taken")
    stack = start(services={"echo": module("echo")}, client_ca=pki.ca.cert, client_cert="required")
    put(pki.ca, pki.stranger)
    consumer = consumer_of(stack, pki, ca=ca, cert=(cert, key))
    consumer.wait_line(msg="api unavailable")
    put(pki.ca, pki.client)
    reload()
    assert finishes(stack, pki, create_echo(stack, pki))
    key.write_text("nothing")
    reload()
    line = consumer.wait_line(msg="certificates not read again: those of before hold")
    assert line["code"] == "CONFIG" and str(key) in line["error"]
    assert finishes(stack, pki, create_echo(stack, pki))
    known = len(consumer.find(msg="api unavailable"))
    put(pki.other, pki.client)
    reload()
    task = create_echo(stack, pki)  # the claim that is out gets it; what follows trusts the API no more
    wait_until(lambda: len(consumer.find(msg="api unavailable")) > known, "for the API not to be trusted any more")
    assert "TLS: the server's certificate: " in consumer.find(msg="api unavailable")[-1]["error"]
    put(pki.ca, pki.client)
    reload()
    assert finishes(stack, pki, task)


def cli(stack, *args, **env):
    return subprocess.run([BUILD / "cli" / "longhaul", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60,
                          cwd=stack.dir, env={"PATH": os.environ["PATH"], "AUTH_TOKEN": TOKEN, "LONGHAUL_URL": stack.api.address,
                                              **{name: os.environ[name] for name in os.environ if name.endswith("SAN_OPTIONS")}, **env})


def test_the_command_line(start, pki):
    stack = start()
    assert cli(stack, "services", LONGHAUL_CA=str(pki.ca.cert)).returncode == 0
    done = cli(stack, "services", "--patience", "0", LONGHAUL_CA=str(pki.other.cert))
    assert done.returncode != 0 and "TLS: the server's certificate" in done.stderr
    done = cli(stack, "services", LONGHAUL_CA="nowhere.pem")
    assert done.returncode == 78 and "nowhere.pem" in done.stderr
    port = stack.api.host_port[1]
    assert cli(stack, "services", LONGHAUL_CA=str(pki.ca.cert), LONGHAUL_URL=f"https://localhost:{port}").returncode == 0


def test_tls_on_a_plain_port(make_stack):
    stack = make_stack()
    done = cli(stack, "services", "--patience", "0", LONGHAUL_URL=stack.api.address.replace("http:", "https:"))
    assert done.returncode != 0 and "TLS" in done.stderr


@pytest.mark.skipif(SANITIZED, reason="sanitizers have memory of their own")
def test_without_tls_its_library_is_not_loaded_by_clients(make_stack):
    stack = make_stack(services={"echo": module("echo")}, consumers=1)
    maps = open(f"/proc/{stack.consumer.pid}/maps").read()
    assert "libssl" not in maps and "longhaul-tls" not in maps
