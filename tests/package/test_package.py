"""The Debian package in a clean Debian: installed, its main job, upgraded from an older build, removed, purged. One story, in this order."""
import json
import os
import re
import stat
import subprocess
import time

import pytest

from tests.package.conftest import WORK, run
from tests.services.services import free_ports

PATIENCE_S = 60
CONFIG = "/etc/longhaul/longhaul.yaml"
USERS = {"longhaul-api": "longhaul", "longhaul-consumer": "longhaul-consumer"}


@pytest.fixture(scope="module")
def older(package, tmp_path_factory):
    """An older build: the same with a lower version and another word in its configuration."""
    folder = tmp_path_factory.mktemp("older")
    run("dpkg-deb", "--raw-extract", package, folder / "tree")
    control = folder / "tree" / "DEBIAN" / "control"
    control.write_text(re.sub(r"^Version: .*$", "Version: 0.0.9", control.read_text(), flags=re.M))
    config = folder / "tree" / CONFIG.lstrip("/")
    config.write_text(config.read_text().replace("drain_s: 60", "drain_s: 59"))
    run("dpkg-deb", "--build", "--root-owner-group", folder / "tree", folder / "longhaul_0.0.9.deb")
    return folder / "longhaul_0.0.9.deb"


def install(clean, file):
    (clean / "longhaul.deb").write_bytes(file.read_bytes())
    said = clean.run("apt-get", "install", "-q", "-y", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold", "/longhaul.deb")
    (clean / "longhaul.deb").unlink()
    return said


class Running:
    """Both programs as their units start them: by their users, in their folders."""

    def __init__(self, clean):
        self.clean, self.processes = clean, []

    def __enter__(self):
        for program, user in USERS.items():
            log = WORK / f"{program}.log"
            with open(log, "wb") as out:
                command = self.clean.command(f"/usr/bin/{program}", "--config", CONFIG, user=user)
                self.processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                                       env={**self.clean.env(), "HOME": f"/var/lib/{user}"}, start_new_session=True))
            end = time.monotonic() + PATIENCE_S
            while '"msg":"ready"' not in log.read_text():
                assert self.processes[-1].poll() is None and time.monotonic() < end, log.read_text()
                time.sleep(0.05)
        return self

    def __exit__(self, *_):
        statuses = []
        for process in reversed(self.processes):
            process.terminate()
            statuses.append(process.wait(PATIENCE_S))
        assert statuses == [0, 0]


def longhaul(clean, *args):
    return clean.run("/usr/bin/longhaul", args[0], "--config", CONFIG, *args[1:], user="longhaul")


def main_job(clean, text):
    task_id = longhaul(clean, "create", "word_count", json.dumps({"text": text})).split()[-1]
    assert words_of(clean, task_id) == len(text.split())
    return task_id


def words_of(clean, task_id):
    result = json.loads(longhaul(clean, "result", "--wait", task_id))
    return result.get("data", result)["words"]


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def owner(clean, path):
    return clean.run("stat", "-c", "%U:%G", path).strip()


def test_the_story(clean, package, older):
    # A new machine: apt brings what it depends on, and nothing that the package needs is missing.
    clean.run("apt-get", "install", "-q", "-y", "--no-install-recommends", "python3")
    install(clean, older)
    missing = [line for file in clean.run("dpkg", "-L", "longhaul").split() if re.search(r"/bin/longhaul|\.so$|longhaul/longhaul-", file)
               for line in clean.run("ldd", file).splitlines() if "not found" in line]
    assert not missing
    assert clean.run("dpkg-query", "-W", "-f", "${Conffiles}", "longhaul").split()[0] == CONFIG
    for user in USERS.values():
        assert owner(clean, f"/var/lib/{user}") == f"{user}:{user}" and mode(clean / f"/var/lib/{user}") == 0o700
    tokens = {"token": "longhaul", "tokens.yaml": "longhaul", "consumer.token": "longhaul-consumer"}
    for name, user in tokens.items():
        assert owner(clean, f"/etc/longhaul/{name}") == f"{user}:{user}" and mode(clean / f"/etc/longhaul/{name}") == 0o600
    token = (clean / "/etc/longhaul/token").read_text()
    consumers = (clean / "/etc/longhaul/consumer.token").read_text()
    assert len(token) >= 43 and len(consumers) >= 43 and token != consumers
    assert "scopes: [run]" in (clean / "/etc/longhaul/tokens.yaml").read_text()
    clean.fails("cat", "/etc/longhaul/token", user="longhaul-consumer")

    # The main job, on a port of ours: the file is now the administrator's.
    config = (clean / CONFIG).read_text().replace("127.0.0.1:8080", f"127.0.0.1:{free_ports(1)[0]}")
    (clean / CONFIG).write_text(config)
    with Running(clean):
        before = main_job(clean, "to be or not to be")
        found = clean.run("/usr/bin/longhaul", "doctor", "--config", CONFIG)  # by root, who sees both users' folders
        assert {line.split("\t")[0] for line in found.splitlines()} == {"ok"}, found
        refused = clean.fails("/usr/bin/longhaul", "list", "--config", CONFIG, "--token", consumers.strip(), user="longhaul-consumer")
        assert "read" in refused

    # The upgrade keeps tasks, tokens and what the administrator wrote.
    install(clean, package)
    assert clean.run("dpkg-query", "-W", "-f", "${Version}", "longhaul") != "0.0.9"
    assert (clean / CONFIG).read_text() == config and (clean / f"{CONFIG}.dpkg-dist").is_file()
    assert (clean / "/etc/longhaul/token").read_text() == token
    with Running(clean):
        assert words_of(clean, before) == 6
        main_job(clean, "the rest is silence")

    # Removed: programs gone, data and configuration kept. Purged: these too.
    clean.run("apt-get", "remove", "-q", "-y", "longhaul")
    assert not (clean / "/usr/bin/longhaul-api").exists()
    assert (clean / "/var/lib/longhaul/longhaul.db").is_file() and (clean / CONFIG).is_file()
    clean.run("apt-get", "purge", "-q", "-y", "longhaul")
    for path in ("/etc/longhaul", "/var/lib/longhaul", "/var/lib/longhaul-consumer", "/usr/share/longhaul", "/lib/systemd/system/longhaul-api.service"):
        assert not (clean / path).exists(), path
