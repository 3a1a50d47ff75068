"""The programs of docs/clients.md run as they stand: each also while the API is not up yet."""
import os
import re
import subprocess
import sys

import pytest

from tests.system.stack import BUILD, PATIENCE_S, PYTHON, ROOT, TOKEN

# A comment names the file and what runs it; the program follows.
PROGRAM = re.compile(r"<!-- file: (\S+), run by: (\w+) -->\n```\w+\n(.*?)^```", re.M | re.S)
WATCHING = re.compile(r"<!-- file: watching.py, watches -->\n```\w+\n(.*?)^```", re.M | re.S)
COMMANDS = {"python": [sys.executable], "bash": ["bash"], "node": ["node"], "go": ["go", "run"], "java": ["java"]}
pytestmark = pytest.mark.heavy


def programs():
    return PROGRAM.findall((ROOT / "docs" / "clients.md").read_text())


@pytest.fixture
def stack(make_stack):
    word_count = {"kind": "command", "command": [PYTHON, str(ROOT / "examples" / "word_count.py")]}
    stack = make_stack(services={"word_count": word_count}, consumers=1)
    for text in ("one", "two two"):
        stack.create("word_count", {"text": text}, tags={"from": "docs"})
    return stack


def environment(stack):
    own = {"LONGHAUL_URL": stack.api.address, "AUTH_TOKEN": TOKEN, "PYTHONPATH": str(ROOT / "clients" / "python" / "src"),
           "GO111MODULE": "off", "GOFLAGS": "", "CGO_ENABLED": "0", "GOCACHE": str(BUILD.resolve() / "go-cache")}
    return {**{name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}, **own}


def run_while_the_api_starts(stack, name, runner, code):
    """The lines that the program prints."""
    file = stack.dir / name
    file.write_text(code)
    stack.api.stop()
    process = subprocess.Popen([*COMMANDS[runner], file], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               cwd=stack.dir, env=environment(stack))
    stack.api.restart()
    out, err = process.communicate(timeout=PATIENCE_S * 8)
    assert process.returncode == 0, err
    return out.splitlines()


@pytest.mark.parametrize("name, runner, code", programs(), ids=lambda value: value[:16])
def test_program_of_the_page(stack, name, runner, code):
    first, *rest = run_while_the_api_starts(stack, name, runner, code)
    task_id = re.fullmatch(r"task (ts_word_count_\S+)", first).group(1)
    assert rest == ["words 6", "tasks 3", "refused SERVICE_NOT_SUPPORT"]
    assert stack.status(task_id)["status"] == "finished" and stack.result(task_id)["data"]["distinct"] == 4


def test_the_page_has_its_programs():
    assert [runner for _, runner, _ in programs()] == ["python", "python", "python", "bash", "node", "go", "java"]


def test_what_watches(stack):
    [code] = WATCHING.findall((ROOT / "docs" / "clients.md").read_text())
    lines = run_while_the_api_starts(stack, "watching.py", "python", code)
    assert lines[-1] == "finished" and set(lines) <= {"waiting", "running", "finished"}, lines
