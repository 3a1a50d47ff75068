"""As whom modules run, and with which rights."""
import os
import pwd
import signal
import subprocess

import pytest

from tests.system.stack import wait_until

NOBODY = "nobody"
# What a shell sees of itself.
SCRIPT = r"""printf '{"uid":%s,"gid":%s,"groups":"%s","nnp":%s,"home":"%s","touch":"%s","mode":"%s"}\n' "$(id -u)" "$(id -g)" "$(id -G)" \
"$(sed -n 's/^NoNewPrivs:[^0-9]*//p' /proc/self/status)" "$HOME" "$(touch here && echo yes)" "$(stat -c %u:%a .)" """
MODULE = {"kind": "command", "command": ["/bin/sh", "-c", SCRIPT]}
MAY_MOUNT = os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL).returncode == 0
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")


def told(make_stack, **more):
    stack = make_stack(services={"echo": {**MODULE, **more}}, consumers=1)
    task = stack.create("echo", None)
    assert stack.wait_final(task)["status"] == "finished", stack.logs()
    return stack.result(task)["data"]


def test_the_default(make_stack):
    me = told(make_stack)
    assert (me["uid"], me["gid"], me["nnp"], me["touch"]) == (os.geteuid(), os.getegid(), 1, "yes")
    assert me["home"] == os.environ.get("HOME", "")


def test_new_privileges_where_they_are_wanted(make_stack):
    assert told(make_stack, no_new_privileges=False)["nnp"] == 0


@as_root
def test_a_user_of_its_own(make_stack):
    record = pwd.getpwnam(NOBODY)
    me = told(make_stack, user=NOBODY)
    assert (me["uid"], me["gid"], me["groups"], me["nnp"]) == (record.pw_uid, record.pw_gid, str(record.pw_gid), 1)
    assert (me["home"], me["touch"], me["mode"]) == (record.pw_dir, "yes", f"{record.pw_uid}:700")


@as_root
def test_a_group_and_a_home(make_stack):
    me = told(make_stack, user=NOBODY, group="daemon", env={"HOME": "/elsewhere"})
    assert me["uid"] == pwd.getpwnam(NOBODY).pw_uid and me["home"] == "/elsewhere"
    assert me["gid"] == 1 and me["groups"] == "1"


@as_root
def test_its_streams_are_its_own(make_stack):
    """A script that writes to /dev/stderr opens it."""
    stack = make_stack(services={"echo": {"kind": "command", "user": NOBODY, "command": [
        "/bin/sh", "-c", 'echo told >/dev/stderr && echo "{\\"result\\": 7}" >/dev/fd/3 && echo out >/dev/stdout']}}, consumers=1)
    task = stack.create("echo", None)
    assert stack.wait_final(task)["status"] == "finished" and stack.result(task)["data"] == 7
    for stream, text in (("stderr", "told\n"), ("stdout", "out\n")):
        wait_until(lambda: stack.call("logs_task", {"data": {"task_id": task, "stream": stream}})["text"] == text)


@as_root
def test_its_folder_is_gone_and_it_can_be_killed(make_stack):
    """The supervisor, which is root, ends it as it does every other."""
    stack = make_stack(services={"echo": {"kind": "command", "command": ["/bin/sh", "-c", "pwd >&2; sleep 1000 & sleep 1000"],
                                          "user": NOBODY}}, consumers=1)
    task = stack.create("echo", None)
    text = lambda: stack.call("logs_task", {"data": {"task_id": task, "stream": "stderr"}})["text"]
    folder = wait_until(text).strip()
    assert os.stat(folder).st_uid == pwd.getpwnam(NOBODY).pw_uid
    stack.call("cancel_task", {"data": {"task_id": task, "grace_s": 0}})
    assert stack.wait_final(task)["sub_status"] == "cancelled"
    assert not os.path.exists(folder)


@pytest.mark.skipif(not MAY_MOUNT, reason="only root may mount, and not in every container")
def test_users_are_looked_up_at_the_start_and_on_hangup(make_stack, tmp_path):
    """A look-up may take long, so no run waits for one. The consumer has a list of users of its own."""
    users, root = tmp_path / "passwd", "root:x:0:0:root:/root:/bin/sh\n"
    write = lambda uid: users.write_text(root + (f"module-user:x:{uid}:{uid}::/:/bin/sh\n" if uid else ""))
    stack = make_stack(services={"echo": {**MODULE, "user": "module-user"}})
    uid = lambda: stack.result(stack.wait_final(stack.create("echo", None))["task_id"])["data"]["uid"]

    def hang_up(**line):
        before = len(consumer.find(**line))
        consumer.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(consumer.find(**line)) > before, f"for {line}")
    write(12345)
    consumer = stack.start_consumer(before=["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/passwd && exec "$@"', str(users)])
    assert uid() == 12345
    write(12346)
    assert uid() == 12345
    hang_up(msg="token read again")
    assert uid() == 12346
    write(None)
    hang_up(level="error", msg="users not looked up again: those of before hold")
    assert "module.echo.user: 'module-user': there is none of that name" in consumer.text()
    assert uid() == 12346


@as_root
@pytest.mark.parametrize("key", ["user", "group"])
def test_nobody_of_that_name(make_stack, key):
    stack = make_stack(services={"echo": {**MODULE, key: "nobody-of-that-name"}})
    consumer = stack.start_consumer(wait=False)
    consumer.expect_exit = 78
    assert consumer.wait() == 78
    assert f"module.echo.{key}: 'nobody-of-that-name': there is none of that name" in consumer.text()


@pytest.mark.parametrize("key", ["user", "group"])
def test_not_root(make_stack, key):
    """Root becomes somebody else first, who may still read what the test has written."""
    uid = pwd.getpwnam(NOBODY).pw_uid
    drop = [] if os.geteuid() else ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--inh-caps=+dac_override",
                                    "--ambient-caps=+dac_override"]
    stack = make_stack(services={"echo": {**MODULE, key: "daemon"}})
    consumer = stack.start_consumer(wait=False, before=drop)
    consumer.expect_exit = 78
    assert consumer.wait() == 78
    assert f"module.echo.{key}: needs a consumer that runs as root; this one has the user id {uid if drop else os.geteuid()}" in consumer.text()


@as_root
def test_a_link_in_place_of_its_folder(make_stack, tmp_path):
    """Removing the folder does nothing to what the link leads to."""
    target = tmp_path / "target"
    target.mkdir(mode=0o755)
    (target / "file").touch()
    script = 'cd / && mv "$OLDPWD" "$OLDPWD.moved" && ln -s "$0" "$OLDPWD" && echo "\\"$OLDPWD\\""'
    stack = make_stack(services={"echo": {"kind": "command", "command": ["/bin/sh", "-c", script, str(target)], "user": NOBODY}}, consumers=1)
    task = stack.create("echo", None)
    assert stack.wait_final(task)["status"] == "finished", stack.logs()
    folder = stack.result(task)["data"]
    assert target.stat().st_mode & 0o777 == 0o755 and os.listdir(target) == ["file"]
    os.rmdir(folder + ".moved")
    os.unlink(folder)
