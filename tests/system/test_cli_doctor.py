"""longhaul doctor: every finding, shown by a setup that is really so."""
import email.utils
import hashlib
import json
import socket
import subprocess
import threading
import time

import pytest

from tests.services.services import free_ports
from tests.system.stack import TOKEN, module, wait_until
from tests.system.terminal import LONGHAUL, Cli


@pytest.fixture
def alone(tmp_path):
    folder = tmp_path / "cli"
    folder.mkdir()
    return Cli(folder, {"AUTH_TOKEN": TOKEN, "LONGHAUL_URL": None, "LONGHAUL_TOKEN_FILE": None, "NO_COLOR": None})


def doctor(cli, *args, status=0, **more):
    """The findings as [finding, check, text, advice]."""
    out, err = cli.both("doctor", *args, status=status, **more)
    if status:
        assert " failed, " in err and err.count("\n") == 1
    rows = [line.split("\t") for line in out.splitlines()]
    assert all(len(row) == 4 and row[0] in ("ok", "warn", "FAIL") for row in rows), out
    assert all((row[0] == "ok") == (row[3] == "-") for row in rows), out
    return rows


def config_of(stack, folder, **more):
    stack.write_config(folder / "config.yaml", api_url=stack.api.address, **more)
    return folder / "config.yaml"


def only(rows, finding, check):
    found = [row[2] for row in rows if row[0] == finding and row[1] == check]
    assert len(found) == 1, rows
    return found[0]


def test_all_is_well(make_stack, alone):
    stack = make_stack(services={"echo": module("echo")}, consumers=1)
    config_of(stack, alone.folder)
    wait_until(lambda: stack.call("worker_task", {})["data"])
    rows = doctor(alone)
    assert [(row[0], row[1]) for row in rows] == [("ok", check) for check in (
        "configuration", "token", "api", "clock", "ready", "consumers", "store", "modules", "spool")]
    assert stack.api.address in rows[2][2]
    lines = [json.loads(line) for line in alone.run("doctor", "--json").splitlines()]
    assert [line["check"] for line in lines] == [row[1] for row in rows] and {line["finding"] for line in lines} == {"ok"}
    text = alone.screen("doctor").end()
    assert text.splitlines()[1].split()[:2] == ["ok", "token"]


def test_kafka_is_loaded_and_not_linked():
    assert "rdkafka" not in subprocess.run(["ldd", LONGHAUL], capture_output=True, text=True, check=True).stdout


def test_without_a_configuration(make_stack, alone):
    stack = make_stack()
    rows = doctor(alone, "--url", stack.api.address, status=1)
    assert only(rows, "warn", "configuration") == "there is no config.yaml in this folder"
    assert "no consumer of echo" in only(rows, "warn", "consumers")


def test_a_wrong_configuration(alone):
    (alone.folder / "config.yaml").write_text("service: [echo]\nnonsense: 1\n")
    rows = doctor(alone, "--url", "http://127.0.0.1:1", status=78)
    assert "config.yaml:2: nonsense: unknown key" in only(rows, "FAIL", "configuration")


def test_no_token_and_a_wrong_one(make_stack, alone):
    stack = make_stack()
    rows = doctor(alone, "--url", stack.api.address, env={"AUTH_TOKEN": None}, status=77)
    assert "no access token" in only(rows, "FAIL", "token")
    rows = doctor(alone, "--url", stack.api.address, "--token", "wrong", status=77)
    assert [row[2] for row in rows if row[1] == "token"] == ["there is one", "the API does not take it"]


def test_a_token_that_may_not_read(make_stack, alone):
    digest = hashlib.sha256(b"maker").hexdigest()
    stack = make_stack(config={"tokens": [{"name": "maker", "hash": f"sha256:{digest}", "scopes": ["create"]}]})
    rows = doctor(alone, "--url", stack.api.address, "--token", "maker", status=1)
    assert only(rows, "warn", "token") == "the API takes it, but not for service_task"
    assert "(FORBIDDEN)" in alone.run("list", "--url", stack.api.address, "--token", "maker", status=77)
    assert alone.run("create", "echo", "--url", stack.api.address, "--token", "maker").startswith("ts_echo_")
    assert "service not support" in alone.run("create", "nobody", "--url", stack.api.address, "--token", "maker", status=65)


def test_a_token_that_others_can_read(make_stack, alone):
    stack = make_stack()
    (alone.folder / "token").write_text(TOKEN)
    (alone.folder / "token").chmod(0o644)
    config_of(stack, alone.folder, auth_token_file="token")
    rows = doctor(alone, env={"AUTH_TOKEN": None}, status=1)
    assert "token can be read by every user" in only(rows, "warn", "token") and only(rows, "ok", "token")
    (alone.folder / "token").chmod(0o640)
    assert only(doctor(alone, env={"AUTH_TOKEN": None}), "ok", "token")


def test_no_api(alone):
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    rows = doctor(alone, "--url", url, status=74)
    assert only(rows, "FAIL", "api") == f"{url}: Connection refused"
    rows = doctor(alone, "--url", "ftp://x", status=64)
    assert "ftp://x" in only(rows, "FAIL", "api")


def test_an_api_that_is_not_ready(make_stack, alone):
    stack = make_stack(api_args=("--store-fault", "query:*=unavailable"))
    rows = doctor(alone, "--url", stack.api.address, status=69)
    assert "(STORE_UNAVAILABLE)" in only(rows, "FAIL", "ready")


def answer_with_date(server, date, first_after_s=0):
    def serve():
        pause_s = first_after_s
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            with peer:
                peer.recv(65536)
                time.sleep(pause_s)
                pause_s = 0
                body = b'{"result":"ok","data":[]}'
                peer.sendall(b"HTTP/1.1 200 OK\r\nDate: %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (date.encode(), len(body), body))
    threading.Thread(target=serve, daemon=True).start()


@pytest.mark.parametrize("apart_s, said", [(-100, "ahead of"), (100, "behind")])
def test_clocks_that_differ(alone, apart_s, said):
    with socket.create_server(("127.0.0.1", 0)) as server:
        answer_with_date(server, email.utils.formatdate(time.time() + apart_s, usegmt=True))
        rows = doctor(alone, "--url", f"http://127.0.0.1:{server.getsockname()[1]}", status=1)
        assert f"s {said} the API's" in only(rows, "warn", "clock")
        server.shutdown(socket.SHUT_RDWR)


def test_an_answer_that_takes_long_is_no_clock_that_differs(alone):
    with socket.create_server(("127.0.0.1", 0)) as server:
        answer_with_date(server, email.utils.formatdate(time.time() + 1, usegmt=True), first_after_s=5)
        rows = doctor(alone, "--url", f"http://127.0.0.1:{server.getsockname()[1]}", status=1)
        assert only(rows, "ok", "clock")
        server.shutdown(socket.SHUT_RDWR)


def test_services_that_differ_or_are_paused(make_stack, alone):
    stack = make_stack(services=("echo", "other"))
    stack.call("pause_service_task", {"service": "other"})
    config_of(stack, alone.folder, service=["echo", "third"])
    said = [row[2] for row in doctor(alone, status=1) if row[1] == "services"]
    assert said == ["third is in config.yaml, but the API shows this token no such service", "other is paused"]


def test_modules_that_cannot_run(make_stack, alone):
    stack = make_stack()
    script = alone.folder / "script.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o644)
    (alone.folder / "bin").mkdir()
    (alone.folder / "bin" / "tool").write_text("#!/bin/sh\n")
    (alone.folder / "bin" / "tool").chmod(0o755)
    modules = {"a": {"command": ["no-such-program"]}, "b": {"command": ["./script.sh"]}, "c": {"command": ["sh", "./none.sh"]},
               "d": {"kind": "shared_object", "object": "none.so"}, "e": {"command": ["tool"], "env": {"PATH": str(alone.folder / "bin")}}}
    config_of(stack, alone.folder, service=list(modules), module=modules)
    rows = [row for row in doctor(alone, status=78) if row[1] == "modules"]
    assert [row[0] for row in rows] == ["FAIL"] * 4 + ["ok"]
    assert rows[0][2] == "a: no-such-program is no program that can be run"
    assert rows[1][2] == f"b: {alone.folder}/./script.sh is no program that can be run"
    assert rows[2][2] == "c: its argument ./none.sh does not exist"
    assert "none.so: No such file" in rows[3][2]


def test_folders_that_cannot_be_written(make_stack, alone):
    stack = make_stack()
    (alone.folder / "file").write_text("")
    config_of(stack, alone.folder, store="sqlite:file/x/longhaul.db", consumer_spool="file/spool", module={"echo": module("echo")})
    rows = doctor(alone, status=74)
    assert "file/x cannot be written by this user" in only(rows, "FAIL", "store")
    assert "file/spool cannot be written by this user" in only(rows, "FAIL", "spool")


@pytest.mark.cluster
def test_topics_and_groups_of_a_real_broker(make_stack, alone, kafka):
    stack = make_stack(services={"echo": module("echo"), "other": None}, broker="kafka", consumers=1, partitions=3)
    file = config_of(stack, alone.folder)
    wait_until(lambda: b"ok\tgroups" in alone.start("doctor").communicate()[0])
    rows = doctor(alone, status=1)
    assert "1 broker" in only(rows, "ok", "broker")
    assert [row[2] for row in rows if row[1] == "topics"] == [f"{stack.topic('echo')}: 3 partitions", f"{stack.topic('other')}: 3 partitions"]
    assert only(rows, "ok", "groups").startswith(f"{stack.group('echo')}: 1 member, ")
    assert only(rows, "warn", "groups") == f"nobody is in the group {stack.group('other')}"
    cfg = stack.config(api_url=stack.api.address)
    cfg["source_db"]["other"]["topic_name"] = "no_such_topic"
    file.write_text("\n".join(f"{key}: {json.dumps(value)}" for key, value in cfg.items()))
    rows = doctor(alone, status=78)
    assert only(rows, "FAIL", "topics") == "no_such_topic does not exist (source_db.other.topic_name)"
    cfg["mq_conf"]["create_topics"] = {"partitions": 1}
    file.write_text("\n".join(f"{key}: {json.dumps(value)}" for key, value in cfg.items()))
    assert only(doctor(alone, status=1), "warn", "topics") == "no_such_topic does not exist yet"
    cfg["mq_conf"]["librdkafka"] = {"no.such.property": "1"}
    file.write_text("\n".join(f"{key}: {json.dumps(value)}" for key, value in cfg.items()))
    assert "librdkafka has no such property" in only(doctor(alone, status=78), "FAIL", "broker")


@pytest.mark.cluster  # it needs no server, but the threads that librdkafka starts are hidden from TSan
def test_a_broker_that_does_not_answer(make_stack, alone):
    stack = make_stack()
    source = {"echo": {"source_name": "", "topic_name": "t", "consumer_id": "g"}}
    address = f"127.0.0.1:{free_ports(1)[0]}"
    config_of(stack, alone.folder, broker="kafka", source_db=source, mq_conf={"bootstrap_servers": [address]})
    rows = doctor(alone, status=69)
    said = only(rows, "FAIL", "broker")
    assert said.startswith(f"kafka at {address} does not answer: ") and "Connection refused" in said
