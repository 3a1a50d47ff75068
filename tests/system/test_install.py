"""What `meson install` puts where, and that it works there: below another prefix than the one it was built for."""
import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess

import pytest

from tests.services.services import free_ports
from tests.system.stack import ROOT, Program, installed, wait_until

pytestmark = pytest.mark.heavy
EXAMPLES = ROOT / "examples" / "config"


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """The prefix below a DESTDIR, so not where the programs were told that it would be."""
    dest = installed(tmp_path_factory.mktemp("root"))
    (program,) = dest.rglob("bin/longhaul-api")
    return program.parents[1]


@pytest.fixture
def start(tmp_path):
    """start(name, command, **environment) -> Program; all are stopped in the end, the last first."""
    programs = []

    def begin(name, command, **env):
        keep = {key: os.environ[key] for key in ("PATH", "HOME", "ASAN_OPTIONS", "TSAN_OPTIONS") if key in os.environ}
        programs.append(Program(name, [str(part) for part in command], tmp_path / f"{name}.log", {**keep, **env}))
        programs[-1].ready()
        return programs[-1]
    yield begin
    for program in reversed(programs):
        program.stop()
        program.check()


def settings(file):
    """The example's lines without its comments; where it listens is the test's."""
    return re.sub(r"127\.0\.0\.1:8080", f"127.0.0.1:{free_ports(1)[0]}", file.read_text())


def longhaul(prefix, config, *args):
    done = subprocess.run([prefix / "bin" / "longhaul", args[0], "--config", config, *args[1:]], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60,
                          env={"PATH": os.environ["PATH"]})
    assert done.returncode == 0, done.stderr
    return done.stdout


def counts_words(prefix, config):
    """The main job: a task, its module, its result."""
    task_id = longhaul(prefix, config, "create", "word_count", '{"path": "examples/data/lighthouse.txt", "top": 1}').split()[-1]
    result = json.loads(longhaul(prefix, config, "result", "--wait", task_id))
    result = result.get("data", result)
    assert result["words"] == len(re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", (ROOT / "examples/data/lighthouse.txt").read_text()))


def test_everything_is_where_it_belongs(prefix):
    for name in ("longhaul", "longhaul-api", "longhaul-consumer"):
        assert os.access(prefix / "bin" / name, os.X_OK)
    helpers = {"longhaul-runner", "longhaul-host", "longhaul-store-mongo.so", "longhaul-publisher-kafka.so", "longhaul-source-kafka.so"}
    (folder,) = [found.parent for found in prefix.glob("lib*/**/longhaul-runner")]
    assert helpers <= {file.name for file in folder.iterdir()}
    assert (prefix / "include" / "longhaul.h").is_file()
    pages = {"man1/longhaul.1", "man5/longhaul-config.5", "man8/longhaul-api.8", "man8/longhaul-consumer.8"}
    assert pages == {str(file.relative_to(prefix / "share" / "man")) for file in (prefix / "share" / "man").rglob("*.[0-9]")}
    assert (prefix / "share/bash-completion/completions/longhaul").is_file() and (prefix / "share/zsh/site-functions/_longhaul").is_file()
    for page in (ROOT / "docs").rglob("*.md"):
        assert (prefix / "share" / "doc" / "longhaul" / page.relative_to(ROOT)).is_file()
    for file in ("grafana/longhaul.json", "prometheus/alerts.yml"):
        assert (prefix / "share" / "longhaul" / file).is_file()
    examples = prefix / "share" / "doc" / "longhaul" / "examples"
    assert {file.name for file in (examples / "config").iterdir()} == {file.name for file in EXAMPLES.iterdir()}


def test_the_laptop_works_as_installed(prefix, start, tmp_path):
    shutil.copytree(prefix / "share" / "longhaul" / "examples", tmp_path / "examples")
    folder = tmp_path / "examples" / "config"
    config = folder / "laptop.yaml"
    config.write_text(settings(config))
    (folder / "token").write_text(secrets.token_urlsafe(32) + "\n")
    start("api", [prefix / "bin" / "longhaul-api", "--config", config])
    start("consumer", [prefix / "bin" / "longhaul-consumer", "--config", config])
    counts_words(prefix, config)
    word = longhaul(prefix, config, "create", "spelling", '{"word": "lihgt"}').split()[-1]
    assert "light" in longhaul(prefix, config, "result", "--wait", word)


def test_one_server_works_as_installed(prefix, start, tmp_path):
    """Its paths are the Debian package's; here they are moved below the test's folder. The package's own test leaves them."""
    text = settings(EXAMPLES / "one-server.yaml")
    text = text.replace("/usr/share/longhaul", str(prefix / "share" / "longhaul"))
    text = re.sub(r"/(etc|var/lib)/", rf"{tmp_path}/\1/", text)
    config = tmp_path / "etc" / "longhaul" / "longhaul.yaml"
    config.parent.mkdir(parents=True)
    (tmp_path / "var" / "lib" / "longhaul").mkdir(parents=True)
    config.write_text(text)
    for name in ("token", "consumer.token"):
        (config.parent / name).write_text(f"{name}-of-one-server\n")
    digest = hashlib.sha256(b"consumer.token-of-one-server").hexdigest()
    (config.parent / "tokens.yaml").write_text(f'tokens:\n  - {{name: consumer, hash: "sha256:{digest}", scopes: [run]}}\n')
    start("api", [prefix / "bin" / "longhaul-api", "--config", config])
    start("consumer", [prefix / "bin" / "longhaul-consumer", "--config", config])
    counts_words(prefix, config)
    assert (tmp_path / "var" / "lib" / "longhaul" / "longhaul.db").is_file()


@pytest.mark.parametrize("name, store, broker", [("api", "mongodb", "none"), ("api", "sqlite:x.db", "kafka"), ("consumer", "sqlite:x.db", "kafka")])
def test_loadable_modules_are_found_where_they_are_installed(prefix, tmp_path, name, store, broker):
    """Neither server is there, and the program gets as far as to say so."""
    mongo, kafka = free_ports(2)
    config = {"service": ["s"], "module": {"s": {"command": ["cat"]}}, "listen": "127.0.0.1:0", "store": store, "broker": broker,
              "api_url": f"http://127.0.0.1:{mongo}", "TEST": {"MONGO_HOST": "127.0.0.1", "MONGO_PORT": mongo}}
    if broker == "kafka":
        config |= {"source_db": {"s": {"topic_name": "t", "consumer_id": "g"}}, "mq_conf": {"bootstrap_servers": [f"127.0.0.1:{kafka}"]}}
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps(config))
    program = Program(name, [str(prefix / "bin" / f"longhaul-{name}"), "--config", str(file)], tmp_path / "log",
                      {"PATH": os.environ["PATH"], "AUTH_TOKEN": "x"})
    # The consumer waits for its broker without a word.
    word = '"msg":"ready"' if name == "consumer" else str(mongo if broker == "none" else kafka)
    wait_until(lambda: word in program.text() or not program.alive(), "for a word of the server")
    program.kill()
    assert "cannot be loaded" not in program.text() and word in program.text(), program.text()


def test_tls_is_found_where_it_is_installed(prefix, start, tmp_path):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-keyout", tmp_path / "key", "-out", tmp_path / "cert"], check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    file = tmp_path / "config.yaml"
    file.write_text("service: [s]\nlisten: 127.0.0.1:0\nstore: sqlite:x.db\ntls: {cert: cert, key: key}\n")
    program = start("api", [prefix / "bin" / "longhaul-api", "--config", file], AUTH_TOKEN="x")
    assert program.ready()["address"].startswith("https://127.0.0.1:")


@pytest.mark.parametrize("name", sorted(file.name for file in EXAMPLES.iterdir()))
@pytest.mark.parametrize("program", ["longhaul-api", "longhaul-consumer"])
def test_each_example_configuration_is_right(prefix, name, program):
    done = subprocess.run([prefix / "bin" / program, "--check-config", "--config", EXAMPLES / name], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.endswith(": ok\n")
