#!/usr/bin/env python3
"""Runs the program store_mongo_faults against a MongoDB server of its own, whose fate it decides, through a proxy that
loses and spoils answers.

    test_store_mongo_faults.py PROGRAM

Skipped without LONGHAUL_TEST_MONGO_URI, as all tests that need MongoDB. The server that it names may be somebody
else's and is left alone, unless LONGHAUL_TEST_MONGO_CONTROL names a command that may be called with pause, resume,
halt or start and does that to it.
"""
import os
import subprocess
import sys
import urllib.parse
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from mongo_proxy import Proxy  # noqa: E402
from tests.services.services import Mongo, ServiceError  # noqa: E402

SKIPPED = 77


class OwnServer:
    """mongo-java-server with a file, so that its data outlives it."""

    def __init__(self):
        self.mongo = Mongo(backend="h2")
        self.uri = self.mongo.uri

    def do(self, word):
        {"pause": self.mongo.pause, "resume": self.mongo.resume, "halt": self.mongo.halt,
         "start": self.mongo.restart}[word]()

    def stop(self):
        self.mongo.stop()


class ControlledServer:
    def __init__(self, command):
        self.command = command
        self.uri = os.environ["LONGHAUL_TEST_MONGO_URI"]

    def do(self, word):
        subprocess.run(f"{self.command} {word}", shell=True, check=True, stdout=subprocess.DEVNULL)

    def stop(self):
        pass


def server():
    command = os.environ.get("LONGHAUL_TEST_MONGO_CONTROL")
    if command:
        return ControlledServer(command)
    del os.environ["LONGHAUL_TEST_MONGO_URI"]
    return OwnServer()


def run(program, mongo):
    url = urllib.parse.urlsplit(mongo.uri)
    proxy = Proxy(url.hostname, url.port or 27017)
    login = url.netloc.rpartition("@")[0]
    uri = url._replace(netloc=f"{login}{'@' if login else ''}127.0.0.1:{proxy.port}").geturl()
    process = subprocess.Popen([program, uri, f"lh_faults_{uuid.uuid4().hex[:12]}"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True, bufsize=1)
    try:
        for line in process.stdout:
            word, _, count = line.strip().partition(" ")
            if count:
                proxy.spoil(word, int(count))
            else:
                mongo.do(word)
            process.stdin.write("done\n")
            process.stdin.flush()
        status = process.wait(timeout=300)
    finally:
        process.kill()
        proxy.close()
    print(f"{proxy.spoiled} commands lost or spoiled", file=sys.stderr)
    return status


def main():
    if "LONGHAUL_TEST_MONGO_URI" not in os.environ:
        print("LONGHAUL_TEST_MONGO_URI names no server", file=sys.stderr)
        return SKIPPED
    try:
        mongo = server()
    except ServiceError as error:
        print(f"no server to pause and stop: {error}", file=sys.stderr)
        return SKIPPED
    try:
        return run(sys.argv[1], mongo)
    finally:
        mongo.stop()


if __name__ == "__main__":
    sys.exit(main())
