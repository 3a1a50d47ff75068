"""What scripts/test says of failures: in the first lines of a suite and in the last of all, what each found."""
import importlib.util
import sys

import pytest

from tests.system.stack import ROOT

pytestmark = pytest.mark.heavy

RED_RUN = "\n".join([
    "chaos: cluster, 2000 tasks, 30 faults, seed 7, in /tmp/x", "seed 7, cluster: 1007 tasks, 7893 calls, 15 faults in 66 s",
    "round 0: api0 ended by itself with 1: {\"msg\":\"cannot start\"}", "{\"msg\":\"stopped\"}",
    "round 0: invariant 1: ts_quick_1: it is ready/producing (attempt None) at the end, not final",
    "round 0: services: ts_quick_2: run aaaaaaaa began while service quick was paused",
    *[f"round 0: history of ts_quick_{n}\n" + "\n".join(f"    {at}.000 read" for at in range(300)) for n in (1, 2)],
    "RED: an invariant is broken", "histories and logs: /tmp/x"])
FOUND = ["round 0: api0 ended by itself with 1", "round 0: invariant 1: ts_quick_1: it is ready/producing (attempt None) at the end, not final",
         "round 0: services: ts_quick_2: run aaaaaaaa began while service quick was paused"]
TEST_OUTPUT = "def test_it():\n>       assert 1 == 2\nE       assert 1 == 2\nE        +  more of it\n\ntests/x.py:2: AssertionError"


@pytest.fixture(scope="module")
def suites():
    spec = importlib.util.spec_from_file_location("suites", ROOT / "scripts" / "lib" / "suites.py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(ROOT))
    spec.loader.exec_module(module)
    return module


def lines_of(suites, capsys, *failures):
    count = suites.Count()
    for name, text in failures:
        count.fail(name, text)
    suites.report("chaos", count, 1)
    return capsys.readouterr().out.splitlines()


def test_what_failed_stands_before_the_details_of_any(suites, capsys):
    lines = lines_of(suites, capsys, ("chaos one", RED_RUN), ("test two", TEST_OUTPUT), ("chaos three", RED_RUN))
    assert lines[1:8] == [*[f"  FAILED chaos one: {words}" for words in FOUND], "  FAILED test two: assert 1 == 2",
                          *[f"  FAILED chaos three: {words}" for words in FOUND]]


def test_the_details_of_a_chaos_run_begin_with_what_it_found(suites, capsys):
    lines = lines_of(suites, capsys, ("chaos one", RED_RUN))
    at = lines.index("  --- chaos one")
    assert [line.strip() for line in lines[at + 1:at + 4]] == FOUND
    assert lines[-1].strip() == "histories and logs: /tmp/x"


def test_a_run_with_many_broken_invariants_is_told_in_few_lines(suites):
    text = "\n".join(f"round 1: invariant 3: ts_{n}: two runs" for n in range(40))
    told = suites.first_words("chaos", text)
    assert told[0] == "  FAILED chaos: round 1: invariant 3: ts_0: two runs"
    assert len(told) == 6 and "35 more" in told[-1]


@pytest.mark.parametrize("text,words", [
    ("chaos: ...\nCLEAN: all six invariants hold\nhistories: /x", "CLEAN: all six invariants hold"),
    ("RED, but not as this mutant has to be", "RED, but not as this mutant has to be"),
    ("DOES NOT COUNT: no fault fell in: insert-produce", "DOES NOT COUNT: no fault fell in: insert-produce"),
    ("Traceback (most recent call last):\n  File ...\nAssertionError: api0 does not come up:\n{}\nhistories: /x", "AssertionError: api0 does not come up:"),
    ("cc: no input\nninja: build stopped", "ninja: build stopped"), ("", "no output"),
])
def test_other_ends_have_a_line_too(suites, text, words):
    assert suites.first_words("it", text) == [f"  FAILED it: {words}"]


def test_the_last_lines_of_all_name_every_failure_again(suites, capsys, monkeypatch, tmp_path):
    """Before the totals, which stay the last line."""
    def failing(services):
        count = suites.Count()
        count.fail("chaos one", RED_RUN)
        return count
    monkeypatch.setattr(suites, "SUITES", {"one": (failing, ()), "two": (lambda services: suites.Count(passed=3), ())})
    monkeypatch.setattr(suites, "ROOT", tmp_path)
    monkeypatch.setattr(suites, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(sys, "argv", ["test"])
    monkeypatch.setattr(suites.signal, "signal", lambda *_: None)
    assert suites.main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "3 passed, 1 failed, 0 skipped"
    assert lines[-4:-1] == [f"  FAILED chaos one: {words}" for words in FOUND]


def test_many_of_a_kind_hide_no_other(suites):
    lines = [*[f"round 1: invariant 1: ts_{n}: it is waiting/queued" for n in range(20)], "round 1: invariant 3: ts_9: 2 runs have attempt 1",
             *[f"round 1: services: ts_{n}: run a began while it was paused" for n in range(9)]]
    told = suites.first_words("chaos", "\n".join(lines))
    assert [line.removeprefix("  FAILED chaos: ") for line in told[:3]] == [lines[0], lines[20], lines[21]]
    assert len(told) == 6
