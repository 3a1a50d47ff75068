"""The package's services under a real systemd, which is booted in the clean root as a container's would be: in namespaces of its own."""
import os
import re
import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from tests.package.test_package import CONFIG, install
from tests.services.services import free_ports

BOOT_S = 600
UNIT = Path("etc/systemd/system")

# Runs as a service of the booted system; what follows "== NAME" is what the test looks at.
STORY = r"""#!/bin/bash
exec >/root/story.out 2>&1
longhaul() { setpriv --reuid longhaul --regid longhaul --clear-groups /usr/bin/longhaul "$@" --config /etc/longhaul/longhaul.yaml; }
consumer=longhaul-consumer@longhaul
until_it() { for _ in $(seq 900); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; echo "in vain: $*"; }
words() { longhaul result --wait "$(longhaul create word_count '{"text": "'"$1"'"}' | tail -n 1)"; }
until_it systemctl is-active longhaul-api
until_it systemctl is-active $consumer
echo "== active"; systemctl is-active longhaul-api $consumer
echo "== status"; systemctl show -p StatusText --value longhaul-api $consumer
echo "== rights"; grep -hE 'CapEff|NoNewPrivs|Seccomp:' /proc/$(systemctl show -p MainPID --value longhaul-api)/status \
    /proc/$(systemctl show -p MainPID --value $consumer)/status
echo "== first"; words 'to be or not to be'
echo "== group"; cat /proc/$(systemctl show -p MainPID --value $consumer)/cgroup
echo "== reload"; systemctl reload longhaul-api $consumer && systemctl is-active longhaul-api $consumer
read_again() { journalctl -o cat -u longhaul-api -u $consumer | grep -oE 'tokens? read again' | sort -u; }
both_again() { [ "$(read_again | wc -l)" = 2 ]; }
until_it both_again; read_again
echo "== restart"; systemctl restart $consumer && words 'the rest is silence'
echo "== watchdog"; systemctl kill --kill-whom=main -s STOP longhaul-api
until_it sh -c '[ "$(systemctl show -p NRestarts --value longhaul-api)" = 1 ]'
until_it systemctl is-active longhaul-api
systemctl show -p NRestarts --value longhaul-api; words 'once more'
echo "== wrong"; echo 'listen: nowhere' >>/etc/longhaul/longhaul.yaml; systemctl restart longhaul-api; sleep 3
systemctl show -p ExecMainStatus -p Result longhaul-api; systemctl is-active longhaul-api
echo "== stop"; systemctl stop $consumer && systemctl show -p Result --value $consumer; grep -ls longhaul-runner /proc/[0-9]*/comm
echo "== end"
systemctl exit 0
"""


def own_cgroup():
    """A new folder below this process's place in the cgroups of version 2."""
    with open("/proc/self/mountinfo") as mounts, open("/proc/self/cgroup") as own:
        point = next((line.split()[4] for line in mounts if " - cgroup2 " in line), None)
        place = next((line.strip()[3:] for line in own if line.startswith("0::")), None)
    if not point or place is None:
        pytest.skip("no cgroups of version 2 to boot systemd in")
    folder = Path(point + place.rstrip("/")) / f"longhaul-boot-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup to boot systemd in can be made: {error}")
    return folder


def remove_cgroup(folder):
    for below in sorted((path for path in folder.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts)):
        remove_empty(below)
    remove_empty(folder)


def remove_empty(folder, patience_s=60):
    """Those whose leader was killed a moment ago may still be on their way out."""
    end = time.monotonic() + patience_s
    while True:
        try:
            return folder.rmdir()
        except OSError:
            if time.monotonic() > end:
                raise
        time.sleep(0.1)


def boot(root):
    """Until the story has ended; what the console said."""
    group = own_cgroup()
    script = f"""set -e
        mount --make-rprivate /
        mount --bind {root} {root}
        mount -t proc proc {root}/proc
        mount -t sysfs sysfs {root}/sys
        mount -t tmpfs tmpfs {root}/run
        mount -t tmpfs tmpfs {root}/tmp
        mount -t cgroup2 cgroup2 {root}/sys/fs/cgroup
        cd {root} && mkdir -p oldroot && pivot_root . oldroot && cd / && umount -l /oldroot
        exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --log-target=console"""
    command = ["sh", "-c", f'echo $$ >{group}/cgroup.procs && exec unshare --mount --pid --fork --kill-child --cgroup --ipc --uts sh -c "$1"', "sh", script]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                               start_new_session=True)
    try:
        said, _ = process.communicate(timeout=BOOT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
    remove_cgroup(group)
    return said


def prepare(root):
    (root / "root/story.sh").write_text(STORY)
    (root / "root/story.sh").chmod(0o755)
    (root / "root/story.out").unlink(missing_ok=True)
    (root / UNIT / "story.service").write_text("[Service]\nType=oneshot\nExecStart=/root/story.sh\n")
    wants = root / UNIT / "multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    # As `systemctl enable` does; the package has done so for the API, and does it for the consumer where systemd runs.
    for name, target in (("story.service", "../story.service"), ("longhaul-consumer@longhaul.service", "/lib/systemd/system/longhaul-consumer@.service")):
        (wants / name).unlink(missing_ok=True)
        (wants / name).symlink_to(target)
    default = root / UNIT / "default.target"
    default.unlink(missing_ok=True)
    default.symlink_to("/lib/systemd/system/multi-user.target")
    short = root / UNIT / "longhaul-api.service.d"
    short.mkdir(exist_ok=True)
    (short / "short.conf").write_text("[Service]\nWatchdogSec=5\n")
    config = root / CONFIG.lstrip("/")
    config.write_text(re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{free_ports(1)[0]}", config.read_text()))


def tell(root):
    """The story's parts by name."""
    file = root / "root/story.out"
    return dict(re.findall(r"^== (\w+)\n(.*?)(?=^== |\Z)", file.read_text(), re.M | re.S)) if file.exists() else {}


def check(told, said):
    assert "end" in told, f"{told}\n{said[-4000:]}"
    assert told["active"].split() == ["active", "active"]
    assert re.search(r"serving at http://.*\n+2 slots, tasks from http://", told["status"]), told["status"]
    assert re.findall(r"(\w+):\s*(\w+)", told["rights"]) == [("CapEff", "0" * 16), ("NoNewPrivs", "1"), ("Seccomp", "2")] * 2
    assert '"words":6' in told["first"] and '"words":4' in told["restart"]
    assert told["group"].strip().endswith("/longhaul-consumer@longhaul.service/longhaul-supervisor")
    assert told["reload"].split("\n")[:2] == ["active", "active"] and {"tokens read again", "token read again"} <= set(told["reload"].split("\n"))
    # The API stood still, was killed by the watchdog and came back with its tasks.
    assert told["watchdog"].split("\n")[0] == "1" and '"words":2' in told["watchdog"]
    # Restarting does not help against a wrong configuration, so it is not tried.
    assert "ExecMainStatus=78" in told["wrong"] and "Result=exit-code" in told["wrong"] and told["wrong"].split()[-1] == "failed"
    assert told["stop"].split() == ["success"]


def test_both_services_under_systemd(clean, package):
    clean.run("apt-get", "install", "-q", "-y", "--no-install-recommends", "systemd", "systemd-sysv", "dbus", "python3")
    install(clean, package)
    prepare(clean.folder)
    said = boot(clean.folder)
    check(tell(clean.folder), said)
