"""longhaul tail: both streams as they come, over attempts and broken connections."""
import base64
import signal
import subprocess

import pytest

from tests.system.stack import PATIENCE_S, wait_until
from tests.system.terminal import LONGHAUL


@pytest.fixture
def stack(make_stack):
    return make_stack(api_args=("--log-level=debug",))


class Run:
    """A run that a test prints for."""

    def __init__(self, stack):
        [taken] = stack.take(wait_s=50)
        self.stack, self.run_id, self.task_id = stack, taken["run_id"], taken["Task"]["task_id"]
        self.at = {"stdout": 0, "stderr": 0}

    def say(self, stream, text):
        raw = text if isinstance(text, bytes) else text.encode()
        self.stack.call("log_task", {"data": {"task_id": self.task_id, "run_id": self.run_id, "stream": stream, "offset": self.at[stream],
                                              "base64": base64.b64encode(raw).decode()}})
        self.at[stream] += len(raw)

    def close(self):
        for stream, offset in self.at.items():
            self.stack.call("log_task", {"data": {"task_id": self.task_id, "run_id": self.run_id, "stream": stream, "offset": offset,
                                                  "text": "", "end": True}})

    def end(self, status="finished", **more):
        self.close()
        self.stack.update(self.task_id, status, run_id=self.run_id, **more)


class Pipes:
    """What a tail has written so far."""

    def __init__(self, process, folder):
        self.process = process
        self.out, self.err = folder / "out", folder / "err"

    def text(self):
        return self.out.read_bytes()

    def wait(self, out):
        wait_until(lambda: self.out.read_bytes() == out, f"for {out!r}, not {self.out.read_bytes()!r}")

    def end(self, status=0):
        assert self.process.wait(PATIENCE_S) == status, self.err.read_text()
        return self.out.read_bytes(), self.err.read_bytes()


def follow(cli, *args):
    with open(cli.folder / "out", "wb") as out, open(cli.folder / "err", "wb") as err:
        process = subprocess.Popen([LONGHAUL, "tail", *args], stdout=out, stderr=err, env=cli.merged(), cwd=cli.folder)
    return Pipes(process, cli.folder)


def test_what_there_is(cli, stack):
    task_id = cli.create("echo")
    assert cli.both("tail", task_id) == ("", "")
    run = Run(stack)
    run.say("stdout", "one\ntwo\nthree\n")
    run.say("stderr", "oops\n")
    assert cli.both("tail", task_id) == ("one\ntwo\nthree\n", "oops\n")
    assert cli.both("tail", task_id, "--stream", "stdout", "-n", 2) == ("two\nthree\n", "")
    assert cli.both("tail", "--stream=stderr", task_id) == ("oops\n", "")
    run.end()
    assert cli.both("tail", task_id, "--lines", 1)[0] == "three\n"
    assert cli.both("tail", "-f", task_id) == ("one\ntwo\nthree\n", "oops\n")
    assert "attempt must be" in cli.run("tail", task_id, "--attempt", 2, status=65)
    assert "--stream: expected" in cli.run("tail", task_id, "--stream", "stdin", status=64)
    assert "--lines: expected" in cli.run("tail", task_id, "-n", "all", status=64)
    assert "no such task (UNKNOWN_TASK)" in cli.run("tail", "ts_echo_none", status=66)
    cli.run("delete", task_id)
    for args in ((), ("-f",), ("--attempt", 1)):
        assert "has been removed (TASK_REMOVED)" in cli.run("tail", task_id, *args, status=66)


def test_bytes_arrive_as_they_were_written(cli, stack):
    task_id = cli.create("echo")
    run = Run(stack)
    raw = bytes(range(256)) * 9000
    for at in range(0, len(raw), 500000):
        run.say("stdout", raw[at:at + 500000])
    run.end()
    done = subprocess.run([LONGHAUL, "tail", task_id], capture_output=True, env=cli.merged(), timeout=PATIENCE_S)
    assert done.stdout == raw and done.stderr == b""


def test_it_follows_from_before_the_begin_to_the_end(cli, stack):
    task_id = cli.create("echo")
    pipes = follow(cli, "-f", task_id)
    wait_until(lambda: stack.api.find(path="/api/status_task"))
    run = Run(stack)
    run.say("stdout", "a")
    pipes.wait(b"a")
    run.say("stderr", "!")
    wait_until(lambda: pipes.err.read_bytes() == b"!")
    run.say("stdout", "b\n")
    pipes.wait(b"ab\n")
    run.end()
    assert pipes.end() == (b"ab\n", b"!")


def test_it_goes_on_with_the_next_attempt(cli, stack):
    task_id = cli.create("echo", "--max-attempts", 2, "--retry", "fixed:0")
    first = Run(stack)
    first.say("stdout", "first\n")
    pipes = follow(cli, "--follow", task_id)
    pipes.wait(b"first\n")
    first.end("failed", error={"class": "retryable", "text": "once"})
    second = Run(stack)
    second.say("stdout", "second\n")
    pipes.wait(b"first\nsecond\n")
    second.end()
    assert pipes.end() == (b"first\nsecond\n", b"")
    assert cli.run("tail", task_id, "--attempt", 1) == "first\n"
    assert cli.run("tail", task_id) == "second\n"
    assert cli.run("tail", "-f", task_id, "--attempt", 1) == "first\n"


def test_it_goes_on_where_a_connection_broke(cli, stack):
    task_id = cli.create("echo")
    run = Run(stack)
    run.say("stdout", "before ")
    pipes = follow(cli, "-f", task_id)
    pipes.wait(b"before ")
    stack.api.kill()
    stack.api.restart()
    run.say("stdout", "and after\n")
    pipes.wait(b"before and after\n")
    run.end()
    assert pipes.end() == (b"before and after\n", b"")


def test_a_task_that_never_runs_ends_it(cli, stack):
    task_id = cli.create("echo")
    pipes = follow(cli, "-f", task_id)
    wait_until(lambda: stack.api.find(path="/api/status_task"))
    cli.run("cancel", task_id)
    assert pipes.end() == (b"", b"")


def test_control_characters_stay_off_the_terminal(cli, stack):
    task_id = cli.create("echo")
    run = Run(stack)
    run.say("stdout", "\x1b[2J\x07€\x00\x7f\tok\n")
    run.end()
    screen = cli.screen("tail", task_id)
    screen.end()
    assert "^[[2J^G€^@^?\tok" in screen.raw.decode()
    assert "^[[2J^G€^@^?\tok" in cli.screen("tail", "--stream", "stdout", task_id).end()
    raw = cli.screen("tail", "--raw", task_id)
    raw.end()
    assert b"\x1b[2J\x07" in raw.raw


def test_ctrl_c_ends_it(cli, stack):
    task_id = cli.create("echo")
    Run(stack).say("stdout", "x\n")
    screen = cli.screen("tail", "-f", task_id)
    screen.wait("x\n")
    screen.type("\x03")
    screen.end(130)
    pipes = follow(cli, "-f", task_id)
    pipes.wait(b"x\n")
    pipes.process.send_signal(signal.SIGTERM)
    pipes.end(130)


def test_a_reader_that_goes_away_ends_it(cli, stack):
    task_id = cli.create("echo")
    run = Run(stack)
    run.say("stdout", "x\n")
    done = subprocess.Popen(f"'{LONGHAUL}' tail -f {task_id} 2>err | head -c 1", shell=True, cwd=cli.folder, env=cli.merged(), stdout=-1)
    assert done.stdout.read(1) == b"x"
    run.say("stdout", "y\n")
    assert done.wait(PATIENCE_S) == 0 and (cli.folder / "err").read_text() == ""
    done.stdout.close()
