"""The schedule's own rules, without a stack."""
import json
import random
import signal
import subprocess
from pathlib import Path

import pytest

from tests.chaos import faults as faults_module
from tests.chaos.faults import Faults, Start, read_hit
from tests.chaos.world import World
from tests.services.services import stop_now

NAME = "consumer0"


class Program:
    """One that has ended as it was asked to, and does what a test says when it is started again."""

    name, pid, number = NAME, 1, 0
    process = type("Process", (), {"returncode": 0})()

    def __init__(self, on_start=lambda program: None, alive=False):
        self.on_start, self.running, self.starts, self.is_ready, self.resumed, self.killed = on_start, alive, 0, False, 0, 0
        self.command = ["program", "--config", "file"]

    def alive(self):
        return self.running

    def start(self):
        self.starts, self.running, self.is_ready = self.starts + 1, True, False
        self.on_start(self)

    def kill(self, number=signal.SIGKILL):
        self.killed, self.running = self.killed + 1, False

    def find(self, msg):
        return [{"msg": msg}] if self.is_ready else []

    def ready(self):
        assert self.is_ready

    def resume(self):
        self.resumed += 1

    def text(self):
        return "stopped"


class TheWorld:
    lease_s, mode, taps = 2, "embedded", []

    def __init__(self, *programs, apis=()):
        self.all, self.apis, self.consumers, self.lines = [*apis, *programs], list(apis), list(programs), []

    def programs(self):
        return self.all

    def hits(self):
        return self.lines

    def disarm(self):
        pass


class Told:
    def __init__(self):
        self.lines = []

    def add(self, k, *args, **fields):
        self.lines.append((k, fields))


def faults_of(*programs, apis=()):
    return Faults(TheWorld(*programs, apis=apis), Told(), random.Random(1), {})


def come_up(program):
    program.is_ready = True


def test_a_program_with_two_faults_is_left_alone_until_both_are_over():
    """As one that is being restarted, and passes a fault point while it drains."""
    faults, ended = faults_of(Program()), []
    faults.later(NAME, 60, lambda: ended.append("restart"), kind="restart consumer")
    faults.later(NAME, 0, lambda: ended.append("stop"), kind="claim-offset stop")
    faults.tick()
    assert ended == ["stop"]
    assert faults.deaths == [] and faults.free([NAME]) is None
    faults.tick(everything=True)
    assert ended == ["stop", "restart"]


def test_a_program_that_comes_up_late_holds_up_no_other_end():
    """As an API whose MongoDB stands still: that goes on by another fault's end."""
    program, server = Program(), []
    faults = faults_of(program)
    faults.later(NAME, 0, Start(faults, program), kind="kill consumer")
    faults.later("mongo", 0.01, lambda: server.append("resumed"), kind="stop mongo")
    for _ in range(5):
        faults.tick(everything=True)
    assert server == ["resumed"] and faults.busy[NAME] == 1 and program.starts == 1
    program.is_ready = True
    faults.tick(everything=True)
    assert faults.busy[NAME] == 0 and not faults.ends


def test_a_program_that_a_point_stops_before_it_is_ready_is_resumed():
    program = Program()
    faults = faults_of(program)
    faults.later(NAME, 0, Start(faults, program), kind="kill consumer")
    faults.tick(everything=True)
    faults.world.lines.append(json.dumps({"point": "claim-offset", "order": "stop", "pid": program.pid}))
    faults.tick()
    assert faults.busy[NAME] == 2
    faults.tick(everything=True)
    assert program.resumed == 1 and faults.busy[NAME] == 1


def test_an_api_whose_plan_ends_it_before_it_is_ready_starts_without_one():
    def on_start(program):
        program.running = "--store-fault" not in program.command
        program.is_ready = program.running
    program = Program(on_start)
    faults = faults_of(apis=[program])
    faults.later(NAME, 0, Start(faults, program, "apply:1=kill"), kind="store faults")
    for _ in range(4):
        faults.tick(everything=True)
    assert program.starts == 2 and not faults.ends and faults.deaths == []
    assert [kind for kind, _ in faults.history.lines] == ["born", "born", "fault"]


def test_a_program_that_never_comes_up_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(faults_module, "UP_S", 0)
    program = Program()
    faults = faults_of(program)
    faults.later(NAME, 0, Start(faults, program), kind="kill consumer")
    with pytest.raises(AssertionError, match="does not come up"):
        for _ in range(3):
            faults.tick(everything=True)


def test_two_ends_that_start_a_program_start_it_once():
    program = Program(come_up)
    faults = faults_of(program)
    faults.later(NAME, 0, Start(faults, program), kind="kill consumer")
    faults.later(NAME, 0, Start(faults, program), kind="claim-offset kill")
    for _ in range(3):
        faults.tick(everything=True)
    assert program.starts == 1 and not faults.ends and faults.busy[NAME] == 0


def test_a_restart_kills_what_has_not_ended_yet():
    program = Program(come_up, alive=True)
    faults = faults_of(program)
    faults.later(NAME, 0, Start(faults, program, anew=True), kind="restart consumer")
    for _ in range(3):
        faults.tick(everything=True)
    assert (program.killed, program.starts) == (1, 1) and not faults.ends


def test_mending_waits_for_a_program_that_dies_of_a_point_meanwhile():
    """It had taken the order away, and stood still till now."""
    program = Program(come_up, alive=True)
    faults = faults_of(program)

    def resumed():
        program.running = False
        faults.world.lines.append(json.dumps({"point": "claim-offset", "order": "kill", "pid": program.pid}))
    program.resume = resumed
    faults.mend()
    assert program.starts == 1 and program.alive() and not faults.ends and faults.deaths == []


def test_a_program_that_has_just_died_is_not_struck():
    dead, running = Program(), Program(alive=True)
    running.name = "consumer1"
    faults = faults_of(dead, running)
    assert {faults.pick("consumer") for _ in range(20)} == {running}


def test_a_hit_that_is_half_written_is_read_when_it_is_whole(tmp_path):
    world, line = World.__new__(World), json.dumps({"point": "claim-offset", "order": "kill", "pid": 7})
    world.fault_dir = Path(tmp_path)
    (tmp_path / "hits").write_text(f"{line}\n{line[:20]}")
    assert world.hits() == [line]
    (tmp_path / "hits").write_text(f"{line}\n{line[:20]}{line}\n")  # its process was killed, another wrote after it
    assert [read_hit(hit)["pid"] for hit in world.hits()] == [7, 7]
    assert read_hit("a rest") is None


def test_a_program_that_stops_itself_after_its_resume_is_resumed_again(monkeypatch):
    """It passed its point, and was not run between the note of it and the stop."""
    program = Program(alive=True)
    faults = faults_of(program)
    faults.world.lines.append(json.dumps({"point": "claim-offset", "order": "stop", "pid": program.pid}))
    monkeypatch.setattr(faults_module, "is_stopped", lambda pid: program.resumed >= 1)
    faults.tick()
    faults.tick(everything=True)
    assert program.resumed == 2
    monkeypatch.setattr(faults_module, "is_stopped", lambda pid: True)
    faults.later(NAME, 60, lambda: None, kind="stop consumer")
    faults.tick()
    assert program.resumed == 2  # a fault holds it


def test_a_stopped_process_is_told_from_a_running_one():
    process = subprocess.Popen(["sleep", "60"])
    try:
        assert not faults_module.is_stopped(process.pid)
        stop_now(process.pid)
        assert faults_module.is_stopped(process.pid)
    finally:
        process.kill()
        process.wait()
    assert not faults_module.is_stopped(process.pid)
