"""The systemd units, as they are installed: systemd's own tools find nothing wrong, and they fit what the programs do."""
import configparser
import re
import subprocess

import pytest

from tests.system.stack import installed

pytestmark = pytest.mark.heavy

# What `systemd-analyze security` may find at most, in tenths; 100 is no hardening at all. Modules are other people's programs.
UNITS = {"longhaul-api.service": 15, "longhaul-consumer@.service": 30}


@pytest.fixture(scope="module")
def units(tmp_path_factory):
    """The installed units, with the paths of the programs as they lie here; the template also as an instance."""
    dest = installed(tmp_path_factory.mktemp("root"))
    folder = tmp_path_factory.mktemp("units")
    for name in UNITS:
        (file,) = dest.rglob(f"systemd/system/{name}")
        text = re.sub(r"^ExecStart=(/\S+)", lambda match: f"ExecStart={dest}{match.group(1)}", file.read_text(), flags=re.M)
        (folder / name).write_text(text)
        if "@" in name:
            (folder / name.replace("@", "@longhaul")).write_text(text)
    return folder


def analyze(units, *args):
    done = subprocess.run(["systemd-analyze", *args], cwd=units, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=60)
    return done.returncode, done.stdout


def read(units, name):
    """The [Service] section; of a key that stands more than once, the last one."""
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.optionxform = str
    unit.read(units / name)
    return unit["Service"]


def test_systemd_understands_every_line(units):
    assert analyze(units, "verify", "./longhaul-api.service", "./longhaul-consumer@longhaul.service") == (0, "")


def test_a_wrong_line_would_be_found(units, tmp_path):
    text = (units / "longhaul-api.service").read_text()
    (tmp_path / "wrong.service").write_text(text.replace("ProtectHome=yes", "ProtectHouse=yes"))
    _, said = analyze(tmp_path, "verify", "./wrong.service")
    assert "ProtectHouse" in said


@pytest.mark.parametrize("name", UNITS)
def test_the_hardening_stays(units, name):
    status, said = analyze(units, "security", "--offline=true", f"--threshold={UNITS[name]}", f"./{name}")
    assert status == 0, said


@pytest.mark.parametrize("name", UNITS)
def test_the_programs_are_services_that_tell(units, name):
    service = read(units, name)
    assert service["Type"] == "notify" and int(service["WatchdogSec"]) >= 10
    assert service["RestartPreventExitStatus"].split() == ["64", "78"]  # docs and rc.h: usage and configuration


def test_a_consumer_may_have_cgroups_and_ends_its_runs_itself(units):
    service = read(units, "longhaul-consumer@.service")
    assert service["Delegate"] == "yes" and service["KillMode"] == "mixed" and service["OOMPolicy"] == "continue"
    assert "ProtectControlGroups" not in service and "MemoryDenyWriteExecute" not in service
