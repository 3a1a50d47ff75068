"""The modules of docs/modules.md, and those in examples/, run as they stand."""
import difflib
import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.system.stack import BUILD, PYTHON, ROOT

# A comment names the module, further ones further runs; the code follows.
PAGE_MODULE = re.compile(r"<!-- module: (\S+), run by: (\w+); (.*?) -->\n((?:<!-- .*? -->\n)*)```\w+\n(.*?)^```", re.M | re.S)
TEXT = ROOT / "examples" / "data" / "lighthouse.txt"


def page_modules():
    return PAGE_MODULE.findall((ROOT / "docs" / "modules.md").read_text())


def module_of(name, runner, folder):
    """The configuration of a module whose code lies in the folder."""
    if runner == "shared_object":
        subprocess.run(["cc", "-std=gnu11", "-Wall", "-Werror", "-shared", "-fPIC", "-I", ROOT / "consumer" / "host", "-o", folder / "module.so",
                        folder / name], check=True)
        return {"kind": "shared_object", "object": "module.so"}
    if runner == "warm":
        return {"kind": "warm", "command": command_of(name, "python3", folder)}
    return {"kind": "command", "command": command_of(name, runner, folder)}


def command_of(name, runner, folder):
    if runner == "cc":
        program = folder / "program"
        subprocess.run(["cc", "-std=gnu11", "-Wall", "-Werror", "-o", program, folder / name], check=True)
        return ["./program"]
    return [PYTHON if runner == "python3" else runner, f"./{name}"]


def run(stack, service, condition):
    task_id = stack.create(service, condition)
    status = stack.wait_final(task_id)
    return (None, status) if status["status"] == "failed" else (stack.result(task_id)["data"], status)


@pytest.mark.parametrize("name, runner, first, more, code", page_modules(), ids=lambda value: value[:12])
def test_module_of_the_page(make_stack, work_dir, name, runner, first, more, code):
    folder = Path(work_dir) / "s1"  # of the stack's configuration
    folder.mkdir(parents=True)
    (folder / name).write_text(code)
    stack = make_stack(services={"svc": module_of(name, runner, folder)}, consumers=1)
    assert stack.dir == folder
    for case in [first] + re.findall(r"<!-- (.*?) -->", more):
        condition, kind, wanted = re.fullmatch(r"condition: (.*); (result|error): (.*)", case).groups()
        result, status = run(stack, "svc", json.loads(condition))
        if kind == "result":
            assert result == json.loads(wanted), status
        else:
            error_class, text = wanted.split(": ", 1)
            assert status["status"] == "failed" and status["error"] == {"class": error_class, "text": text}


def test_the_page_has_its_modules():
    assert [runner for _, runner, *_ in page_modules()] == ["warm", "shared_object", "python3", "sh", "cc"]


@pytest.fixture
def examples(make_stack):
    commands = {"word_count": [PYTHON, str(ROOT / "examples" / "word_count.py")],
                "checksum": ["sh", str(ROOT / "examples" / "checksum.sh")],
                "primes": [str(BUILD / "examples" / "primes")]}
    services = {name: {"kind": "command", "command": command} for name, command in commands.items()}
    services["spelling"] = {"kind": "warm", "command": [PYTHON, str(ROOT / "examples" / "spelling.py")]}
    services["queens"] = {"kind": "shared_object", "object": str(BUILD / "examples" / "queens.so")}
    return make_stack(services=services, consumers=1)


def test_word_count(examples):
    result, _ = run(examples, "word_count", {"path": "examples/data/lighthouse.txt", "top": 3})
    text = TEXT.read_text()
    assert result["lines"] == len(text.splitlines())
    assert result["words"] == len(re.findall(r"[A-Za-z]+(?:['-][A-Za-z]+)*", text))
    assert result["top"][0] == ["the", len(re.findall(r"\bthe\b", text, re.I))]
    assert len(result["top"]) == 3
    assert run(examples, "word_count", {"text": "to be or not to be"})[0]["distinct"] == 4
    for bad in (1, {}, {"path": "no/such/file"}, {"text": "x", "top": -1}):
        assert run(examples, "word_count", bad)[1]["error"]["class"] == "fatal"


def test_checksum(examples):
    result, _ = run(examples, "checksum", {"path": "examples/data/lighthouse.txt"})
    assert result == {"path": "examples/data/lighthouse.txt", "sha256": hashlib.sha256(TEXT.read_bytes()).hexdigest(),
                      "bytes": TEXT.stat().st_size}
    for bad in (1, {"path": "no/such/file"}, {"path": 'a"b'}, {"path": ""}):
        assert run(examples, "checksum", bad)[1]["error"]["class"] == "fatal"


def test_primes(examples):
    for below, primes, largest in ((0, 0, None), (3, 1, 2), (100, 25, 97), (1048577, 82025, 1048573),
                                   (10000000, 664579, 9999991)):
        assert run(examples, "primes", {"below": below})[0] == {"below": below, "primes": primes, "largest": largest}
    for bad in (1, {}, {"below": -1}, {"below": 10**12 + 1}):
        assert run(examples, "primes", bad)[1]["error"]["class"] == "fatal"


def test_spelling(examples):
    words = sorted({word.lower() for word in re.findall(r"[^\W\d_]+", TEXT.read_text())})
    suggestions = difflib.get_close_matches("lihgt", words)
    assert "light" in suggestions
    assert run(examples, "spelling", {"word": "lihgt"})[0] == {"known": False, "suggestions": suggestions}
    assert run(examples, "spelling", {"word": "Lihgt", "top": 1})[0]["suggestions"] == suggestions[:1]
    assert run(examples, "spelling", {"word": "Light"})[0] == {"known": True, "suggestions": []}
    for bad in (1, {}, {"word": 5}, {"word": "ligt", "top": 0}):
        assert run(examples, "spelling", bad)[1]["error"]["class"] == "fatal"


def test_queens(examples):
    for n, solutions in ((1, 1), (2, 0), (6, 4), (8, 92), (10, 724)):
        assert run(examples, "queens", {"n": n})[0] == {"n": n, "solutions": solutions}
    for bad in (1, {}, {"n": 0}, {"n": 17}, {"n": 8, "m": 1}):
        assert run(examples, "queens", bad)[1]["error"]["class"] == "fatal"
