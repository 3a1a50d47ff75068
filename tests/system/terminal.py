"""The longhaul program as tests run it: in pipes (Cli), and on a terminal of their own (Screen)."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

from tests.system.stack import BUILD, PATIENCE_S, SANITIZER_WORDS, TOKEN, wait_until

LONGHAUL = BUILD / "cli" / "longhaul"
ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|[()][A-Z0-9]|[=>78])")


class Cli:
    """Runs the program with the address and token of a stack, in a folder without a configuration."""

    def __init__(self, folder, env):
        self.folder, self.env = folder, env

    def merged(self, env=None):
        merged = {**os.environ, **self.env, **(env or {})}
        return {name: value for name, value in merged.items() if value is not None}

    def start(self, *args, env=None, **more):
        return subprocess.Popen([LONGHAUL, *map(str, args)], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                env=self.merged(env), **more)

    def both(self, *args, status=0, text="", **more):
        """stdout and stderr of a run that ends with this status."""
        process = self.start(*args, stdin=subprocess.PIPE, **more)
        out, err = process.communicate(text if isinstance(text, bytes) else text.encode(), timeout=PATIENCE_S * 2)
        out, err = out.decode(), err.decode()
        assert not SANITIZER_WORDS.search(err), err
        assert process.returncode == status, f"longhaul {args}: {process.returncode}\n{out}\n{err}"
        return out, err

    def run(self, *args, status=0, **more):
        """stdout of a run that does what it should, else the one line that says why it does not."""
        out, err = self.both(*args, status=status, **more)
        if status == 0:
            return out
        assert err.startswith("longhaul: ") and err.count("\n") == 1, err
        return err

    def rows(self, *args, **more):
        return [line.split("\t") for line in self.run(*args, **more).splitlines()]

    def create(self, *args, **more):
        return self.run("create", *args, **more).strip()

    def screen(self, *args, **more):
        return Screen([LONGHAUL, *map(str, args)], self.folder, self.merged(more.pop("env", None)), **more)


class Screen:
    """A program on a terminal: what it wrote, what is typed, how large the window is."""

    def __init__(self, command, folder, env, columns=120, rows=30, stdin=None):
        self.master, slave = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.raw = b""
        env = {"TERM": "xterm-256color", **env}
        self.process = subprocess.Popen([str(part) for part in command], cwd=folder, env=env, stdin=stdin or slave, stdout=slave,
                                        stderr=slave, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(1, termios.TIOCSCTTY, 0))

    def resize(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def pump(self, timeout_s=0.0):
        while select.select([self.master], [], [], timeout_s)[0]:
            try:
                piece = os.read(self.master, 65536)
            except OSError:
                return
            if not piece:
                return
            self.raw += piece
            timeout_s = 0.0

    @property
    def text(self):
        self.pump()
        return ESCAPES.sub("", self.raw.decode(errors="replace")).replace("\r\n", "\n")

    def wait(self, word):
        """Until the word, or what matches the pattern, has been written."""
        end = time.monotonic() + PATIENCE_S
        while True:
            self.pump(0.05)
            found = word.search(self.text) if hasattr(word, "search") else word in self.text
            if found:
                return found
            assert self.process.poll() is None or word in self.text, f"ended without {word!r}:\n{self.text}"
            assert time.monotonic() < end, f"waited in vain for {word!r}:\n{self.text}"

    def forget(self):
        self.pump()
        self.raw = b""

    def type(self, keys):
        os.write(self.master, keys.encode())

    def signal(self, number):
        os.kill(self.process.pid, number)

    def end(self, status=0):
        """Waits for the end; the terminal must be as it was."""
        end = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            self.pump(0.05)
            assert time.monotonic() < end, f"does not end:\n{self.text}"
        self.pump()
        assert self.process.returncode == status, f"{self.process.returncode}\n{self.text}"
        assert termios.tcgetattr(self.slave) == self.before, "the terminal is not as it was"
        text = self.text
        assert not SANITIZER_WORDS.search(text), text
        os.close(self.slave)
        os.close(self.master)
        return text

    def wait_reading(self):
        """Until it waits in a read of its terminal. The system call is 0, read, on the machines that we test on."""
        wait_until(lambda: Path(f"/proc/{self.process.pid}/syscall").read_text().startswith("0 0x0 "), "for it to read")

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


def cli_of(folder, stack):
    return Cli(folder, {"AUTH_TOKEN": TOKEN, "LONGHAUL_URL": stack.api.address, "LONGHAUL_TOKEN_FILE": None, "NO_COLOR": None})
