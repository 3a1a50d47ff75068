"""private_tmp: a module's /tmp and /var/tmp."""
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.services.services import _start_time
from tests.system.stack import BUILD, kill_with_supervisor, process_gone, supervisor_of, wait_until

MAY_MOUNT = os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL).returncode == 0
pytestmark = pytest.mark.skipif(not MAY_MOUNT, reason="only root may make mounts, and not in every container")

NOBODY = "nobody"
# What a shell finds in both, and then leaves there; that it can reach its own folder by its path.
LOOK = r"""list() { ls -A "$1" | tr '\n' ' '; }
printf '{"tmp":"%s","var":"%s","cwd":"%s","empty":"%s","mode":"%s","own":"%s"}\n' "$(list /tmp)" "$(list /var/tmp)" "$(pwd)" "$(list "$(pwd)")" \
"$(stat -c %a /tmp /var/tmp | tr '\n' ' ')" "$(touch "$(pwd)/own" && ls)"
touch /tmp/left-behind /var/tmp/left-behind; mkdir -p /tmp/more/of/it"""
WARM = r"""while read -r line; do
    id=${line#*'"task_id":"'}; id=${id%%'"'*}
    printf '{"task_id":"%s","result":"%s"}\n' "$id" "$(ls -A /tmp /var/tmp | grep left | tr '\n' ' ')" >&3
    touch /tmp/left-behind /var/tmp/left-behind
done"""
OBJECT = r"""#include <longhaul.h>
#include <unistd.h>
#include <fcntl.h>
int longhaul_run(const struct longhaul_task *task, struct longhaul_run *run) {
    (void)task;
    int there = access("/tmp/left-behind", F_OK) == 0;
    close(open("/tmp/left-behind", O_CREAT | O_WRONLY, 0600));
    return longhaul_result(run, there ? "true" : "false");
}
"""


def shell(script, *args, **more):
    return {"kind": "command", "command": ["/bin/sh", "-c", script, *args], "private_tmp": True, **more}


@pytest.fixture(params=["/tmp", "/var/tmp", "/run"], ids=["tmp", "var_tmp", "run"])
def base(request):
    """Where the runs' folders are made: below one of the two, or elsewhere."""
    folder = tempfile.mkdtemp(prefix="longhaul-test-", dir=request.param)
    os.chmod(folder, 0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def below_tmp():
    folder = tempfile.mkdtemp(prefix="longhaul-test-", dir="/tmp")
    yield Path(folder)
    shutil.rmtree(folder)


def start(stack, *before, folder=None, env=None):
    return stack.start_consumer(before=before, folder=folder, env=env, wait=False)


def refused(consumer, text):
    consumer.expect_exit = 78
    assert consumer.wait() == 78
    assert text in consumer.text()


def data_of(stack, task):
    assert stack.wait_final(task)["status"] == "finished", stack.logs()
    return stack.result(task)["data"]


def stderr_of(stack, task):
    """All of it: what a run has printed may come in pieces, and after its end."""
    def look():
        got = stack.call("logs_task", {"data": {"task_id": task, "stream": "stderr"}})
        return got if got["is_end"] else None
    return wait_until(look, "for the log's end")["text"]


def folders(base):
    return [name for name in os.listdir(base) if name.startswith("longhaul-run-")]


@pytest.mark.parametrize("user", [None, NOBODY])
def test_nothing_is_seen_by_the_next_run_nor_by_the_host(base, make_stack, user):
    stack = make_stack(services={"echo": shell(LOOK, **({"user": user} if user else {}))})
    stack.start_consumer(env={"TMPDIR": base})
    before = {place: sorted(os.listdir(place)) for place in ("/tmp", "/var/tmp")}
    for _ in range(2):
        me = data_of(stack, stack.create("echo", None))
        # Where the working directory lies, and the folder of the configuration.
        for key, place in (("tmp", Path("/tmp")), ("var", Path("/var/tmp"))):
            ways = [path.relative_to(place).parts[0] for path in (Path(base), stack.dir) if path.is_relative_to(place)]
            assert me[key].split() == sorted(set(ways))
        assert me["cwd"].startswith(f"{base}/longhaul-run-") and (me["empty"], me["own"]) == ("", "own")
        assert me["mode"] == "1777 1777 "
        assert not folders(base)
    for place, names in before.items():
        assert "left-behind" not in os.listdir(place) and "left-behind" not in names


def test_two_at_once(below_tmp, make_stack):
    """Neither finds what the other has written, while both are there."""
    script = 'cat >task; mine=$(grep -o "run-[ab]" task); echo "$mine" >/tmp/mine; : >"$0/$mine"; ' \
             'while [ ! -e "$0/run-a" ] || [ ! -e "$0/run-b" ]; do sleep 0.05; done; printf \'"%s"\' "$(cat /tmp/mine)"'
    meet = tempfile.mkdtemp(dir="/run")
    stack = make_stack(services={"echo": shell(script, meet, slots=2)}, consumers=1)
    tasks = {name: stack.create("echo", name) for name in ("run-a", "run-b")}
    assert {name: data_of(stack, task) for name, task in tasks.items()} == {"run-a": "run-a", "run-b": "run-b"}
    shutil.rmtree(meet)


def test_without_it(make_stack):
    """The host's."""
    with tempfile.NamedTemporaryFile(dir="/tmp") as file:
        stack = make_stack(services={"echo": {**shell('test -e "$0" && echo true', file.name), "private_tmp": False}}, consumers=1)
        assert data_of(stack, stack.create("echo", None)) is True


def test_one_that_stays_keeps_it(make_stack):
    stack = make_stack(services={"echo": shell(WARM, kind="warm", max_tasks=2)}, consumers=1)
    got = [data_of(stack, stack.create("echo", number)) for number in range(4)]
    assert got == ["", "left-behind left-behind "] * 2
    assert not os.path.exists("/tmp/left-behind")


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
@pytest.mark.skipif(BUILD.resolve().parts[1] == "tmp", reason="the built longhaul-host itself lies in /tmp")
def test_a_shared_object(below_tmp, make_stack):
    """Which lies in the folder of a configuration in /tmp."""
    (below_tmp / "object.c").write_text(OBJECT)
    subprocess.run(["cc", "-shared", "-fPIC", "-I", Path(__file__).parents[2] / "consumer" / "host", "-o", below_tmp / "object.so",
                    below_tmp / "object.c"], check=True)
    stack = make_stack(services={"echo": {"kind": "shared_object", "object": "object.so", "private_tmp": True, "max_tasks": 2}})
    start(stack, folder=below_tmp)
    assert [data_of(stack, stack.create("echo", number)) for number in range(4)] == [False, True] * 2


def test_a_configuration_in_tmp(below_tmp, make_stack):
    """Its folder is there, with what lies beside the program, and read-only; reports come."""
    (below_tmp / "beside").write_text('{"result": "found"}')
    program = below_tmp / "bin" / "module"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\ncat "$(dirname "$0")/../beside" >&3\necho >&3\ntouch "$(dirname "$0")/new" 2>&1 | grep -o Read-only >&2\nls /tmp >&2\n')
    program.chmod(0o755)
    other = tempfile.mkdtemp(dir="/tmp")
    stack = make_stack(services={"echo": {"kind": "command", "command": ["bin/module"], "private_tmp": True}})
    start(stack, folder=below_tmp)
    task = stack.create("echo", None)
    assert data_of(stack, task) == "found"
    said = stderr_of(stack, task).split()
    assert said[0] == "Read-only" and below_tmp.name in said[1:] and Path(other).name not in said
    os.rmdir(other)


@pytest.mark.parametrize("where", ["argument", "PATH", "beside"])
def test_a_program_that_it_would_hide(below_tmp, make_stack, where):
    elsewhere = Path(tempfile.mkdtemp(dir="/tmp"))
    (elsewhere / "module").write_text("#!/bin/sh\n")
    (elsewhere / "module").chmod(0o755)
    (below_tmp / "link").symlink_to(elsewhere / "module")
    command = {"argument": ["/bin/sh", str(elsewhere / "module")], "PATH": ["module"], "beside": ["./link"]}[where]
    stack = make_stack(services={"echo": {"kind": "command", "command": command, "private_tmp": True, "env": {"PATH": f"{elsewhere}:/bin"}}})
    name = f"{below_tmp}/./link" if where == "beside" else f"{elsewhere}/module"
    refused(start(stack, folder=below_tmp), f"module.echo.private_tmp: hides '{name}'")
    shutil.rmtree(elsewhere)


def detached():
    """A run that leaves a daemon behind which is at work in /tmp, and tells its process id."""
    return shell(r"""cd /tmp; setsid sh -c 'exec 5>/tmp/open; while :; do date >&5; sleep 0.05; done' <&- >/dev/null 2>&1 3>&- & echo $! >&2; pwd >&2
        sleep 1000""", user=NOBODY)


def begin(stack, base):
    """The process id of the daemon of a run that has begun."""
    task = stack.create("echo", None)
    said = lambda: stack.call("logs_task", {"data": {"task_id": task, "stream": "stderr"}})["text"]
    pid = int(wait_until(lambda: said().count("\n") == 2 and said()).split()[0])
    wait_until(lambda: any(os.path.exists(f"{base}/{name}/0/open") for name in folders(base)), "for the daemon")
    assert len(folders(base)) == 2
    assert os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
    return task, pid


def test_what_is_at_work_in_it_goes_with_the_run(base, make_stack):
    stack = make_stack(services={"echo": detached()})
    stack.start_consumer(env={"TMPDIR": base})
    task, pid = begin(stack, base)
    born = _start_time(pid)
    stack.call("cancel_task", {"data": {"task_id": task, "grace_s": 0}})
    assert stack.wait_final(task)["sub_status"] == "cancelled"
    assert process_gone(pid, born) and not folders(base)


def test_somebody_else_is_in_it(base, make_stack):
    """An administrator's shell that has stepped in keeps nothing there, and stops nothing."""
    stack = make_stack(services={"echo": detached()})
    stack.start_consumer(env={"TMPDIR": base})
    task, pid = begin(stack, base)
    guest = subprocess.Popen(["nsenter", "-t", str(pid), "-m", "sh", "-c", "cd /tmp; exec 5>/tmp/guest; echo in; exec sleep 1000"],
                             stdout=subprocess.PIPE, text=True)
    try:
        assert guest.stdout.readline() == "in\n"
        stack.call("cancel_task", {"data": {"task_id": task, "grace_s": 0}})
        assert stack.wait_final(task)["sub_status"] == "cancelled"
        assert not folders(base) and guest.poll() is None
        second, _ = begin(stack, base)
        stack.call("cancel_task", {"data": {"task_id": second, "grace_s": 0}})
        stack.wait_final(second)
    finally:
        guest.kill()
        guest.wait()


# What is killed may leave its run's cgroup behind, empty, until a consumer starts; other tests look for such.
NO_CGROUP = {"LONGHAUL_CGROUP": "off"}


@pytest.mark.parametrize("victim", ["consumer", "supervisor"])
def test_after_a_kill(base, make_stack, victim):
    stack = make_stack(services={"echo": detached()})
    consumer = stack.start_consumer(env={"TMPDIR": base, **NO_CGROUP})
    _, pid = begin(stack, base)
    born = _start_time(pid)
    consumer.expect_exit = None if victim == "consumer" else 0
    os.kill(consumer.pid if victim == "consumer" else supervisor_of(consumer), signal.SIGKILL)
    wait_until(lambda: process_gone(pid, born), "for the module to be killed")
    if victim == "supervisor":  # the next run may have begun
        consumer.stop()
    wait_until(lambda: not folders(base), "for the folders to go")


def stop_all_of(pid):
    """All processes that see the same mounts."""
    mounts = os.readlink(f"/proc/{pid}/ns/mnt")
    assert mounts != os.readlink("/proc/self/ns/mnt")
    for other in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{other}/ns/mnt") == mounts:
                os.kill(int(other), signal.SIGKILL)
        except OSError:
            pass


def test_after_a_kill_of_both(base, make_stack):
    """The next consumer that starts removes what they have left, and nothing of those who live."""
    stack = make_stack(services={"echo": detached()})
    victim = stack.start_consumer(env={"TMPDIR": base, **NO_CGROUP})
    _, pid = begin(stack, base)
    left = set(folders(base))
    os.chmod(f"{base}/{min(left)}", 0)
    other = stack.start_consumer(env={"TMPDIR": base})
    stack.create("echo", None)
    wait_until(lambda: len(folders(base)) == 4, "for the second run")
    held = set(folders(base)) - left
    os.mkdir(f"{base}/longhaul-run-abcdef")  # not one of these
    kill_with_supervisor(victim)
    assert left < set(folders(base))
    try:
        third = stack.start_consumer(env={"TMPDIR": base})
        line = third.wait_line(msg="folders of runs removed that were killed with their consumer")
        assert (line["count"], line["file"]) == (2, base)
        assert not left & set(folders(base)) and held <= set(folders(base))
        assert os.path.exists(f"{base}/longhaul-run-abcdef") and other.alive()
    finally:
        stop_all_of(pid)


def test_no_right_to_make_mounts(make_stack):
    stack = make_stack(services={"echo": shell(LOOK)})
    refused(start(stack, "setpriv", "--bounding-set=-sys_admin"), "module.echo.private_tmp: needs a consumer that may make mounts: CAP_SYS_ADMIN")


def test_in_a_user_namespace(below_tmp, make_stack):
    """Whose root may make mounts."""
    stack = make_stack(services={"echo": shell(LOOK)})
    start(stack, "unshare", "--map-root-user", folder=below_tmp).ready()
    assert below_tmp.name in data_of(stack, stack.create("echo", None))["tmp"]
    assert not os.path.exists("/tmp/left-behind")


def test_a_consumer_that_is_not_root(below_tmp, make_stack):
    """The right alone is enough; the module does not get it."""
    uid = pwd.getpwnam(NOBODY).pw_uid
    stack = make_stack(services={"echo": shell("sed -n 's/^Cap\\(Eff\\|Amb\\):.//p' /proc/self/status | tr '\\n' ' ' >&2; touch /tmp/a; id -u")})
    consumer = start(stack, "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--inh-caps=+sys_admin,+dac_override",
                     "--ambient-caps=+sys_admin,+dac_override", folder=below_tmp, env={"TMPDIR": "/tmp"})
    consumer.ready()
    task = stack.create("echo", None)
    assert data_of(stack, task) == uid
    rights = stderr_of(stack, task).split()
    assert [int(word, 16) for word in rights] == [1 << 1, 1 << 1]
