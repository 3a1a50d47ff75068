"""The schedule's own rules, without a stack."""
import random

from tests.chaos.faults import Faults

NAME = "consumer0"


class Program:
    """One that has ended as it was asked to."""

    name, command, pid = NAME, [], 1
    process = type("Process", (), {"returncode": 0})()

    def alive(self):
        return False

    def text(self):
        return "stopped"


def faults_of(program):
    world = type("World", (), {"programs": lambda self: [program], "hits": lambda self: [], "apis": [], "lease_s": 2})()
    history = type("History", (), {"add": lambda self, *args, **fields: None})()
    return Faults(world, history, random.Random(1), {})


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
