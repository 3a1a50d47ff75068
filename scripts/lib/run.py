"""Behind scripts/run: the API and a consumer on config.yaml, one task from create to result."""
import argparse
import fcntl
import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data"
TEXT = ROOT / "examples" / "data" / "lighthouse.txt"
READY_S = 30
STOP_S = 40
LONGHAUL = "build/cli/longhaul"


class Stop(Exception):
    """The user, or --demo, is done."""


def say(text):
    print(text, flush=True)


def lock_data():
    """One scripts/run at a time per tree; the lock goes with the process."""
    DATA.mkdir(exist_ok=True)
    lock = open(DATA / "run.lock", "a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        sys.exit(f"run: scripts/run is already running here ({lock.read().strip() or 'starting'}); "
                 "stop it with Ctrl-C first")
    lock.truncate(0)
    return lock


def token():
    file = DATA / "token"
    if not file.exists():
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(secrets.token_urlsafe(32) + "\n")
    return file.read_text().strip()


class Program:
    """One of the two processes, its log in data/<name>.log."""

    def __init__(self, name, config):
        self.name, self.log = name, DATA / f"{name}.log"
        binary = ROOT / "build" / name / f"longhaul-{name}"
        with open(self.log, "wb") as log:
            # A session of its own: Ctrl-C reaches this script alone, which then stops both in order.
            self.process = subprocess.Popen([binary, "--config", config], cwd=ROOT, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)

    def fail(self, what):
        tail = self.log.read_text(errors="replace").splitlines()[-15:]
        raise SystemExit("\n".join([f"run: {what}. The end of {self.log.relative_to(ROOT)}:", *tail]))

    def ready(self):
        """The ready line of its log."""
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            gone = self.process.poll() is not None
            for line in self.log.read_text(errors="replace").splitlines():
                if '"msg":"ready"' in line:
                    return json.loads(line)
            if gone:
                self.fail(f"the {self.name} ended with exit status {self.process.returncode}")
            time.sleep(0.05)
        self.fail(f"the {self.name} was not ready within {READY_S} s")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            status = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        say(f"{self.name} stopped" + ("" if status == 0 else f" with exit status {status}, see {self.log.relative_to(ROOT)}"))
        return status


def shown(*command):
    say(f"$ {shlex.join([LONGHAUL, *command])}")
    done = subprocess.run([ROOT / LONGHAUL, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    text = (done.stdout + done.stderr).strip()
    say("  " + text.replace("\n", "\n  "))
    if done.returncode != 0:
        raise SystemExit(f"run: longhaul {command[0]} ended with exit status {done.returncode}")
    return done.stdout.strip()


def services():
    done = subprocess.run([ROOT / LONGHAUL, "services"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"run: longhaul services ended with exit status {done.returncode}: {done.stderr.strip()}")
    return [line.split("\t")[0] for line in done.stdout.splitlines()]


def one_task():
    if "word_count" not in services():
        say(f"\nThe configuration names no service word_count, so no task is run here. It names: {', '.join(services())}")
        return
    say(f"\nCounting the words of {TEXT.relative_to(ROOT)}:")
    task = shown("create", "word_count", json.dumps({"path": str(TEXT.relative_to(ROOT))})).split()[-1]
    shown("result", "--wait", task)
    shown("status", task)


def how_to_go_on(address):
    say(f"""
How to go on (in another terminal, in this folder):
  Dashboard   {address}/   (it asks for the token: cat data/token)
  longhaul    export LONGHAUL_URL={address} AUTH_TOKEN=$(cat data/token)
              {LONGHAUL} create word_count '{{"text": "to be or not to be"}}'
              {LONGHAUL} list
  curl        curl -s {address}/api/create_task -H "Authorization: $(cat data/token)" \\
                   -d '{{"data": {{"service": "word_count", "condition": {{"text": "to be or not to be"}}}}}}'
  Logs        data/api.log, data/consumer.log
Ctrl-C stops both.""")


def watch(programs):
    while True:
        for program in programs:
            if program.process.poll() is not None:
                program.fail(f"the {program.name} ended by itself with exit status {program.process.returncode}")
        time.sleep(0.2)


def serve(args, lock, programs):
    programs.append(Program("api", args.config))
    address = programs[0].ready()["address"]
    say(f"API ready at {address}")
    lock.write(address)
    lock.flush()
    os.environ.update(LONGHAUL_URL=address, AUTH_TOKEN=token())
    programs.append(Program("consumer", args.config))
    programs[1].ready()
    say("consumer ready")
    one_task()
    if args.demo:
        say(f"\nThe dashboard was at {address}/; `scripts/run` without --demo keeps it there.")
    else:
        how_to_go_on(address)
        watch(programs)


def stop_all(programs):
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # The consumer first: it reports its last runs to the API.
    return [program.stop() for program in reversed(programs)]


def asked_to_stop(_number, _frame):
    raise Stop


def main():
    parser = argparse.ArgumentParser(prog="scripts/run", description="Starts longhaul embedded and shows one task.")
    parser.add_argument("--demo", action="store_true", help="end after the task")
    parser.add_argument("--config", default="config.yaml", help="default: config.yaml")
    args = parser.parse_args()
    lock, programs, statuses = lock_data(), [], [1]
    token()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, asked_to_stop)
    try:
        serve(args, lock, programs)
        failed = False
    except Stop:
        say("\nstopping")
        failed = False
    except SystemExit as error:
        say(str(error))
        failed = True
    finally:
        statuses = stop_all(programs)
    return 1 if failed or any(statuses) else 0


if __name__ == "__main__":
    sys.exit(main())
